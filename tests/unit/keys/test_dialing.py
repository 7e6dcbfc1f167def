"""docs/hostile-tokens.md row 22: the addresses that keys are never fetched from."""

import socket

import pytest
from sidegate_sidecar.keys.dialing import TargetRefused, checking_socket_factory, refusal

REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%lo",
    "febf::1",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "0.0.0.0",  # noqa: S104 - dialled, not bound
    "::",
    "255.255.255.255",
    "240.0.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::254%eth0",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
]
DIALLED = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "fd00::1", "192.168.1.1", "1.1.1.1", "2606:4700::1111"]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_holds_no_issuer_is_refused(address: str) -> None:
    assert refusal(address, loopback_only=False) is not None


@pytest.mark.parametrize("address", DIALLED)
def test_an_address_that_may_hold_an_issuer_is_dialled(address: str) -> None:
    assert refusal(address, loopback_only=False) is None


@pytest.mark.parametrize("address", ["10.0.0.1", "1.1.1.1", "fd00::1", "::ffff:10.0.0.1"])
def test_plain_http_to_loopback_goes_nowhere_else(address: str) -> None:
    assert refusal(address, loopback_only=True) is not None


def test_no_socket_is_made_to_a_refused_address() -> None:
    make_socket = checking_socket_factory(loopback_only=False)

    with pytest.raises(TargetRefused, match="link-local"):
        make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("169.254.169.254", 443)))


def test_a_socket_is_made_to_any_other() -> None:
    make_socket = checking_socket_factory(loopback_only=False)

    with make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443))) as made:
        assert made.family == socket.AF_INET
