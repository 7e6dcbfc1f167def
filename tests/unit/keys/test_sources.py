"""What a key source may be told, and that it keeps its secrets."""

from pathlib import Path

import pytest
from sidegate_sidecar.keys import Discovery, IssuerKeysConfig, JwksFile, JwksUrl

REFUSED = [
    "http://issuer.example/keys",
    "file:///etc/passwd",
    "ftp://issuer.example/keys",
    "https://",
    "https:///keys",
    "issuer.example/keys",
    "",
    "https://user:secret@issuer.example/keys",
    "https://issuer.example/keys#fragment",
    "https://issuer.example:99999/keys",
    "https://[::1/keys",
    "https://issuer.example/keys\r\nX: y",
    "http://localhost.example/keys",
    "http://localhost@issuer.example/keys",
    "http://127.0.0.1.example/keys",
]
ACCEPTED = [
    "https://issuer.example/keys?version=1",
    "https://10.0.0.1:8443/keys",
    "http://localhost:3567/keys",
    "http://127.0.0.1/keys",
    "http://[::1]:80/keys",
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_keys_must_not_come_from_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - each has a text of its own
        JwksUrl(url)
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        Discovery(url)


@pytest.mark.parametrize("url", ACCEPTED)
def test_a_url_that_keys_may_come_from_is_accepted(url: str) -> None:
    assert JwksUrl(url).url == url


def test_plain_http_to_another_machine_needs_an_express_word() -> None:
    assert JwksUrl("http://issuer.example/keys", allow_http=True).allow_http


def test_an_issuer_url_has_no_query() -> None:
    with pytest.raises(ValueError, match="query"):
        Discovery("https://issuer.example/?tenant=a")


@pytest.mark.parametrize(
    ("name", "value"), [("X-Key", "secret\r\nHost: b"), ("X-Key", "secret\x00"), ("X Key", "secret"), ("", "secret")]
)
def test_a_header_that_would_make_another_line_is_refused_without_showing_it(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header") as refused:
        JwksUrl("https://issuer.example/keys", headers={name: value})
    assert "secret" not in str(refused.value)


def test_a_header_is_not_shown() -> None:
    assert "secret" not in repr(JwksUrl("https://issuer.example/keys", headers={"X-Key": "secret"}))
    assert "secret" not in repr(Discovery("https://issuer.example", headers={"X-Key": "secret"}))


@pytest.mark.parametrize(
    ("min_refresh", "default_refresh", "outage_cap"),
    [(0.0, 300.0, 1.0), (7200.0, 300.0, 1.0), (60.0, 0.0, 1.0), (60.0, 300.0, -1.0)],
)
def test_spans_that_make_no_sense_are_refused(min_refresh: float, default_refresh: float, outage_cap: float) -> None:
    with pytest.raises(ValueError, match=r"refresh|outage"):
        IssuerKeysConfig(
            "issuer",
            JwksFile(Path("keys.json")),
            min_refresh=min_refresh,
            default_refresh=default_refresh,
            outage_cap=outage_cap,
        )
