"""What the index took in lately, in order, once for all who watch.

Each watcher is only a place in it, so memory is bounded however many watch, and a slow one holds nobody up: it finds
its place gone and begins anew.
"""

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from sidegate_sidecar.model import LogEntry, Revision, RevocationKind

CAPACITY = 65_536  # events, about 9 MB: ten minutes at 100 revocations a second

NOWHERE = -1  # a place that is older than any


@dataclass(frozen=True, slots=True)
class Revoked:
    """Revocations in log order; `revision` is the position after the last of them."""

    revision: Revision
    subjects: Sequence[tuple[RevocationKind, bytes]]


@dataclass(frozen=True, slots=True)
class KeySetChanged:
    """An issuer's keys changed."""

    issuer: str
    generation: int


class Journal:
    """A ring of events, numbered from the first that there ever was. Nothing in it waits but `changed`.

    Args:
        capacity: How many events it holds.

    Attributes:
        revision: The position after its last event; None until it has begun.
        digest_salt: Of the store that it tells of.
        complete_at: When `revision` was last known to be the log's head, by the follower's clock.
        oldest: The number of the oldest event that it still holds.
        end: The number that the next event will have.
    """

    def __init__(self, capacity: int) -> None:
        self.revision: Revision | None = None
        self.digest_salt = b""
        self.complete_at = 0.0
        self.oldest = 0
        self.end = 0
        self._capacity = capacity
        # They grow up to the capacity; then the oldest is overwritten. Positions and instants take eight bytes each.
        self._first = 0  # the number of the event that was written first
        self._events: list[tuple[RevocationKind, bytes] | KeySetChanged] = []
        self._sequences = array("q")
        self._complete_before = array("d")
        self._resumable_from = 0
        self._changed = asyncio.Event()

    def begin(self, revision: Revision, digest_salt: bytes) -> None:
        """Start anew: what came before does not lead here, and every watcher has to begin again too."""
        self.revision, self.digest_salt = revision, digest_salt
        self.end += 1  # a number that no event has, so that who stood at the end has lost its place too
        self._first = self.oldest = self.end
        self._resumable_from = revision.sequence
        self._events.clear()
        del self._sequences[:], self._complete_before[:]
        self.announce()

    def add_revocations(self, entries: Sequence[LogEntry], digests: Sequence[bytes]) -> None:
        """Tell of entries that the index has just taken in; each has its digest."""
        if self.revision is None or not entries:
            return
        for entry, digest in zip(entries, digests, strict=True):
            self._add((entry.kind, digest), entry.sequence)
        self.revision = Revision(self.revision.store_id, entries[-1].sequence)
        self.announce()

    def add_key_set_change(self, issuer: str, generation: int) -> None:
        """Tell of it, between what was revoked before and after. Before the beginning nobody watches."""
        if self.revision is not None:
            self._add(KeySetChanged(issuer, generation), self.revision.sequence)
            self.announce()

    def place_after(self, revision: Revision) -> int:
        """The number of the first event that whoever was told everything up to a revision may lack.

        NOWHERE: that cannot be told here. It is another store's, or too long ago, or ahead of what is known here.
        """
        here = self.revision
        if here is None or here.store_id != revision.store_id:
            return NOWHERE
        if not self._resumable_from <= revision.sequence <= here.sequence:
            return NOWHERE
        low, high = self.oldest, self.end
        while low < high:  # the first event beyond the revision, or a key-set change at it: that may not have been told
            middle = (low + high) // 2
            if self._sequences[self._slot(middle)] < revision.sequence:
                low = middle + 1
            else:
                high = middle
        at_revision = low < self.end and self._sequences[self._slot(low)] == revision.sequence
        return low + 1 if at_revision and not isinstance(self._events[self._slot(low)], KeySetChanged) else low

    def read(self, place: int, limit: int) -> tuple[Revoked | KeySetChanged, int] | None:
        """What comes next at a place: a key-set change, or up to `limit` revocations; and the place after it.

        None: nothing yet. The place must be between `oldest` and `end`, and a journal that has not begun has none.
        """
        if place >= self.end or self.revision is None:
            return None
        first = self._events[self._slot(place)]
        if isinstance(first, KeySetChanged):
            return first, place + 1
        subjects: list[tuple[RevocationKind, bytes]] = []
        for number in range(place, min(place + limit, self.end)):
            event = self._events[self._slot(number)]
            if isinstance(event, KeySetChanged):
                break
            subjects.append(event)
        after = place + len(subjects)
        return Revoked(Revision(self.revision.store_id, self._sequences[self._slot(after - 1)]), subjects), after

    def complete_before(self, place: int) -> float:
        """When what comes before a place was last known to be all, by the follower's clock."""
        return self.complete_at if place >= self.end else self._complete_before[self._slot(place)]

    @property
    def changed(self) -> asyncio.Event:
        """Set when something is added after this moment. Take it before reading, and nothing falls between."""
        return self._changed

    def announce(self) -> None:
        """Wake all who wait for a change, though there is none."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _add(self, event: tuple[RevocationKind, bytes] | KeySetChanged, sequence: int) -> None:
        if len(self._events) < self._capacity:
            self._events.append(event)
            self._sequences.append(sequence)
            self._complete_before.append(self.complete_at)
        else:
            slot = self._slot(self.end)
            # Nobody can tell whether a key-set change came before or after what was watched up to its position.
            self._resumable_from = self._sequences[slot] + isinstance(self._events[slot], KeySetChanged)
            self._events[slot], self._sequences[slot], self._complete_before[slot] = event, sequence, self.complete_at
            self.oldest += 1
        self.end += 1

    def _slot(self, number: int) -> int:
        return (number - self._first) % self._capacity
