"""A server that lets clients in and answers no query, as a pooler does whose server is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.store import postgres, postgres_links
from sidegate_sidecar.store.lookup import SharedLookup
from sidegate_sidecar.store.postgres import PostgresStore

from tests.contract.fakes import ISSUER, OPS, session, subject
from tests.fakes.postgres_wire import PROTOCOL_3, Message, read_message, read_start

_WELCOME = (
    Message(b"R", b"\0\0\0\0"),  # AuthenticationOk
    Message(b"S", b"server_version\x0018.0\0"),
    Message(b"S", b"client_encoding\0UTF8\0"),
    Message(b"K", bytes(8)),
    Message(b"Z", b"I"),  # ReadyForQuery
)


class MuteServer:
    """Attributes:
    port: Where it listens, on loopback.
    admitted: How many clients it has let in.
    clients: How many of them are connected.
    heard: How many messages it has left without an answer.
    """

    def __init__(self) -> None:
        self.port = 0
        self.admitted = 0
        self.clients = 0
        self.heard = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await read_start(reader))[0] != PROTOCOL_3:
                writer.write(b"N")  # no TLS, no GSSAPI
            writer.write(b"".join(message.encoded() for message in _WELCOME))
            self.admitted += 1
            self.clients += 1
            try:
                while True:
                    await read_message(reader)
                    self.heard += 1
            finally:
                self.clients -= 1
        writer.close()


@pytest.fixture
async def mute() -> AsyncIterator[MuteServer]:
    mute = MuteServer()
    server = await asyncio.start_server(mute.serve, "127.0.0.1", 0)
    mute.port = server.sockets[0].getsockname()[1]
    yield mute
    server.close()
    await server.wait_closed()


@pytest.fixture(params=[False, True], ids=["directly", "by way of a pooler"])
async def store(
    request: pytest.FixtureRequest, mute: MuteServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresStore]:
    monkeypatch.setattr(postgres, "LOG_SECONDS", 0.1)  # it is in vain in any case
    monkeypatch.setattr(postgres_links, "CONNECT_SECONDS", 0.2)
    pooler: bool = request.param
    url = f"postgresql://sidegate:hidden@127.0.0.1:{mute.port}/sidegate"
    store = PostgresStore(url, transaction_pooler=pooler, admin_timeout=0.2, open_timeout=0.2)
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await store.open()
    yield store
    await store.close()


async def test_whatever_is_asked_of_it_is_unavailable_and_no_connection_is_left(
    mute: MuteServer, store: PostgresStore
) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        *[lambda: store.look_up([subject("s1")])] * 5,
        lambda: store.read_log(1, 10),
        *[lambda: store.revoke_sessions(ISSUER, ["s1"], OPS)] * 10,
        lambda: store.register([session("s1")]),
        lambda: store.get_session(ISSUER, "s1"),
        lambda: store.compact(10),
    ]

    outcomes = await asyncio.wait_for(asyncio.gather(*(call() for call in calls), return_exceptions=True), 30)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * len(calls)
    assert "hidden" not in str(outcomes)
    assert mute.heard
    async with asyncio.timeout(20):
        while mute.clients:  # noqa: ASYNC110 - the server is told by nobody
            await asyncio.sleep(0.005)


async def test_who_asks_of_it_within_a_time_is_answered_in_it_and_holds_no_more_connections_than_there_may_be(
    mute: MuteServer, store: PostgresStore
) -> None:
    lookup = SharedLookup(store.look_up)
    before = mute.admitted

    outcomes = await asyncio.gather(
        *(lookup.look_up(subject(f"s{number}")) for number in range(500)), return_exceptions=True
    )

    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert mute.admitted - before <= 2
    await lookup.close()


async def test_a_follower_of_it_goes_on_asking_one_question_at_a_time(mute: MuteServer, store: PostgresStore) -> None:
    follower = LogFollower(store)
    following = asyncio.create_task(follower.run())
    before = mute.admitted
    async with asyncio.timeout(30):
        while mute.admitted < before + 2:
            assert mute.clients <= 1
            await asyncio.sleep(0.005)

    assert (follower.index, follower.answering) == (None, False)
    following.cancel()
    await asyncio.wait([following])
