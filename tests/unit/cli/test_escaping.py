"""What a terminal would obey is shown to a person, never sent to their terminal."""

import json
import sys
import unicodedata

import pytest
from sidegate_sidecar.cli.outcomes import to_json
from sidegate_sidecar.escaping import escaped

EVERY = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF)
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # UAX #9 §2; the marks are of no class
MARKS = {"\u061c", "\u200e", "\u200f"}


def is_obeyed(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Cc", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in BIDIRECTIONAL
        or character in MARKS
    )


def test_every_control_character_separator_and_turn_of_direction_is_escaped_and_nothing_else() -> None:
    for character in EVERY:
        assert (escaped(character) != character) == is_obeyed(character), f"U+{ord(character):04X}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\r\nb", "a\\x0d\\x0ab"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("naïve ☃ שלום", "naïve ☃ שלום"),
    ],
    ids=["ESC", "a line break", "DEL and C1", "bidi", "text of any script"],
)
def test_what_is_escaped_says_what_it_was(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_json_holds_every_character_and_shows_none_that_a_terminal_obeys() -> None:
    text = to_json({"reason": EVERY})

    assert json.loads(text) == {"reason": EVERY}
    assert not any(is_obeyed(character) for character in set(text) - {"\n"})
