"""Where health alone is served."""

import pytest
from sidegate_sidecar.settings import SettingsInvalid, load_settings

ONE = {"SIDEGATE_ISSUER": "https://issuer.example", "SIDEGATE_STORE_URL": "sqlite:///sessions.db"}


@pytest.mark.parametrize("written", ["0.0.0.0:17313", "[::]:17313", "10.0.0.1:17313", "127.0.0.1:0"])
def test_any_address_is_taken_for_it_tells_nothing_else(written: str) -> None:
    settings = load_settings({**ONE, "SIDEGATE_HEALTH_LISTEN": written})

    assert list(map(str, settings.health_listen)) == [written]


def test_there_is_none_unless_it_is_set() -> None:
    assert load_settings(ONE).health_listen == ()


@pytest.mark.parametrize(
    ("others", "written", "told"),
    [
        ({}, "unix:///run/health.sock", "unix:///run/health.sock: write host:port"),
        ({}, "17313", "'17313': write unix:///path or host:port"),
        ({}, "0.0.0.0:70000", "'0.0.0.0:70000': a port is at most 65535"),
        ({}, "127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1: given more than once"),
        ({"SIDEGATE_LISTEN": "127.0.0.1:1"}, "127.0.0.1:1", "127.0.0.1:1: the data plane listens there already"),
    ],
    ids=["a socket", "no address", "no port", "twice", "where the data plane is"],
)
def test_anything_else_is_a_mistake(others: dict[str, str], written: str, told: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings({**ONE, **others, "SIDEGATE_HEALTH_LISTEN": written})

    assert refused.value.mistakes == [f"SIDEGATE_HEALTH_LISTEN: {told}"]


def test_it_cannot_be_where_the_admin_plane_is() -> None:
    environ = {**ONE, "SIDEGATE_ADMIN_LISTEN": "127.0.0.1:2", "SIDEGATE_HEALTH_LISTEN": "127.0.0.1:2"}

    with pytest.raises(SettingsInvalid) as refused:
        load_settings(environ, admin_on_loopback=True)

    assert refused.value.mistakes == ["SIDEGATE_HEALTH_LISTEN: 127.0.0.1:2: the admin plane listens there already"]
