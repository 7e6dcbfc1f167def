"""Where metrics are served."""

import pytest
from sidegate_sidecar.settings import SettingsInvalid, load_settings

ONE = {"SIDEGATE_ISSUER": "https://issuer.example", "SIDEGATE_STORE_URL": "sqlite:///sessions.db"}


@pytest.mark.parametrize("written", ["0.0.0.0:17314", "[::]:17314", "10.0.0.1:17314", "127.0.0.1:0"])
def test_any_address_is_taken(written: str) -> None:
    assert str(load_settings({**ONE, "SIDEGATE_METRICS_LISTEN": written}).metrics_listen) == written


def test_there_is_none_unless_it_is_set() -> None:
    assert load_settings(ONE).metrics_listen is None


@pytest.mark.parametrize(
    ("others", "written", "told"),
    [
        ({}, "unix:///run/metrics.sock", "unix:///run/metrics.sock: write host:port"),
        ({}, "17314", "'17314': write unix:///path or host:port"),
        ({"SIDEGATE_LISTEN": "127.0.0.1:1"}, "127.0.0.1:1", "127.0.0.1:1: the data plane listens there already"),
        ({"SIDEGATE_ADMIN_LISTEN": "127.0.0.1:1"}, "127.0.0.1:1", "127.0.0.1:1: the admin plane listens there already"),
        ({"SIDEGATE_HEALTH_LISTEN": "127.0.0.1:1"}, "127.0.0.1:1", "127.0.0.1:1: health is served there already"),
    ],
    ids=["a socket", "no address", "where the data plane is", "where the admin plane is", "where health is"],
)
def test_anything_else_is_a_mistake(others: dict[str, str], written: str, told: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings({**ONE, **others, "SIDEGATE_METRICS_LISTEN": written}, admin_on_loopback=True)

    assert refused.value.mistakes == [f"SIDEGATE_METRICS_LISTEN: {told}"]


def test_a_health_listener_whose_port_the_system_chooses_is_no_mistake() -> None:
    assert load_settings(
        {**ONE, "SIDEGATE_HEALTH_LISTEN": "127.0.0.1:0", "SIDEGATE_METRICS_LISTEN": "127.0.0.1:0"}
    ).metrics_listen
