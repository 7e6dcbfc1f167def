"""Where a sidecar that cannot revoke has it done."""

from collections.abc import Mapping

import pytest
from sidegate_sidecar.settings import SettingsInvalid, load_settings

PROOF = "SIDEGATE_ADMIN_CERT and SIDEGATE_ADMIN_KEY, or SIDEGATE_ADMIN_TOKEN_FILE"
IN_THE_CLEAR = f"what is sent there is neither encrypted nor authenticated; keep it on this host, or set {PROOF}"
PAIR = {"SIDEGATE_ADMIN_CERT": "/tls.crt", "SIDEGATE_ADMIN_KEY": "/tls.key"}
TOKEN = {"SIDEGATE_ADMIN_TOKEN_FILE": "/token"}
CA = {"SIDEGATE_ADMIN_CA": "/ca.crt"}
ONE = {"SIDEGATE_ISSUER": "https://issuer.example", "SIDEGATE_STORE_URL": "sqlite:///sessions.db"}


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("unix:///run/sidegate/admin.sock", "unix:///run/sidegate/admin.sock"),
        ("unix:/run/sidegate/admin.sock", "unix:///run/sidegate/admin.sock"),
        ("localhost:9090", "localhost:9090"),
        ("[::1]:9090", "[::1]:9090"),
    ],
)
def test_a_socket_or_an_address_of_this_host_is_taken(written: str, understood: str) -> None:
    assert str(load_settings({**ONE, "SIDEGATE_ADMIN_TARGET": written}).admin_target) == understood


@pytest.mark.parametrize("written", [None, ""])
def test_there_is_none_unless_it_is_set(written: str | None) -> None:
    settings = load_settings(ONE if written is None else {**ONE, "SIDEGATE_ADMIN_TARGET": written})

    assert settings.admin_target is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("10.0.0.1:9090", f"10.0.0.1:9090: {IN_THE_CLEAR}"),
        ("admin.example:1", f"admin.example:1: {IN_THE_CLEAR}"),
        ("127.0.0.1:0", "127.0.0.1:0: needs a port"),
        ("/run/admin.sock", "'/run/admin.sock': write unix:///path or host:port"),
        ("unix:admin.sock", "'unix:admin.sock': a Unix socket is written unix:///absolute/path"),
    ],
)
def test_anything_else_is_a_mistake(written: str, told: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings({**ONE, "SIDEGATE_ADMIN_TARGET": written})

    assert refused.value.mistakes == [f"SIDEGATE_ADMIN_TARGET: {told}"]


@pytest.mark.parametrize("credentials", [PAIR, TOKEN, CA | PAIR, CA | TOKEN, CA | PAIR | TOKEN])
@pytest.mark.parametrize("target", ["admin.example:7312", "127.0.0.1:7312"])
def test_another_host_is_taken_where_there_is_something_to_be_known_by(
    target: str, credentials: Mapping[str, str]
) -> None:
    settings = load_settings({**ONE, **credentials, "SIDEGATE_ADMIN_TARGET": target})

    assert str(settings.admin_target) == target
    told = {
        "SIDEGATE_ADMIN_CERT": settings.admin_cert,
        "SIDEGATE_ADMIN_KEY": settings.admin_key,
        "SIDEGATE_ADMIN_TOKEN_FILE": settings.admin_token_file,
        "SIDEGATE_ADMIN_CA": settings.admin_ca,
    }
    assert {name: str(path) for name, path in told.items() if path is not None} == credentials


@pytest.mark.parametrize(
    ("target", "credentials", "told"),
    [
        ("admin.example:1", CA, f"TARGET: admin.example:1: nobody would know there who is calling; set {PROOF}"),
        ("localhost:1", CA, f"TARGET: localhost:1: nobody would know there who is calling; set {PROOF}"),
        (
            "unix:///admin.sock",
            TOKEN,
            (
                "TARGET: unix:///admin.sock: a Unix socket takes neither TLS nor a token; unset SIDEGATE_ADMIN_CA,"
                " SIDEGATE_ADMIN_CERT, SIDEGATE_ADMIN_KEY and SIDEGATE_ADMIN_TOKEN_FILE"
            ),
        ),
        ("admin.example:0", PAIR, "TARGET: admin.example:0: needs a port"),
        (
            "admin.example:1",
            {"SIDEGATE_ADMIN_CERT": "/tls.crt"},
            "KEY: admin_cert and admin_key are needed together",
        ),
        ("admin.example:1", {"SIDEGATE_ADMIN_KEY": "/tls.key"}, "KEY: admin_cert and admin_key are needed together"),
    ],
)
def test_credentials_that_are_of_no_use_there_are_a_mistake(
    target: str, credentials: Mapping[str, str], told: str
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings({**ONE, **credentials, "SIDEGATE_ADMIN_TARGET": target})

    assert refused.value.mistakes == [f"SIDEGATE_ADMIN_{told}"]


def test_what_the_command_line_is_known_by_may_be_set_without_a_target() -> None:
    assert load_settings({**ONE, **CA, **TOKEN}).admin_target is None
