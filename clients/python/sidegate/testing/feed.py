"""The feed of a fake sidecar, as feed.proto says: what near caches and long-lived connections live by."""

import time
from collections.abc import Iterator, Sequence

import grpc
from google.protobuf.duration_pb2 import Duration

from sidegate.digests import digest_of
from sidegate.errors import CallFailed
from sidegate.testing.faults import Faults, FeedState
from sidegate.testing.messages import revision_from, timestamp_from
from sidegate.testing.refusals import invalid
from sidegate.testing.store import Entry, Kind, Store, now
from sidegate.v1 import feed_pb2 as v1
from sidegate.v1 import feed_pb2_grpc
from sidegate.verdicts import Revision

CHECKPOINT_SECONDS = 0.9  # at least one a second is promised, and a timer can be late

_FIELDS = {
    Kind.SESSION: "session_digest",
    Kind.USER: "user_digest",
    Kind.TENANT: "tenant_digest",
    Kind.KEY: "key_digest",
}


class FeedService(feed_pb2_grpc.RevocationFeedServiceServicer):
    """Args:
    store: Whose log it follows.
    faults: May stall or break it.
    issuer: Of all that is in the log.
    snapshots: Whether watchers may ask for one.
    """

    def __init__(self, store: Store, faults: Faults, issuer: str, *, snapshots: bool) -> None:
        self._store = store
        self._faults = faults
        self._issuer = issuer
        self._snapshots = snapshots

    def WatchRevocations(
        self, request: v1.WatchRevocationsRequest, context: grpc.ServicerContext
    ) -> Iterator[v1.WatchRevocationsResponse]:
        """As feed.proto says."""
        if request.with_snapshot and not self._snapshots:
            raise invalid("with_snapshot", "is served on the admin listener only")
        if not self._await_flow(context):
            return
        delivered = self._beginning(request)
        yield self._hello(delivered)
        if request.with_snapshot:
            chunk = self._revocations(self._store.entries_after(0)[: delivered.sequence])
            yield v1.WatchRevocationsResponse(snapshot_chunk=v1.FeedSnapshotChunk(revocations=chunk))
        checkpoint_due = time.monotonic()
        while True:
            with self._store.changed:  # all the while, so that no revocation slips out after the feed has stalled
                if not self._await_flow(context):
                    return
                entries = self._store.entries_after(delivered.sequence)
                left = checkpoint_due - time.monotonic()
                if not entries and left > 0:
                    self._store.changed.wait(left)
                    continue
                delivered = self._store.revision
            if entries:
                yield v1.WatchRevocationsResponse(
                    revocations=v1.FeedRevocations(
                        revision=revision_from(delivered), revocations=self._revocations(entries)
                    )
                )
            else:
                checkpoint_due = time.monotonic() + CHECKPOINT_SECONDS
                yield self._checkpoint(delivered)

    def _await_flow(self, context: grpc.ServicerContext) -> bool:
        """Wait while the feed is stalled. Whether anybody listens. Raises: CallFailed, if it is broken."""
        with self._store.changed:
            # Under the lock that whoever hangs up takes to wake us: else that could fall between the look and the wait.
            while context.is_active():
                if self._faults.feed is FeedState.BROKEN:
                    raise CallFailed("a test has it so", code="UNAVAILABLE", reason="INDEX_NOT_LOADED")
                if self._faults.feed is FeedState.FLOWING:
                    return True
                self._store.changed.wait()
            return False

    def _beginning(self, request: v1.WatchRevocationsRequest) -> Revision:
        """Where the stream starts: where it was asked to, if the log leads on from there."""
        here = self._store.revision
        resumes = (
            request.HasField("after")
            and not request.with_snapshot
            and request.after.store_id == here.store_id
            and 0 <= request.after.sequence <= here.sequence
        )
        return Revision(here.store_id, request.after.sequence) if resumes else here

    def _hello(self, revision: Revision) -> v1.WatchRevocationsResponse:
        return v1.WatchRevocationsResponse(
            hello=v1.FeedHello(revision=revision_from(revision), digest_salt=self._store.digest_salt)
        )

    def _checkpoint(self, revision: Revision) -> v1.WatchRevocationsResponse:
        age = Duration()
        age.FromMicroseconds(int(self._faults.lag() * 1_000_000))
        return v1.WatchRevocationsResponse(
            checkpoint=v1.FeedCheckpoint(
                revision=revision_from(revision), last_read_age=age, sent_time=timestamp_from(now())
            )
        )

    def _revocations(self, entries: Sequence[Entry]) -> list[v1.FeedRevocation]:
        return [
            v1.FeedRevocation(
                **{
                    _FIELDS[entry.kind]: digest_of(
                        self._store.digest_salt, entry.kind.value.encode(), self._issuer, entry.subject
                    )
                }
            )
            for entry in entries
        ]
