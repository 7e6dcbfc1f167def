"""The feed, of the fake and of a real sidecar: alike."""

import hashlib
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
from sidegate import Revision
from sidegate.failures import failure_of
from sidegate.v1 import feed_pb2, feed_pb2_grpc, session_pb2

from tests.integration.sidecar.conformance.worlds import AN_HOUR, LONG, World, now


class Watch:
    """One open feed."""

    def __init__(self, target: str, **request: Any) -> None:
        self._channel = grpc.insecure_channel(target)
        stub = feed_pb2_grpc.RevocationFeedServiceStub(self._channel)
        self._messages = iter(stub.WatchRevocations(feed_pb2.WatchRevocationsRequest(**request), timeout=LONG))

    def next(self) -> feed_pb2.WatchRevocationsResponse:
        return next(self._messages)

    def next_but_checkpoints(self) -> feed_pb2.WatchRevocationsResponse:
        return next(message for message in self._messages if message.WhichOneof("event") != "checkpoint")

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._channel.close()


def digest(world: World, salt: bytes, kind: bytes, subject: str) -> bytes:
    """As feed.proto says."""
    content = kind + b"".join(len(name.encode()).to_bytes(4, "big") + name.encode() for name in (world.issuer, subject))
    return hashlib.blake2b(content, key=salt, digest_size=16).digest()


def message_from(revision: Revision) -> session_pb2.Revision:
    return session_pb2.Revision(store_id=revision.store_id, sequence=revision.sequence)


def test_the_feed_tells_what_is_revoked_alike(world: World, user: str) -> None:
    before = world.admin.revoke_session(f"{user}-0").revision
    with Watch(world.target) as feed:
        hello = feed.next().hello
        first = feed.next()

        world.admin.register_session(f"{user}-1", user, session_expire_time=now() + AN_HOUR)
        outcome = world.admin.revoke_user_sessions(user)
        revocations = feed_pb2.FeedRevocations()
        while len(revocations.revocations) < 2:
            revocations.MergeFrom(feed.next_but_checkpoints().revocations)
        tenant = world.admin.revoke_tenant_sessions(f"{user}-t").revision
        last = feed.next_but_checkpoints().revocations

    assert hello.revision == message_from(before)
    assert len(hello.digest_salt) == 16
    assert first.checkpoint.revision == message_from(before)
    assert abs(first.checkpoint.sent_time.ToDatetime(UTC) - now()) < timedelta(minutes=1)
    assert first.checkpoint.HasField("last_read_age")
    assert list(revocations.revocations) == [
        feed_pb2.FeedRevocation(user_digest=digest(world, hello.digest_salt, b"u", user)),
        feed_pb2.FeedRevocation(session_digest=digest(world, hello.digest_salt, b"s", f"{user}-1")),
    ]
    assert revocations.revision == message_from(outcome.revision)
    assert list(last.revocations) == [
        feed_pb2.FeedRevocation(tenant_digest=digest(world, hello.digest_salt, b"t", f"{user}-t"))
    ]
    assert last.revision == message_from(tenant)


def test_the_feed_gives_signs_of_life_alike(world: World) -> None:
    with Watch(world.target) as feed:
        feed.next()
        sent = [feed.next().checkpoint.sent_time.ToDatetime(UTC) for _ in range(3)]

    assert sent == sorted(set(sent))


def test_the_feed_goes_on_where_it_was_left_alike(world: World, user: str) -> None:
    seen = world.admin.revoke_session(f"{user}-0").revision
    missed = world.admin.revoke_session(f"{user}-1").revision

    with Watch(world.target, after=message_from(seen)) as feed:
        hello = feed.next().hello
        revocations = feed.next_but_checkpoints().revocations
    assert hello.revision == message_from(seen)
    assert [each.session_digest for each in revocations.revocations] == [
        digest(world, hello.digest_salt, b"s", f"{user}-1")
    ]
    assert revocations.revision == message_from(missed)

    for elsewhere in (Revision("another", 1), Revision(seen.store_id, missed.sequence + 1000)):
        with Watch(world.target, after=message_from(elsewhere)) as feed:
            assert feed.next().hello.revision == message_from(missed)


def test_a_snapshot_is_for_administrators_alike(world: World, user: str) -> None:
    revision = world.admin.revoke_session(user).revision

    with Watch(world.admin_target, with_snapshot=True) as feed:
        hello = feed.next().hello
        digests: set[bytes] = set()
        while (message := feed.next()).HasField("snapshot_chunk"):
            digests.update(each.session_digest for each in message.snapshot_chunk.revocations)
    with Watch(world.target, with_snapshot=True) as feed, pytest.raises(grpc.RpcError) as refused_to:
        feed.next()

    assert hello.revision == message_from(revision)
    assert digest(world, hello.digest_salt, b"s", user) in digests
    assert message.checkpoint.revision == message_from(revision)
    failure = failure_of(refused_to.value)
    assert (failure.code, failure.reason, failure.metadata) == (
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
        {"field": "with_snapshot"},
    )
