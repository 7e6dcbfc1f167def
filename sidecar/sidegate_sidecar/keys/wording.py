"""How sources and faults are worded for an operator: what was asked for and what the system said, and nothing secret.

What is shown may come from an issuer's document, and ends in logs, terminals and protobuf strings: so it is short, and
whatever does not print is escaped, lone surrogates (which no protobuf string holds) among them.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

_MAX_CHARACTERS = 200


def shown_url(url: str) -> str:
    """Scheme, host, port and path. User information, query and fragment may be secret, and are left out."""
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def shown_path(path: Path) -> str:
    """The path as far as it prints: its bytes may be no UTF-8."""
    return printable(str(path))


def in_words(error: OSError) -> str:
    """What the operating system calls the fault, e.g. "permission denied". The texts of libraries hold more than that:
    addresses, and what a server sent.
    """
    if error.errno is None or error.errno <= 0:
        return "the system gives no reason"
    words = os.strerror(error.errno)
    return words[:1].lower() + words[1:]


def printable(text: str) -> str:
    """The beginning of a text, with what does not print escaped."""
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}" for character in text[:_MAX_CHARACTERS]
    )
