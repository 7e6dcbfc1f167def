"""What an operator is shown of a source: enough to find it, and nothing secret."""

import errno
from pathlib import Path

import pytest
from sidegate_sidecar.keys.wording import in_words, shown_path, shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://issuer.example/keys", "https://issuer.example/keys"),
        ("https://issuer.example:8443", "https://issuer.example:8443"),
        ("http://[::1]:80/keys", "http://[::1]:80/keys"),
        ("https://user:secret@issuer.example/keys", "https://issuer.example/keys"),
        ("https://a@secret@issuer.example/keys", "https://issuer.example/keys"),
        ("https://issuer.example/keys?token=secret#secret", "https://issuer.example/keys"),
        ("https://issuer.example/\x1b[2J\u202e\ud800", "https://issuer.example/\\u001b[2J\\u202e\\ud800"),
    ],
    ids=ascii,
)
def test_a_url_is_shown_without_user_query_and_fragment_and_in_printable_characters(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_a_path_whose_bytes_are_no_utf_8_can_still_be_sent_and_read() -> None:
    assert shown_path(Path("/keys/\udcff\n")) == "/keys/\\udcff\\u000a"


def test_a_document_cannot_make_an_error_long() -> None:
    assert len(shown_url("https://issuer.example/" + "a" * 1_000_000)) == 200


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "x", "/secret"), "no such file or directory"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 443)"), "connection refused"),
        (OSError("secret"), "the system gives no reason"),
        (OSError(-2, "Name or service not known"), "the system gives no reason"),
    ],
    ids=["missing file", "refused connection", "no number", "no number of the system's"],
)
def test_a_fault_is_worded_by_its_number_alone(error: OSError, words: str) -> None:
    assert in_words(error) == words
