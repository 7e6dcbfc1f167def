"""A revocation log that a test writes to, restores from a backup, holds up and lets fail."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import LogEntry, LogPage, Micros, Revision, RevocationKind, Subject
from sidegate_sidecar.revocations.index import RevocationIndex

ISSUER = "https://issuer.example"
SALT = bytes(range(16))
_entry_ids = count(1)


def entry(
    sequence: int,
    kind: RevocationKind = RevocationKind.SESSION,
    subject: str | None = None,
    *,
    issuer: str = ISSUER,
    tenant: str | None = None,
    spare: str | None = None,
    at: Micros = 0,
) -> LogEntry:
    """An entry with an id of its own; by default it revokes a session of its own."""
    number = next(_entry_ids)
    named = f"session-{number}" if subject is None else subject
    return LogEntry(sequence, number.to_bytes(16, "big"), kind, issuer, named, tenant, spare, at, None)


def has_revoked(index: RevocationIndex, handle: str) -> bool:
    return index.coverage(Subject(ISSUER, handle, "user", "")).session_revoked


@dataclass
class ScriptedLog:
    """A `LogSource`.

    Attributes:
        down: Every read fails.
        failures: How many of the next reads fail.
        wakes: Whether followers are told of what is appended.
        reads: What was asked for: the first sequence and the limit.
        read_times: When, by the loop's clock.
        horizon, removed: As in `LogPage`.
        renewed: Each store that it was made by `renew_identity`, with its entries.
    """

    store_id: str = "store-1"
    entries: list[LogEntry] = field(default_factory=list[LogEntry])
    down: bool = False
    failures: int = 0
    wakes: bool = True
    reads: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    read_times: list[float] = field(default_factory=list[float])
    renewed: list[tuple[str, list[LogEntry]]] = field(default_factory=list[tuple[str, list[LogEntry]]])
    salt: bytes = SALT
    horizon: int = 0
    removed: int = 0
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def head(self) -> int:
        return self.entries[-1].sequence if self.entries else 0

    @property
    def revision(self) -> Revision:
        return Revision(self.store_id, self.head)

    @property
    def answers(self) -> bool:
        """Whether the next read succeeds, and at once."""
        return self._gate.is_set() and not self.down and not self.failures

    def append(self, number: int = 1) -> None:
        head = self.head
        self.entries.extend(entry(head + 1 + position) for position in range(number))
        if self.wakes:
            self._changed.set()

    def restore(self, kept: int, *, store_id: str | None = None) -> None:
        """Put back a backup that holds the first entries only."""
        del self.entries[kept:]
        self.horizon = min(self.horizon, max(self.head - 1, 0))
        self.store_id = store_id or self.store_id
        if self.wakes:
            self._changed.set()

    def compact(self, forget: Callable[[LogEntry], bool]) -> None:
        """Remove entries, but never the newest of all. Nobody is told."""
        gone = [each for each in self.entries[:-1] if forget(each)]
        self.horizon = max([self.horizon, *(each.sequence for each in gone)])
        self.removed += len(gone)
        self.entries = [each for each in self.entries if each not in gone]

    async def renew_identity(self, store_id: str) -> None:
        await self._gate.wait()
        if self.down:
            raise StoreUnavailable("down")
        if self.store_id == store_id:
            self.store_id = f"{store_id} renewed" + (f" {len(self.renewed)}" if self.renewed else "")
            self.salt = bytes([self.salt[0] + 1]) + self.salt[1:]
            self.renewed.append((self.store_id, self.entries))

    def __post_init__(self) -> None:
        self.release()

    def hold(self) -> None:
        """Let reads hang until `release`."""
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    async def read_log(self, first: int, limit: int) -> LogPage:
        self.reads.append((first, limit))
        self.read_times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        await self._gate.wait()
        if self.down or self.failures:
            self.failures -= not self.down
            raise StoreUnavailable("the store does not answer")
        begin = bisect_left(self.entries, first, key=attrgetter("sequence"))
        entries = tuple(self.entries[begin : begin + limit])
        return LogPage(self.store_id, self.salt, self.head, self.horizon, self.removed, entries)

    async def wait_for_change(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
