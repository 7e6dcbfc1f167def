"""Where a sidecar that cannot revoke has it done."""

import pytest
from sidegate_sidecar.settings import SettingsInvalid, load_settings

IN_THE_CLEAR = "what is sent there is neither encrypted nor authenticated; keep it on this host"
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
