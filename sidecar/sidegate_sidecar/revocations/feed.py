"""The feed: what each watcher is told, in which order, and when it has to begin anew."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from sidegate_sidecar.errors import IndexNotLoaded, ShuttingDown
from sidegate_sidecar.model import KeySet, Micros, Revision, RevocationKind
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.revocations.index import RevocationIndex
from sidegate_sidecar.revocations.journal import NOWHERE, KeySetChanged, Revoked

CHECKPOINT_SECONDS = 0.9  # at least one a second is promised, and a timer can be late
MAX_REVOCATIONS = 500  # in one message: about 1 ms of work and 11 kB
SNAPSHOT_DIGESTS = 500  # at least, in one chunk, and up to twice as many at a million: about 2 ms and 20 kB


@dataclass(frozen=True, slots=True)
class Hello:
    """Where a stream begins, or begins anew."""

    revision: Revision
    digest_salt: bytes


@dataclass(frozen=True, slots=True)
class SnapshotChunk:
    """Some of all that can still match."""

    subjects: list[tuple[RevocationKind, bytes]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to `revision` has been delivered. `age`: how long ago that was last known to be all."""

    revision: Revision
    age: Micros


FeedEvent: TypeAlias = Hello | SnapshotChunk | Revoked | KeySetChanged | Checkpoint


class RevocationFeed:
    """Tells any number of watchers what the index took in; each is only a place in the follower's journal.

    The index has taken an entry in before anybody is told of it: whoever asks again thereupon is refused.

    Args:
        follower: Whose index and journal. Run by the caller.
        monotonic: Seconds; for the pace of checkpoints.
    """

    def __init__(self, follower: LogFollower, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._follower = follower
        self._journal = follower.journal
        self._monotonic = monotonic
        self._ended = asyncio.Event()  # asked, not waited for: the journal wakes everybody

    def key_set_changed(self, issuer: str, key_set: KeySet) -> None:
        """Tell watchers of it. A listener of the key ring."""
        self._journal.add_key_set_change(issuer, key_set.generation)

    def end(self) -> None:
        """End every watch, and each that begins from now on."""
        self._ended.set()
        self._journal.announce()

    async def watch(self, after: Revision | None, *, with_snapshot: bool) -> AsyncGenerator[FeedEvent]:
        """A hello, then all that follows, for ever. Waits wherever the reader does, and holds nobody up.

        The hello's revision is `after` if all that came after it can be told; otherwise it is the present one, as it is
        without `after` and with a snapshot. Another hello says that the reader fell too far behind, or that the store
        is another; with a snapshot another snapshot follows.

        Raises:
            IndexNotLoaded: It has not loaded once.
            ShuttingDown: After `end`.
        """
        journal = self._journal
        place, delivered = NOWHERE, after
        if after is not None and not with_snapshot:
            place = journal.place_after(after)
            if place != NOWHERE:
                yield Hello(after, journal.digest_salt)
        checkpoint_due = self._monotonic()
        while True:
            changed = journal.changed
            if self._ended.is_set():
                raise ShuttingDown("the sidecar is shutting down")
            if place < journal.oldest or delivered is None:
                index = self._follower.index
                if index is None:
                    raise IndexNotLoaded("the revocation index has not loaded yet")
                place, delivered = journal.end, index.revision
                yield Hello(delivered, index.digest_salt)
                if with_snapshot:
                    for chunk in _chunks(index):
                        yield chunk
                        if self._ended.is_set() or place < journal.oldest:
                            break
                checkpoint_due = self._monotonic()
                continue
            now = self._monotonic()
            if now >= checkpoint_due:
                checkpoint_due = now + CHECKPOINT_SECONDS
                yield Checkpoint(delivered, self._follower.age(journal.complete_before(place)))
                continue
            found = journal.read(place, MAX_REVOCATIONS)
            if found is not None:
                event, place = found
                if isinstance(event, Revoked):
                    delivered = event.revision
                yield event
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(checkpoint_due - now):
                        await changed.wait()


def _chunks(index: RevocationIndex) -> Iterator[SnapshotChunk]:
    """All that the index has now, and perhaps some that it gains meanwhile, which the journal has too."""
    gathered: list[tuple[RevocationKind, bytes]] = []
    for kind, digests in index.digests():
        gathered.extend((kind, digest) for digest in digests)
        if len(gathered) >= SNAPSHOT_DIGESTS:
            yield SnapshotChunk(gathered)
            gathered = []
    if gathered:
        yield SnapshotChunk(gathered)
