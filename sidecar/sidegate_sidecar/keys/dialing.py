"""Which addresses keys may be fetched from, checked on the very address that is dialled.

A name is not checked but what it resolved to, in the moment in which the socket to it is made: between this check and
the connection nothing resolves anything again, so a name that changes its mind (DNS rebinding) gains nothing.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

# family, type, protocol, canonical name, socket address: as getaddrinfo returns them and aiohttp hands them on.
AddressInfo: TypeAlias = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

# Where clouds hand credentials to whoever asks from the inside, so far as they are not link-local anyway: AWS and
# Google Cloud over IPv6, Alibaba Cloud, Azure, Oracle Cloud.
_METADATA = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
_RESERVED = ip_network("240.0.0.0/4")  # RFC 1112 §4, with the broadcast address
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1


class TargetRefused(OSError):
    """The address is one that keys are never fetched from."""


def refusal(address: str, *, loopback_only: bool) -> str | None:
    """Why an address must not be dialled. None: it may be.

    Args:
        address: IPv4 or IPv6, numeric; a scope ("%eth0") does not matter.
        loopback_only: Whether plain http is only allowed to this very machine.
    """
    target = _as_routed(ip_address(address))
    if target.is_link_local:
        return "a link-local address"
    if target.is_multicast:
        return "a multicast address"
    if target.is_unspecified:
        return "the unspecified address"
    if target in _METADATA or (isinstance(target, IPv6Address) and IPv6Address(int(target)) in _METADATA):
        return "a cloud's metadata address"
    if target in _RESERVED:
        return "a reserved address"
    if loopback_only and not target.is_loopback:
        return "an address off this machine, which plain http is not allowed to"
    return None


def checking_socket_factory(*, loopback_only: bool) -> Callable[[AddressInfo], socket.socket]:
    """What makes the sockets of an HTTP client: refuses addresses that must not be dialled with TargetRefused."""

    def make_socket(address_info: AddressInfo) -> socket.socket:
        family, kind, protocol, _name, socket_address = address_info
        reason = refusal(str(socket_address[0]), loopback_only=loopback_only)
        if reason is not None:
            raise TargetRefused(reason)
        return socket.socket(family, kind, protocol)

    return make_socket


def _as_routed(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address is only another spelling of, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    # ::a.b.c.d (deprecated, RFC 4291 §2.5.5.1) and NAT64; :: and ::1 are themselves.
    if (int(address) >> 32 == 0 and int(address) > 1) or address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
