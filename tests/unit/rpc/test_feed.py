"""RevocationFeedService in real servers on real sockets, fed by a log that the test writes."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import AsyncGeneratorType
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate.v1 import feed_pb2 as v1
from sidegate.v1 import feed_pb2_grpc, session_pb2
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import SECOND, KeySet, RevocationKind
from sidegate_sidecar.revocations.digests import Digester
from sidegate_sidecar.revocations.feed import RevocationFeed
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.rpc.feed import RevocationFeedService
from sidegate_sidecar.rpc.server import DATA_SOCKET_MODE, Endpoint, Service

from tests.unit.revocations.scripted_log import ISSUER, SALT, ScriptedLog, entry

SERVICE = "sidegate.v1.RevocationFeedService"
TIMEOUT = 30
NOW = 1_800_000_000_123_456

Watch: TypeAlias = Any
"""A call of grpc.aio; the generated stubs know only those of the other API."""


class Plane:
    """A server with the feed, and a channel to it."""

    def __init__(self, socket: Path, feed: RevocationFeed | None, *, snapshots: bool) -> None:
        self.service = RevocationFeedService(feed, lambda: NOW, snapshots=snapshots)
        self.endpoint = Endpoint(
            [Service(SERVICE, partial(feed_pb2_grpc.add_RevocationFeedServiceServicer_to_server, self.service))],
            [Listener(path=socket)],
            socket_mode=DATA_SOCKET_MODE,
            reflection_enabled=False,
        )
        self.channel = grpc.aio.insecure_channel(f"unix:{socket}")

    def watch(self, after: session_pb2.Revision | None = None, *, with_snapshot: bool = False) -> Watch:
        stub = feed_pb2_grpc.RevocationFeedServiceStub(self.channel)
        request = v1.WatchRevocationsRequest(after=after, with_snapshot=with_snapshot)
        return stub.WatchRevocations(request, timeout=TIMEOUT)


class Bench:
    """A log and two planes that feed from it."""

    def __init__(self, folder: Path, log: ScriptedLog) -> None:
        self.log = log
        self.follower = LogFollower(log, journal_capacity=1000)
        self.feed = RevocationFeed(self.follower)
        self.data = Plane(folder / "d", self.feed, snapshots=False)
        self.admin = Plane(folder / "a", self.feed, snapshots=True)

    async def revoke(self, number: int = 1) -> None:
        self.log.append(number)
        await self.follower.reach(self.log.revision, TIMEOUT)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator["Bench"]:
        planes = (self.data, self.admin)
        for plane in planes:
            await plane.endpoint.start()
        try:
            yield self
        finally:
            self.feed.end()
            for plane in planes:
                await plane.channel.close()
                await plane.endpoint.stop(0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncGenerator[Bench]:
    log = ScriptedLog()
    log.append(3)
    async with Bench(tmp_path, log).serving() as bench:
        await bench.follower.reach(log.revision, TIMEOUT)
        yield bench


async def read(watch: Watch) -> v1.WatchRevocationsResponse:
    message = await watch.read()
    assert isinstance(message, v1.WatchRevocationsResponse), "the watch has ended"
    return message


async def read_next(watch: Watch, event: str) -> v1.WatchRevocationsResponse:
    """The next message of that kind; what belongs to the beginning, and checkpoints, are passed over."""
    while (message := await read(watch)).WhichOneof("event") != event:
        assert message.WhichOneof("event") in {"hello", "snapshot_chunk", "checkpoint"}
    return message


async def failure(watch: Watch) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """How a watch fails, after whatever it tells before that."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await read_next(watch, "nothing")
    details = {str(key): value for key, value in failed.value.trailing_metadata()}["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status, info = Status.FromString(details), ErrorInfo()
    assert status.details[0].Unpack(info)
    return failed.value.code(), info.reason, dict(info.metadata)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another library
            await asyncio.sleep(0.005)


async def test_the_messages_say_what_the_proto_says(bench: Bench) -> None:
    watch = bench.data.watch()

    hello = (await read(watch)).hello
    assert (hello.revision.store_id, hello.revision.sequence, hello.digest_salt) == ("store-1", 3, SALT)
    checkpoint = (await read(watch)).checkpoint
    assert checkpoint.revision == hello.revision
    assert checkpoint.sent_time.ToMicroseconds() == NOW
    assert 0 <= checkpoint.last_read_age.ToMicroseconds() < TIMEOUT * SECOND
    bench.log.entries.extend(entry(number, kind, "a") for number, kind in enumerate(RevocationKind, 4))
    await bench.revoke(0)
    revoked = (await read_next(watch, "revocations")).revocations
    assert revoked.revision == session_pb2.Revision(store_id="store-1", sequence=7)
    digester = Digester(SALT)
    assert [each.WhichOneof("subject") for each in revoked.revocations] == [
        "session_digest",
        "user_digest",
        "tenant_digest",
        "key_digest",
    ]
    assert [getattr(each, each.WhichOneof("subject") or "") for each in revoked.revocations] == [
        digester.digest(kind, ISSUER, "a") for kind in RevocationKind
    ]
    bench.feed.key_set_changed(ISSUER, KeySet(9, ()))
    change = (await read_next(watch, "key_set_change")).key_set_change
    assert (change.issuer, change.generation) == (ISSUER, 9)


async def test_a_watch_is_resumed_after_what_it_names(bench: Bench) -> None:
    after = session_pb2.Revision(store_id="store-1", sequence=3)
    await bench.revoke(2)
    watch = bench.data.watch(after=after)

    assert (await read(watch)).hello.revision == after
    assert (await read_next(watch, "revocations")).revocations.revision.sequence == 5


async def test_the_empty_revision_is_a_foreign_one_and_not_an_absent_one(bench: Bench) -> None:
    assert (await read(bench.data.watch(after=session_pb2.Revision()))).hello.revision.sequence == 3


async def test_the_admin_plane_has_snapshots(bench: Bench) -> None:
    watch = bench.admin.watch(with_snapshot=True)

    assert (await read(watch)).WhichOneof("event") == "hello"
    chunk = (await read(watch)).snapshot_chunk
    assert {each.session_digest for each in chunk.revocations} == {
        Digester(SALT).digest(each.kind, each.issuer, each.subject) for each in bench.log.entries
    }
    assert (await read(watch)).checkpoint.revision.sequence == 3


async def test_the_data_plane_has_no_snapshots(bench: Bench) -> None:
    assert await failure(bench.data.watch(with_snapshot=True)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        {"field": "with_snapshot"},
    )


async def test_a_sidecar_without_a_store_has_no_feed(tmp_path: Path) -> None:
    plane = Plane(tmp_path / "s", None, snapshots=False)
    await plane.endpoint.start()

    assert await failure(plane.watch()) == (grpc.StatusCode.FAILED_PRECONDITION, "STORE_NOT_CONFIGURED", {})
    await plane.channel.close()
    await plane.endpoint.stop(0)


async def test_before_the_index_has_loaded_nobody_can_watch(tmp_path: Path) -> None:
    async with Bench(tmp_path, ScriptedLog()).serving() as unloaded:
        assert await failure(unloaded.data.watch()) == (grpc.StatusCode.UNAVAILABLE, "INDEX_NOT_LOADED", {})


async def test_a_client_that_hangs_up_leaves_nothing_behind(bench: Bench) -> None:
    tasks = len(asyncio.all_tasks())
    watches = [bench.admin.watch(with_snapshot=number % 2 == 0) for number in range(20)]
    for watch in watches:
        await read(watch)
    for watch in watches:
        watch.cancel()

    await until(lambda: len(asyncio.all_tasks()) <= tasks + 2)  # grpc's own, for the connection
    assert [
        each
        for each in gc.get_objects()
        if type(each) is AsyncGeneratorType  # isinstance would wake the lazy objects that other tests have imported
        and each.ag_code is RevocationFeed.watch.__code__
        and each.ag_frame is not None
    ] == []


async def stop(bench: Bench, grace: float) -> float:
    """End the feed and stop as the sidecar does; how long that took, in seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    bench.feed.end()
    await asyncio.gather(bench.data.endpoint.stop(grace), bench.admin.endpoint.stop(grace))
    return loop.time() - began


async def test_at_the_end_every_watch_is_told_and_none_holds_the_end_up(bench: Bench) -> None:
    watches = [bench.data.watch(), bench.admin.watch(with_snapshot=True)]
    for watch in watches:
        await read(watch)

    ended: Awaitable[object] = asyncio.gather(*map(failure, watches))
    assert await stop(bench, grace=TIMEOUT) < TIMEOUT / 2
    assert await ended == [(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", {})] * 2


async def clog(bench: Bench) -> None:
    """Tell watchers so much that it fills every buffer on the way to one that does not read."""
    for generation in range(200):
        bench.feed.key_set_changed("x" * 100_000, KeySet(generation, ()))
    await asyncio.sleep(0.5)  # the buffers fill; were that to take longer, the test would only be easier to pass


async def test_a_watcher_that_does_not_read_does_not_hold_the_end_up(bench: Bench) -> None:
    """Not even the end gets through to it."""
    await read(bench.data.watch())
    await clog(bench)

    assert await stop(bench, grace=TIMEOUT) < TIMEOUT / 2


async def test_a_slow_watcher_holds_no_other_up_and_is_told_to_begin_anew(bench: Bench) -> None:
    slow = bench.data.watch()
    await read(slow)
    await clog(bench)
    quick = bench.data.watch()
    await read(quick)
    for _ in range(3):
        await bench.revoke(500)
        while (await read_next(quick, "revocations")).revocations.revision.sequence < bench.log.head:
            pass

    events: list[str | None] = []
    while "hello" not in events:
        events.append((await read(slow)).WhichOneof("event"))
    assert "revocations" not in events
    await bench.revoke()
    assert (await read_next(slow, "revocations")).revocations.revision.sequence == bench.log.head
