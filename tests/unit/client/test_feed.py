"""Both clients' near caches, fed by a real server."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from sidegate import (
    AsyncSessionClient,
    ClientClosed,
    NearCacheStatistics,
    RejectionReason,
    Revision,
    SessionClient,
    SessionRejected,
    Verdict,
)
from sidegate.v1 import feed_pb2, session_pb2
from sidegate.v1.feed_pb2 import WatchRevocationsResponse as Response

from tests.unit.client.feed_server import ISSUER, PATIENCE_SECONDS, FeedServer
from tests.unit.client.twins import Twins


def revision(store_id: str, sequence: int = 0) -> session_pb2.Revision:
    return session_pb2.Revision(store_id=store_id, sequence=sequence)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FeedServer]:
    server = FeedServer(f"unix://{tmp_path / 's'}")
    yield server
    server.stop()


@pytest.fixture
def client(twins: Twins, server: FeedServer) -> Iterator[SessionClient]:
    with twins.session_client(server.target, timeout=20.0) as client:
        yield client


def until(client: SessionClient, done: Callable[[NearCacheStatistics], bool], ask: str | None = None) -> None:
    """Return once the statistics say so. Asks the sidecar meanwhile, for the asyncio client's loop runs only then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done(client.near_cache_statistics()):
        assert time.monotonic() < deadline, client.near_cache_statistics()
        client.check(ask or f"filler-{time.monotonic_ns()}")


def fill(client: SessionClient) -> None:
    """Ask about s-1 until its verdict is kept."""
    until(client, lambda now: now.hits > 0, "s-1")


def test_a_token_is_asked_about_once(client: SessionClient, server: FeedServer) -> None:
    fill(client)
    asked = len(server.verified)
    session = client.verify("s-1")
    assert (session.session_handle, session.user_id) == ("s-1", "anna")
    verdict = client.check("s-1")
    assert isinstance(verdict, Verdict)
    assert verdict.outcome == session
    assert len(server.verified) == asked
    assert client.near_cache_statistics().entries >= 1


def test_a_revocation_ends_a_kept_verdict(client: SessionClient, server: FeedServer) -> None:
    fill(client)
    server.revoke("s-1")
    until(client, lambda now: now.dropped_by_revocation == 1)
    with pytest.raises(SessionRejected) as caught:
        client.verify("s-1")
    assert caught.value.reason is RejectionReason.SESSION_REVOKED


def test_what_this_client_signed_out_is_refused_before_the_feed_tells_it(
    client: SessionClient, server: FeedServer
) -> None:
    fill(client)
    server.beating = False  # so the feed tells nothing more, and is not late for 3 s
    client.sign_out("s-1")
    with pytest.raises(SessionRejected) as caught:
        client.verify("s-1")
    assert caught.value.reason is RejectionReason.SESSION_REVOKED


def test_an_answer_that_a_revocation_overtook_is_not_kept(sync_client: SessionClient, server: FeedServer) -> None:
    fill(sync_client)
    server.held.clear()
    server.decided.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(sync_client.verify, "s-2")
        assert server.decided.wait(PATIENCE_SECONDS)
        before = sync_client.near_cache_statistics()
        server.revoke("s-2")
        server.revoke("s-1")
        # The feed delivers in order: with s-1's, s-2's revocation has been taken in.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while sync_client.near_cache_statistics().dropped_by_revocation == before.dropped_by_revocation:
            assert time.monotonic() < deadline
        server.held.set()
        assert call.result(PATIENCE_SECONDS).session_handle == "s-2"  # it was good when the sidecar decided
    assert sync_client.near_cache_statistics().not_stored == before.not_stored + 1
    with pytest.raises(SessionRejected):
        sync_client.verify("s-2")


@pytest.fixture
def sync_client(server: FeedServer) -> Iterator[SessionClient]:
    with SessionClient(server.target, timeout=20.0) as client:
        yield client


@pytest.mark.parametrize(
    "message",
    [
        Response(key_set_change=feed_pb2.FeedKeySetChange(issuer=ISSUER, generation=2)),
        Response(),
        Response(
            revocations=feed_pb2.FeedRevocations(
                revision=revision("store"), revocations=[feed_pb2.FeedRevocation(key_digest=b"k" * 16)]
            )
        ),
    ],
    ids=["the issuer's keys changed", "what only a newer sidecar knows", "a key was revoked"],
)
def test_what_may_end_any_verdict_ends_all(client: SessionClient, server: FeedServer, message: Response) -> None:
    fill(client)
    asked = server.verified.count("s-1")
    client.verify("s-1")
    assert server.verified.count("s-1") == asked
    server.send(message)
    until(client, lambda _: server.verified.count("s-1") > asked, "s-1")


def test_a_stricter_question_is_asked(client: SessionClient, server: FeedServer) -> None:
    fill(client)
    asked = server.verified.count("s-1")
    client.verify("s-1", check_database=True)
    client.verify("s-1", at_least_as_fresh=Revision("store", 0))
    client.verify("s-1", audiences=["api"])
    client.verify("s-1", tenant_id="acme")
    client.verify("s-1", anti_csrf_token="x")
    assert server.verified.count("s-1") == asked + 5
    assert client.near_cache_statistics().bypassed_for_database == 2


@pytest.mark.parametrize("audiences", ["api", b"api"])
def test_a_lone_string_of_audiences_stays_a_mistake(client: SessionClient, audiences: str) -> None:
    fill(client)
    until(client, lambda _: True)
    client.verify("s-1", audiences=list("api"))
    with pytest.raises(TypeError, match="audiences"):
        client.verify("s-1", audiences=audiences)


@pytest.mark.parametrize(
    ("token", "reason"),
    [("\ud800", RejectionReason.MALFORMED), ("x" * 20_000, RejectionReason.MALFORMED)],
    ids=["lone surrogate", "oversized"],
)
def test_a_hostile_token_is_refused_as_without_a_cache(
    client: SessionClient, token: str, reason: RejectionReason
) -> None:
    fill(client)
    with pytest.raises(SessionRejected) as caught:
        client.verify(token)
    assert caught.value.reason is reason


def test_claims_that_a_caller_changes_are_its_own(client: SessionClient) -> None:
    fill(client)
    client.verify("s-1").claims["a"].append(2)
    assert client.verify("s-1").claims == {"a": [1]}


def test_without_a_near_cache_every_call_is_asked_and_no_feed_opened(twins: Twins, server: FeedServer) -> None:
    with twins.session_client(server.target, timeout=20.0, near_cache=False) as client:
        for _ in range(5):
            client.verify("s-1")
        assert client.near_cache_statistics() == NearCacheStatistics()
    assert server.verified == ["s-1"] * 5
    assert server.watches == 0


def test_a_stream_that_ends_is_opened_again_with_an_empty_cache(client: SessionClient, server: FeedServer) -> None:
    fill(client)
    server.revoke("s-1", telling=False)  # while nobody watches, as it were
    server.send(None)
    until(client, lambda now: now.bypassed_without_feed > 1 and now.entries == 0)
    with pytest.raises(SessionRejected):
        client.verify("s-1")
    hits = client.near_cache_statistics().hits
    until(client, lambda now: now.hits > hits, "s-2")
    assert len(server.streams) == 2


def test_a_sidecar_that_comes_back_feeds_again(twins: Twins, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 's'}"
    server = FeedServer(address)
    with twins.session_client(address, timeout=20.0) as client:
        fill(client)
        server.stop()
        server = FeedServer(address)
        hits = client.near_cache_statistics().hits
        until(client, lambda now: now.hits > hits, "s-2")
    server.stop()


def test_a_sidecar_that_comes_back_behind_the_log_brings_nothing_back_that_was_revoked(
    twins: Twins, tmp_path: Path
) -> None:
    address = f"unix://{tmp_path / 's'}"
    server = FeedServer(address)
    with twins.session_client(address, timeout=20.0) as client:
        fill(client)
        server.revoke("s-1")
        until(client, lambda now: now.dropped_by_revocation == 1)
        before = client.near_cache_statistics()
        server.stop()
        server = FeedServer(address)  # which knows of no revocation, and says so
        server.wait_for_stream(1)
        until(client, lambda now: now.bypassed_late >= before.bypassed_late + 300 or now.hits > before.hits, "s-1")
        now = client.near_cache_statistics()
        assert (now.hits, now.entries) == (before.hits, 0)
        server.revoke("s-1")
        until(client, lambda now: now.hits > before.hits, "s-2")
        with pytest.raises(SessionRejected):
            client.verify("s-1")
    server.stop()


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED], ids=["no store", "older sidecar"]
)
def test_a_sidecar_without_a_feed_is_asked_rarely(
    client: SessionClient, server: FeedServer, code: grpc.StatusCode
) -> None:
    server.refusal = code
    until(client, lambda _: server.watches > 0)
    for number in range(300):
        client.verify(f"s-{number}")
    assert server.watches == 1
    assert client.near_cache_statistics().bypassed_without_feed >= 300


def test_a_stream_that_no_checkpoint_vouches_for_is_not_used(client: SessionClient, server: FeedServer) -> None:
    server.beating = False
    until(client, lambda _: bool(server.streams))
    for _ in range(20):
        client.verify("s-1")
    statistics = client.near_cache_statistics()
    assert (statistics.hits, statistics.stored, statistics.entries) == (0, 0, 0)
    server.send(server.checkpoint())
    fill(client)


@pytest.mark.parametrize(
    "message",
    [
        Response(hello=feed_pb2.FeedHello(revision=revision("store"))),
        Response(checkpoint=feed_pb2.FeedCheckpoint(revision=revision("store"))),
        Response(checkpoint=feed_pb2.FeedCheckpoint(revision=revision("another"))),
        Response(revocations=feed_pb2.FeedRevocations(revision=revision("store", -1))),
    ],
    ids=["hello without salt", "checkpoint without time", "foreign store", "going back"],
)
def test_a_stream_that_breaks_the_contract_is_left(
    client: SessionClient, server: FeedServer, message: Response
) -> None:
    fill(client)
    server.send(message)
    until(client, lambda _: len(server.streams) == 2)
    assert server.streams[0].ended.wait(PATIENCE_SECONDS)


def test_closing_ends_the_feed(twins: Twins, server: FeedServer) -> None:
    others = set(threading.enumerate())  # the feeds of clients that no other test has closed are not ours to count
    client = twins.session_client(server.target, timeout=20.0)
    fill(client)
    feeds = [thread for thread in set(threading.enumerate()) - others if thread.name == "sidegate-feed"]
    assert len(feeds) == 1
    client.close()
    assert server.wait_for_stream(1).ended.wait(PATIENCE_SECONDS)
    assert not feeds[0].is_alive()
    with pytest.raises(ClientClosed):
        client.verify("s-1")
    assert len(server.streams) == 1


def test_a_client_that_nobody_closed_ends_its_feed_when_it_is_collected(twins: Twins, server: FeedServer) -> None:
    client = twins.session_client(server.target, timeout=20.0)
    fill(client)
    del client
    gc.collect()
    assert server.wait_for_stream(1).ended.wait(PATIENCE_SECONDS)


def test_a_feed_outlives_the_loops_that_use_the_client(server: FeedServer) -> None:
    client = AsyncSessionClient(server.target, timeout=20.0)

    async def use() -> None:
        before = client.near_cache_statistics().hits
        async with asyncio.timeout(PATIENCE_SECONDS):
            while client.near_cache_statistics().hits == before:
                await client.verify("s-1")

    for _ in range(5):
        asyncio.run(use())
    assert len(server.streams) == 1
    asyncio.run(client.close())
    assert server.streams[0].ended.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("bound", ["near_cache_entries", "near_cache_bytes"])
def test_a_bound_is_positive(twins: Twins, bound: str) -> None:
    with pytest.raises(ValueError, match=bound):
        twins.session_client("127.0.0.1:1", **{bound: 0})
