"""The balancer treats connections as a Service does."""

import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.fakes.balancer import Balancer

PATIENCE_SECONDS = 20.0


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    with Balancer() as running:
        yield running


@pytest.fixture
def servers(balancer: Balancer) -> Iterator[list[socket.socket]]:
    """Two that listen, and the balancer knows both."""
    with ExitStack() as owned:
        listening = [owned.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(2)]
        for server in listening:
            server.settimeout(PATIENCE_SECONDS)
            balancer.add(port_of(server))
        yield listening


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def connected(balancer: Balancer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", balancer.port), timeout=PATIENCE_SECONDS)


@contextmanager
def joined(balancer: Balancer, server: socket.socket) -> Generator[tuple[socket.socket, socket.socket], None, None]:
    """Both ends of a new connection, which that server is to get."""
    with connected(balancer) as client, server.accept()[0] as accepted:
        accepted.settimeout(PATIENCE_SECONDS)
        yield client, accepted


def check_refused(balancer: Balancer) -> None:
    """A new connection is reset, before it stands or after."""
    with pytest.raises(ConnectionResetError), connected(balancer) as client:
        client.recv(1)


def test_an_open_connection_stays_where_it_is_and_a_new_one_goes_where_there_is_a_server(
    balancer: Balancer, servers: list[socket.socket]
) -> None:
    first, second = servers
    with joined(balancer, first) as (client, accepted):
        balancer.remove(port_of(first))
        with joined(balancer, second):
            client.sendall(b"a")
            assert accepted.recv(1) == b"a"
    assert balancer.refused == 0


def test_a_connection_that_its_server_refuses_is_reset_and_counted(
    balancer: Balancer, servers: list[socket.socket]
) -> None:
    servers[0].close()

    check_refused(balancer)
    assert balancer.refused == 1


def test_without_a_server_every_connection_is_refused(balancer: Balancer) -> None:
    check_refused(balancer)
    assert balancer.refused == 1
