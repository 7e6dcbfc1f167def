"""Listening at an address, for what asyncio serves. grpc does so by itself, and takes a word for the same addresses."""

import asyncio
import errno
import socket

from sidegate_sidecar.errors import ListenerUnavailable
from sidegate_sidecar.listener import Listener

BACKLOG = 128
_NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


async def listening_sockets(listener: Listener, backlog: int = BACKLOG) -> list[socket.socket]:
    """At each address that this leads to, at one port; at every address of either family for a wildcard. They wait for
    nothing.

    Raises:
        ListenerUnavailable: The name does not resolve, or an address is taken, or none is this host's.
    """
    both = listener.host in _WILDCARDS and socket.has_dualstack_ipv6()
    addresses = [(int(socket.AF_INET6), "::")] if both else await _addresses(listener)
    listening: list[socket.socket] = []
    missing: OSError | None = None
    for family, host in addresses:
        port = listening[0].getsockname()[1] if listening else listener.port
        try:
            # Without SO_REUSEPORT, by which two would share a port.
            each = socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)
        except OSError as fault:
            missing = fault
            if fault.errno not in _NOT_OURS:
                break
        else:
            each.setblocking(False)
            listening.append(each)
    if missing is not None and (missing.errno not in _NOT_OURS or not listening):
        for each in listening:
            each.close()
        raise ListenerUnavailable(f"cannot listen on {listener}: the address is in use or not this host's") from None
    return listening


async def _addresses(listener: Listener) -> list[tuple[int, str]]:
    """Families and hosts, each once."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):  # UnicodeError: no name at all, e.g. with a label of 64 characters
        raise ListenerUnavailable(f"cannot listen on {listener}: the name {listener.host} does not resolve") from None
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))
