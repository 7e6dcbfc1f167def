"""watch_session of both clients, fed by a real server."""

import asyncio
import gc
import logging
import queue
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sidegate import (
    AsyncSessionClient,
    ClientClosed,
    ForkUnsupported,
    InvalidRequest,
    NextAction,
    RejectionReason,
    SessionClient,
    SessionEnded,
    SessionEndReason,
    SessionRejected,
    SessionWatch,
    forking,
    near_cache,
)
from sidegate.feed_thread import Feed
from sidegate.watch_thread import WatchThread

from tests.unit.client.feed_server import PATIENCE_SECONDS, FeedServer
from tests.unit.client.test_forking import run

REVOKED = SessionEnded(SessionEndReason.SESSION_REVOKED, NextAction.REAUTHENTICATE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FeedServer]:
    server = FeedServer(f"unix://{tmp_path / 's'}")
    yield server
    server.stop()


@pytest.fixture(params=[True, False], ids=["near cache", "no near cache"])
def client(server: FeedServer, request: pytest.FixtureRequest) -> Iterator[SessionClient]:
    with SessionClient(server.target, timeout=20.0, near_cache=request.param) as client:
        yield client


@pytest.fixture(params=[True, False], ids=["near cache", "no near cache"])
async def async_client(server: FeedServer, request: pytest.FixtureRequest) -> AsyncIterator[AsyncSessionClient]:
    async with AsyncSessionClient(server.target, timeout=20.0, near_cache=request.param) as client:
        yield client


class Told(queue.SimpleQueue[SessionEnded | ClientClosed]):
    """What a callback was called with."""

    def __call__(self, end: SessionEnded | ClientClosed) -> None:
        self.put(end)

    def reason(self) -> SessionEndReason | None:
        """Why, once it is told. None: the client was closed."""
        end = self.next()
        return end.reason if isinstance(end, SessionEnded) else None

    def next(self) -> SessionEnded | ClientClosed:
        return self.get(timeout=PATIENCE_SECONDS)


def watch(client: SessionClient, token: str, told: Told, *, asking: bool = False) -> SessionWatch:
    return client.watch_session(client.verify(token), token if asking else None, on_end=told)


async def first(client: AsyncSessionClient, token: str, *, asking: bool = False) -> SessionEndReason:
    session = await client.verify(token)
    (end,) = [end async for end in client.watch_session(session, token if asking else None)]
    return end.reason


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sidegate-watches"]


@pytest.mark.parametrize("asking", [False, True], ids=["without a token", "with one"])
def test_a_revoked_session_is_told_once(client: SessionClient, server: FeedServer, asking: bool) -> None:
    told, other = Told(), Told()
    watch(client, "s-1", told, asking=asking)
    watch(client, "s-2", other, asking=asking)
    server.wait_for_stream(1)
    server.revoke("s-1")
    assert told.reason() is SessionEndReason.SESSION_REVOKED
    server.revoke("s-2")
    assert other.reason() is SessionEndReason.SESSION_REVOKED
    assert told.empty()
    until(lambda: not watchers())


@pytest.mark.parametrize("asking", [False, True], ids=["without a token", "with one"])
async def test_a_task_learns_of_it_and_goes_on(
    async_client: AsyncSessionClient, server: FeedServer, asking: bool
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        one = tasks.create_task(first(async_client, "s-1", asking=asking))
        another = tasks.create_task(first(async_client, "s-2", asking=asking))
        await asyncio.to_thread(until, lambda: len(watchers()) == 1)
        await asyncio.to_thread(server.wait_for_stream, 1)
        server.revoke("s-1")
        assert await one is SessionEndReason.SESSION_REVOKED
        assert not another.done()
        server.revoke("s-2")
    assert another.result() is SessionEndReason.SESSION_REVOKED


def test_all_watches_share_the_near_caches_stream(server: FeedServer) -> None:
    with SessionClient(server.target, timeout=20.0) as client:
        watches = [watch(client, f"s-{number}", Told(), asking=True) for number in range(20)]
        until(lambda: all(server.verified.count(f"s-{number}") == 2 for number in range(20)))
        assert server.watches == 1
        for each in watches:
            each.stop()
        until(lambda: not watchers())


def test_without_a_near_cache_the_feed_is_opened_by_the_first_watch(server: FeedServer) -> None:
    with SessionClient(server.target, timeout=20.0, near_cache=False) as client:
        told = Told()
        session = client.verify("s-1")
        assert server.watches == 0
        server.resuming = True
        server.revoke("s-1", telling=False)  # between the verification and its watch
        client.watch_session(session, on_end=told)
        assert server.wait_for_stream(1).after.sequence == 0
        server.tell("s-1")
        assert told.next() == REVOKED
        for _ in range(3):
            client.verify("s-2")
        assert server.verified.count("s-2") == 3


def test_a_user_whose_session_is_spared_is_watched_on(client: SessionClient, server: FeedServer) -> None:
    spared, ended, unknown = Told(), Told(), Told()
    watch(client, "s-1", spared, asking=True)
    watch(client, "s-2", ended, asking=True)
    watch(client, "s-3", unknown)
    server.wait_for_stream(1)
    until(lambda: server.verified.count("s-1") == server.verified.count("s-2") == 2)
    server.revoked.add("s-2")
    server.revoke_user()
    end = ended.next()
    assert isinstance(end, SessionEnded)
    assert end.rejection is not None
    assert end.rejection.reason is RejectionReason.SESSION_REVOKED
    assert unknown.next() == SessionEnded(SessionEndReason.USER_REVOKED, NextAction.REFRESH)
    until(lambda: server.verified.count("s-1") == 3)
    assert spared.empty()
    server.revoke("s-1")
    assert spared.reason() is SessionEndReason.SESSION_REVOKED


def test_an_outage_ends_no_watch_and_what_was_missed_is_asked_for(tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 's'}"
    server = FeedServer(address)
    told = {name: Told() for name in ("alive", "revoked", "unknown", "alive, no token")}
    with SessionClient(address, timeout=20.0) as client:
        watch(client, "alive", told["alive"], asking=True)
        watch(client, "revoked", told["revoked"], asking=True)
        watch(client, "no token", told["alive, no token"])
        server.wait_for_stream(1)
        until(lambda: server.verified.count("alive") == server.verified.count("revoked") == 2)
        server.stop()
        assert all(each.empty() for each in told.values())

        server = FeedServer(address)
        server.resuming = True
        server.revoked.add("revoked")
        assert told["revoked"].reason() is SessionEndReason.SESSION_REVOKED
        assert server.streams[0].after.store_id == "store"
        until(lambda: "alive" in server.verified)

        server.stop()
        server = FeedServer(address)
        server.sequence = 7  # and it does not resume: revocations may have been missed
        assert told["alive, no token"].next() == SessionEnded(SessionEndReason.UNVERIFIABLE, NextAction.REFRESH)
        until(lambda: "alive" in server.verified)
        assert told["alive"].empty()
    server.stop()


def test_closing_the_client_ends_every_watch(client: SessionClient, server: FeedServer) -> None:
    told = Told()
    watch(client, "s-1", told)
    session = client.verify("s-2")
    client.close()
    assert isinstance(told.next(), ClientClosed)
    assert not watchers()
    with pytest.raises(ClientClosed):
        client.watch_session(session, on_end=told)
    assert told.empty()


async def test_closing_an_asyncio_client_ends_every_watch(async_client: AsyncSessionClient) -> None:
    session = await async_client.verify("s-1")

    async def watched() -> None:
        async for _ in async_client.watch_session(session):
            raise AssertionError

    task = asyncio.create_task(watched())
    await asyncio.to_thread(until, lambda: bool(watchers()))
    await async_client.close()
    with pytest.raises(ClientClosed):
        await asyncio.wait_for(task, PATIENCE_SECONDS)
    with pytest.raises(ClientClosed):
        await watched()


def test_a_client_may_be_closed_by_its_own_callback(server: FeedServer) -> None:
    client = SessionClient(server.target, timeout=20.0)
    told, other = Told(), Told()

    def close(end: SessionEnded | ClientClosed) -> None:
        client.close()
        told(end)

    client.watch_session(client.verify("s-1"), on_end=close)
    watch(client, "s-2", other)
    server.wait_for_stream(1)
    server.revoke("s-1")
    assert told.next() == REVOKED
    assert isinstance(other.next(), ClientClosed)


def test_a_watch_that_begins_while_the_client_closes_is_told_so(
    client: SessionClient, server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = Feed.follow

    def follow_once_closed(feed: Feed) -> None:
        monkeypatch.setattr(Feed, "follow", follow)
        client.close()
        feed.follow()

    session = client.verify("s-1")
    monkeypatch.setattr(Feed, "follow", follow_once_closed)
    told = Told()
    client.watch_session(session, on_end=told)
    assert isinstance(told.next(), ClientClosed)
    until(lambda: not watchers())


async def test_a_watch_that_is_cancelled_leaves_nothing_behind(
    async_client: AsyncSessionClient, server: FeedServer
) -> None:
    task = asyncio.create_task(first(async_client, "s-1"))
    await asyncio.to_thread(until, lambda: bool(watchers()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(until, lambda: not watchers())
    server.revoke("s-1")


def test_a_watch_that_was_stopped_is_not_told(client: SessionClient, server: FeedServer) -> None:
    told, other = Told(), Told()
    with watch(client, "s-1", told):
        server.wait_for_stream(1)
    watch(client, "s-1", other)
    server.revoke("s-1")
    assert other.next() == REVOKED
    assert told.empty()


def test_an_expired_token_ends_its_watch(client: SessionClient, server: FeedServer) -> None:
    server.lifetime = 0
    told, outlived = Told(), Told()
    watch(client, "s-1", told)
    client.watch_session(client.verify("s-2"), "s-2", outlive_token=True, on_end=outlived)
    assert told.next() == SessionEnded(SessionEndReason.TOKEN_EXPIRED, NextAction.REFRESH)
    server.wait_for_stream(1)
    server.revoke_user()
    assert outlived.next() == SessionEnded(SessionEndReason.USER_REVOKED, NextAction.REFRESH)


def test_a_callback_that_fails_keeps_nobody_from_being_told(
    client: SessionClient, server: FeedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise KeyError("a secret")

    def leave(_: object) -> None:
        sys.exit()

    told = Told()
    client.watch_session(client.verify("s-1"), on_end=fail)
    client.watch_session(client.verify("s-1"), on_end=leave)
    watch(client, "s-1", told)
    server.wait_for_stream(1)
    with caplog.at_level(logging.ERROR, "sidegate"):
        server.revoke("s-1")
        assert told.next() == REVOKED
    assert caplog.messages == [f"a callback of watch_session raised {name}" for name in ("KeyError", "SystemExit")]
    assert [record.exc_info for record in caplog.records] == [None, None]


def test_a_feed_that_stalls_is_noticed_although_nobody_calls(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_cache, "STALLED_SECONDS", 0.1)
    server.beating = False
    with SessionClient(server.target, timeout=20.0) as client, watch(client, "s-1", Told()):
        server.wait_for_stream(2)


def test_a_watch_can_be_stopped_by_whom_the_garbage_collector_runs_in(
    client: SessionClient, server: FeedServer
) -> None:
    """As the end of a generator that nobody closed is; and that may hold the lock of all watches."""
    stopped, other = Told(), Told()
    stopping = watch(client, "s-1", stopped)
    watch(client, "s-2", other)
    server.wait_for_stream(1)
    feed: dict[str, Feed] = vars(client)
    watches: dict[str, WatchThread] = vars(feed["_feed"])
    lock: threading.Condition = vars(watches["_watches"])["_changed"]
    thread = threading.Thread(target=stopping.stop, daemon=True)
    with lock:
        thread.start()
        thread.join(PATIENCE_SECONDS)
        was_stopped = not thread.is_alive()
    assert was_stopped
    server.revoke("s-1")
    server.revoke("s-2")
    assert other.next() == REVOKED
    assert stopped.empty()
    until(lambda: not watchers())


def test_a_watch_that_the_callback_of_another_stops_is_not_told(client: SessionClient, server: FeedServer) -> None:
    told, both = Told(), list[SessionWatch]()

    def stop_both(end: SessionEnded | ClientClosed) -> None:
        told(end)
        for each in both:
            each.stop()

    session = client.verify("s-1")
    both += [client.watch_session(session, on_end=stop_both) for _ in range(2)]
    server.wait_for_stream(1)
    server.revoke("s-1")
    assert told.next() == REVOKED
    until(lambda: not watchers())
    assert told.empty()


def test_watches_that_cannot_begin_are_not_gathered(server: FeedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_: object = None) -> None:
        raise ForkUnsupported("gRPC would hang")

    kept: list[weakref.ref[Told]] = []
    with SessionClient(server.target, timeout=20.0, near_cache=False) as client:
        session = client.verify("s-1")
        monkeypatch.setattr(forking, "about_to_open", hang)
        for _ in range(5):
            told = Told()
            kept.append(weakref.ref(told))
            with pytest.raises(ForkUnsupported):
                client.watch_session(session, "s-1", on_end=told)
            del told
        gc.collect()
        assert sum(each() is not None for each in kept) <= 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # which says that it was told of
def test_watches_that_nobody_can_serve_any_more_end(
    client: SessionClient, server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    follow = Feed.follow

    def follow_or_fail(feed: Feed) -> None:
        if broken.is_set():
            raise RuntimeError("can't start new thread")
        follow(feed)

    monkeypatch.setattr(Feed, "follow", follow_or_fail)
    told, later = Told(), Told()
    session = client.verify("s-2")
    watch(client, "s-1", told)
    server.wait_for_stream(1)
    broken.set()
    assert told.next() == SessionEnded(SessionEndReason.UNVERIFIABLE, NextAction.REFRESH)
    until(lambda: not watchers())
    with pytest.raises(RuntimeError, match="new thread"):
        client.watch_session(session, on_end=later)
    broken.clear()
    client.watch_session(session, on_end=later)
    server.revoke("s-2")
    assert later.reason() is SessionEndReason.SESSION_REVOKED
    assert later.empty()


def test_a_feed_that_fails_in_a_way_that_nobody_foresaw_is_tried_again(
    client: SessionClient, server: FeedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request = WatchThread.request
    broken = threading.Event()

    def request_or_fail(watches: WatchThread) -> bytes:
        if broken.is_set():
            broken.clear()
            raise RuntimeError("can't start new thread")
        return request(watches)

    monkeypatch.setattr(WatchThread, "request", request_or_fail)
    told = Told()
    watch(client, "s-1", told)
    server.wait_for_stream(1)
    server.resuming = True
    broken.set()
    server.send(None)
    server.wait_for_stream(2)
    server.revoke("s-1")
    assert told.next() == REVOKED
    assert [record.getMessage() for record in caplog.records] == ["the revocation feed failed with RuntimeError"]
    assert not caplog.records[0].exc_info


def test_a_question_under_way_holds_up_neither_close_nor_fork(client: SessionClient, server: FeedServer) -> None:
    told = Told()
    session = client.verify("s-1")
    server.decided.clear()
    server.held.clear()
    client.watch_session(session, "s-1", on_end=told)
    assert server.decided.wait(PATIENCE_SECONDS)
    (asking,) = watchers()
    client.before_fork()
    assert not asking.is_alive()
    client.after_fork(in_child=False)
    assert told.empty()
    server.decided.clear()
    assert server.decided.wait(PATIENCE_SECONDS)  # it asks anew
    client.close()
    assert isinstance(told.next(), ClientClosed)
    assert not watchers()


def test_what_is_no_token_is_refused_at_once(client: SessionClient) -> None:
    session = client.verify("s-1")
    for token, error in (("Bearer s-1", SessionRejected), ("", InvalidRequest)):
        with pytest.raises(error):
            client.watch_session(session, token, on_end=Told())
    assert not watchers()


def test_a_client_that_nobody_closed_ends_its_threads_once_nobody_watches(server: FeedServer) -> None:
    client = SessionClient(server.target, timeout=20.0)
    stopped = watch(client, "s-1", Told())
    stream = server.wait_for_stream(1)
    stopped.stop()
    until(lambda: not watchers())
    del client, stopped
    gc.collect()
    assert stream.ended.wait(PATIENCE_SECONDS)


def test_a_watch_outlives_the_loop_that_nobody_closed_it_in(server: FeedServer) -> None:
    client = AsyncSessionClient(server.target, timeout=20.0)

    async def begin() -> None:
        task = asyncio.create_task(first(client, "s-1"))
        await asyncio.to_thread(until, lambda: bool(watchers()))
        del task

    asyncio.run(begin())  # which cancels the task
    until(lambda: not watchers())
    asyncio.run(client.close())


def test_the_parent_of_a_fork_watches_on_and_the_child_anew(server: FeedServer) -> None:
    script = """
import queue
told = queue.SimpleQueue()
client.watch_session(client.verify("s-1"), "s-1", on_end=told.put)

def watch_in_child():
    ended = queue.SimpleQueue()
    client.watch_session(client.verify("s-2"), on_end=ended.put)
    while client.near_cache_statistics().hits == 0:
        client.verify("s-3")
    client.close()
    ended.get(timeout=20)
    assert told.empty()

for _ in range(FORKS):
    print(in_child(watch_in_child))
print("forked", flush=True)
print(told.get(timeout=20).reason)
"""

    def revoke() -> None:
        server.wait_for_stream(2 * 3 + 1)  # one in each child, one before and after each fork
        server.revoke("s-1")

    thread = threading.Thread(target=revoke)
    thread.start()
    try:
        assert run(script, server, "1", forks=3).split() == ["0"] * 3 + ["forked", "SESSION_REVOKED"]
    finally:
        thread.join(PATIENCE_SECONDS)
