"""Fuzz the key set loader: whatever an issuer sends, there is a key set or NotAKeySet.

Run by `make fuzz`, in an environment of its own that has atheris. Arguments go to libFuzzer, e.g. -max_total_time=60.
"""

import importlib
import sys

# By name: atheris is in this script's own environment alone, where no type checker looks.
atheris = importlib.import_module("atheris")

with atheris.instrument_imports(include=["sidegate_sidecar.keys", "json"]):
    from sidegate_sidecar.keys import NotAKeySet, parse_jwks


def one_input(document: bytes) -> None:
    """Load one document. Raises AssertionError if a set breaks its promises, and whatever else the loader lets out."""
    try:
        content = parse_jwks(document)
    except NotAKeySet:
        return
    named = [key.key_id for key in content.keys if key.key_id is not None]
    if len(named) != len(set(named)):
        raise AssertionError("two keys share a kid")
    if not all(key.algorithms and key.thumbprint for key in content.keys):
        raise AssertionError("a key without algorithms or name")
    if not all(dropped.reason and dropped.shown_key_id.isprintable() for dropped in content.dropped):
        raise AssertionError("a member was dropped without a reason, or its kid would break a log line")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
