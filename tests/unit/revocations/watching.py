"""A watcher of the feed that a test holds up, and what it knows from what it was told."""

import asyncio
from collections.abc import Iterable

from sidegate_sidecar.model import LogEntry, Revision, RevocationKind
from sidegate_sidecar.revocations.digests import Digester
from sidegate_sidecar.revocations.feed import Checkpoint, FeedEvent, Hello, RevocationFeed, SnapshotChunk
from sidegate_sidecar.revocations.journal import KeySetChanged, Revoked

Subject = tuple[RevocationKind, bytes]


def subjects_of(salt: bytes, entries: Iterable[LogEntry]) -> list[Subject]:
    """What a watcher is told of these entries."""
    digester = Digester(salt)
    return [(each.kind, digester.digest(each.kind, each.issuer, each.subject)) for each in entries]


class Watcher:
    """Reads its watch to the end, unless it is held. Keeps everything, and what has come since the last hello."""

    def __init__(self, feed: RevocationFeed, after: Revision | None = None, *, with_snapshot: bool = False) -> None:
        self.with_snapshot = with_snapshot
        self.events: list[FeedEvent] = []
        self.hellos: list[Hello] = []
        self.told: list[Subject] = []
        self.snapshot: set[Subject] = set()
        self.key_sets: list[KeySetChanged] = []
        self.checkpoints: list[Checkpoint] = []
        self.checkpoint_times: list[float] = []  # by the loop's clock, since ever
        self.delivered: Revision | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._watch = feed.watch(after, with_snapshot=with_snapshot)
        self.task = asyncio.get_running_loop().create_task(self._read())

    def hold(self) -> None:
        self._may_read.clear()

    def release(self) -> None:
        self._may_read.set()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await self._watch.aclose()

    async def _read(self) -> None:
        async for event in self._watch:
            self.events.append(event)
            self._note(event)
            await self._may_read.wait()

    def _note(self, event: FeedEvent) -> None:
        match event:
            case Hello():
                self.hellos.append(event)
                self.told, self.snapshot, self.key_sets, self.checkpoints = [], set(), [], []
                self.delivered = event.revision
            case SnapshotChunk():
                self.snapshot.update(event.subjects)
            case Revoked():
                assert self.delivered is not None
                assert event.revision.store_id == self.delivered.store_id
                assert event.revision.sequence > self.delivered.sequence
                self.told.extend(event.subjects)
                self.delivered = event.revision
            case KeySetChanged():
                self.key_sets.append(event)
            case Checkpoint():
                assert event.revision == self.delivered
                self.checkpoints.append(event)
                self.checkpoint_times.append(asyncio.get_running_loop().time())
