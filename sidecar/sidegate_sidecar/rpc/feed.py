"""RevocationFeedService: the feed, on either plane."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing

from sidegate.v1 import feed_pb2 as v1
from sidegate.v1 import feed_pb2_grpc

from sidegate_sidecar.errors import InvalidRequest, PreconditionFailed
from sidegate_sidecar.model import Clock, Revision, RevocationKind
from sidegate_sidecar.revocations.feed import Checkpoint, FeedEvent, Hello, RevocationFeed, SnapshotChunk
from sidegate_sidecar.revocations.journal import KeySetChanged, Revoked
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.messages import duration_from, revision_from, timestamp_from

_REVOCATIONS: Mapping[RevocationKind, Callable[[bytes], v1.FeedRevocation]] = {
    RevocationKind.SESSION: lambda digest: v1.FeedRevocation(session_digest=digest),
    RevocationKind.USER: lambda digest: v1.FeedRevocation(user_digest=digest),
    RevocationKind.TENANT: lambda digest: v1.FeedRevocation(tenant_digest=digest),
    RevocationKind.KEY: lambda digest: v1.FeedRevocation(key_digest=digest),
}


class RevocationFeedService(feed_pb2_grpc.RevocationFeedServiceServicer):
    """Args:
    feed: None: the sidecar has no store.
    clock: The wall clock, for `sent_time`.
    snapshots: Whether watchers may ask for one.
    """

    def __init__(self, feed: RevocationFeed | None, clock: Clock, *, snapshots: bool) -> None:
        self._feed = feed
        self._clock = clock
        self._snapshots = snapshots

    async def WatchRevocations(
        self, request: v1.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[v1.WatchRevocationsResponse]:
        """As feed.proto says."""
        if request.with_snapshot and not self._snapshots:
            raise InvalidRequest("with_snapshot", "is served on the admin listener only")
        if self._feed is None:
            raise PreconditionFailed("the feed needs a store, and this sidecar has none", reason="STORE_NOT_CONFIGURED")
        after = Revision(request.after.store_id, request.after.sequence) if request.HasField("after") else None
        async with aclosing(self._feed.watch(after, with_snapshot=request.with_snapshot)) as events:
            async for event in events:
                yield self._response(event)

    def _response(self, event: FeedEvent) -> v1.WatchRevocationsResponse:
        match event:
            case Hello():
                hello = v1.FeedHello(revision=revision_from(event.revision), digest_salt=event.digest_salt)
                return v1.WatchRevocationsResponse(hello=hello)
            case SnapshotChunk():
                chunk = v1.FeedSnapshotChunk(revocations=_revocations(event.subjects))
                return v1.WatchRevocationsResponse(snapshot_chunk=chunk)
            case Revoked():
                revoked = v1.FeedRevocations(
                    revision=revision_from(event.revision), revocations=_revocations(event.subjects)
                )
                return v1.WatchRevocationsResponse(revocations=revoked)
            case KeySetChanged():
                change = v1.FeedKeySetChange(issuer=event.issuer, generation=event.generation)
                return v1.WatchRevocationsResponse(key_set_change=change)
            case Checkpoint():
                checkpoint = v1.FeedCheckpoint(
                    revision=revision_from(event.revision),
                    last_read_age=duration_from(event.age),
                    sent_time=timestamp_from(self._clock()),
                )
                return v1.WatchRevocationsResponse(checkpoint=checkpoint)


def _revocations(subjects: Sequence[tuple[RevocationKind, bytes]]) -> list[v1.FeedRevocation]:
    return [_REVOCATIONS[kind](digest) for kind, digest in subjects]
