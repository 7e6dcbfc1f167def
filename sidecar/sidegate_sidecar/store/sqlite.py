"""The embedded store: one SQLite file, shared by the processes of one host."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import aiosqlite

from sidegate_sidecar.errors import StartupError, StoreUnavailable
from sidegate_sidecar.model import (
    Attribution,
    AuditEntry,
    AuditFilter,
    Clock,
    KeyRevoked,
    LogPage,
    Registration,
    Removed,
    SessionRecord,
    SessionsEnded,
    SessionsRevoked,
    StoreFacts,
    StoreLimits,
    Subject,
    wall_clock,
)
from sidegate_sidecar.store import sqlite_reading, sqlite_revoking, sqlite_schema, sqlite_writing
from sidegate_sidecar.store.mounts import network_file_system
from sidegate_sidecar.store.sqlite_link import SqliteLink, Work
from sidegate_sidecar.store.sqlite_writing import Transaction

T = TypeVar("T")


class _Links:
    """The connections of an open store."""

    def __init__(self, path: Path, *, write_timeout: float, read_timeout: float) -> None:
        # SQLite waits for less than our caller does, so that it learns of a locked database rather than of silence.
        self.writer = SqliteLink(path, writes=True, busy_timeout=0.9 * write_timeout)
        self.reader = SqliteLink(path, writes=False, busy_timeout=0.9 * read_timeout)
        # Apart from the reader: a long search of the audit trail holds no look-up up.
        self.lister = SqliteLink(path, writes=False, busy_timeout=0.9 * read_timeout)
        self.watcher = SqliteLink(path, writes=False, busy_timeout=0.9 * read_timeout)

    async def close(self, *, timeout: float) -> None:
        await asyncio.gather(*(link.close(timeout=timeout) for link in (self.watcher, self.lister, self.reader)))
        # Last, for the last connection to close is to move the log into the file, and only this one may write.
        await self.writer.close(timeout=timeout)


class SqliteStore:
    """`SessionStore` on one SQLite file in WAL mode, `synchronous=FULL`. On a local disk: WAL shares memory, which no
    network filesystem does; those that are known as such are refused.

    Writers of all processes take turns at SQLite's write lock; that order is the log's. Reads go on meanwhile. A store
    that failed is asked anew by the next call, on a new connection; a file that was replaced is noticed by then.

    Args:
        path: The file. `migrate` makes it (mode 0600), and its directory (0700) where there is none.
        clock: The store's clock.
        poll_interval: How often a waiting `wait_for_change` asks whether another process wrote, in seconds.
        write_timeout: Bounds each write, the wait for its turn included, in seconds.
        read_timeout: Likewise each read.
        open_timeout: Likewise `open`, `migrate` and `raise_limits`, which may have to go through the whole file.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock = wall_clock,
        poll_interval: float = 0.025,
        write_timeout: float = 5.0,
        read_timeout: float = 2.0,
        open_timeout: float = 60.0,
    ) -> None:
        self._path = path
        self._clock = clock
        self._poll_interval = poll_interval
        self._write_timeout = write_timeout
        self._read_timeout = read_timeout
        self._open_timeout = open_timeout
        self._links: _Links | None = None
        self._changed = asyncio.Event()
        # The connection counts too: data_version means something on one connection only.
        self._watched: tuple[aiosqlite.Connection, int] | None = None

    async def open(self) -> None:
        """Connect, check the schema's version and the file's integrity. Raises: StartupError, StoreUnavailable."""
        await self._check_surroundings()
        if not await asyncio.to_thread(self._path.exists):
            raise StartupError(f"There is no session store at {self._path}. Make one with `sidegate migrate`.")
        links = _Links(self._path, write_timeout=self._write_timeout, read_timeout=self._read_timeout)
        try:
            await links.writer.run(sqlite_schema.check, timeout=self._open_timeout)
            # Connect now: when the disk is full later, it is too late to begin.
            for link in (links.reader, links.lister, links.watcher):
                await link.run(sqlite_reading.limits, timeout=self._open_timeout)
        except BaseException:
            await links.close(timeout=self._write_timeout)
            raise
        self._links = links

    async def close(self) -> None:
        """Release everything. Safe to call twice, and on a store that was never opened."""
        links, self._links = self._links, None
        if links is not None:
            await links.close(timeout=self._write_timeout)

    async def migrate(self, limits: StoreLimits, *, after_deploy: bool = False) -> list[str]:
        """Bring the schema up to date; the names of the migrations applied. Makes the file and its directory."""
        await self._check_surroundings()
        try:
            await asyncio.to_thread(self._make_file)
        except OSError as fault:
            raise StoreUnavailable("The session store cannot be created.") from fault
        link = SqliteLink(self._path, writes=True, busy_timeout=self._open_timeout)
        try:
            return await link.run(
                lambda connection: sqlite_schema.migrate(connection, limits, self._clock, after_deploy=after_deploy),
                timeout=self._open_timeout,
            )
        finally:
            await link.close(timeout=self._write_timeout)

    async def limits(self) -> StoreLimits:
        """The limits that retention rests on."""
        return await self._read(self._open_links().reader, sqlite_reading.limits)

    async def renew_identity(self, store_id: str) -> None:
        """Give the store a new id and salt if its id is still this one."""
        await self._write(
            lambda transaction: sqlite_writing.renew_identity(transaction, store_id), timeout=self._write_timeout
        )

    async def raise_limits(self, limits: StoreLimits) -> StoreLimits:
        """Raise each limit to the one given where it is lower; never lower one. What is then in force."""
        return await self._write(
            lambda transaction: sqlite_writing.raise_limits(transaction, limits), timeout=self._open_timeout
        )

    async def look_up(self, subjects: Sequence[Subject]) -> list[StoreFacts]:
        """What `check_database` needs, in one query, in the order asked."""
        return await self._read(
            self._open_links().reader, lambda connection: sqlite_reading.look_up(connection, subjects)
        )

    async def read_log(self, first: int, limit: int) -> LogPage:
        """Up to `limit` entries from sequence `first` on."""
        return await self._read(
            self._open_links().reader, lambda connection: sqlite_reading.read_log(connection, first, limit)
        )

    async def wait_for_change(self, timeout: float) -> None:
        """Return when the log may have grown since the last call, or after `timeout` seconds.

        Up to `read_timeout` later while the disk hangs.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while not self._changed.is_set():
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                return
            if await self._other_connection_wrote():
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._poll_interval, remaining)):
                    await self._changed.wait()
        self._changed.clear()

    async def get_session(self, issuer: str, session_handle: str) -> SessionRecord | None:
        """One registered session, revoked and expired ones included."""
        return await self._read(
            self._open_links().lister, lambda connection: sqlite_reading.get_session(connection, issuer, session_handle)
        )

    async def list_sessions(self, issuer: str, user_id: str, *, after: str, limit: int) -> list[SessionRecord]:
        """A user's registered sessions with handles above `after`, by handle."""
        return await self._read(
            self._open_links().lister,
            lambda connection: sqlite_reading.list_sessions(connection, issuer, user_id, after, limit),
        )

    async def list_revocations(self, wanted: AuditFilter, *, before: int | None, limit: int) -> list[AuditEntry]:
        """Audit entries with sequences below `before`, newest first."""
        return await self._read(
            self._open_links().lister,
            lambda connection: sqlite_reading.list_revocations(connection, wanted, before, limit),
        )

    async def register(self, registrations: Sequence[Registration]) -> list[SessionRecord]:
        """Record sessions, all or none. In the order asked."""
        return await self._write(
            lambda transaction: sqlite_writing.register(transaction, registrations), timeout=self._write_timeout
        )

    async def revoke_sessions(
        self, issuer: str, session_handles: Sequence[str], attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsRevoked:
        """Revoke handles, registered or not, all or none."""
        return await self._write(
            lambda transaction: sqlite_revoking.revoke_sessions(transaction, issuer, session_handles, attribution),
            timeout=self._write_timeout,
            validate_only=validate_only,
        )

    async def revoke_user(
        self,
        issuer: str,
        user_id: str,
        *,
        tenant_id: str | None,
        except_session_handle: str | None,
        accept_unknown_exception: bool,
        attribution: Attribution,
        validate_only: bool = False,
    ) -> SessionsEnded:
        """Write a watermark at the store's clock, and revoke every registered session of the user that is alive."""
        return await self._write(
            lambda transaction: sqlite_revoking.revoke_user(
                transaction,
                issuer,
                user_id,
                tenant_id=tenant_id,
                except_session_handle=except_session_handle,
                accept_unknown_exception=accept_unknown_exception,
                attribution=attribution,
            ),
            timeout=self._write_timeout,
            validate_only=validate_only,
        )

    async def revoke_tenant(
        self, issuer: str, tenant_id: str, attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsEnded:
        """Write a watermark at the store's clock, and revoke every registered session of the tenant that is alive."""
        return await self._write(
            lambda transaction: sqlite_revoking.revoke_tenant(transaction, issuer, tenant_id, attribution),
            timeout=self._write_timeout,
            validate_only=validate_only,
        )

    async def revoke_key(
        self,
        issuer: str,
        key_thumbprint: str,
        attribution: Attribution,
        *,
        key_id: str | None,
        validate_only: bool = False,
    ) -> KeyRevoked:
        """Revoke a key for ever."""
        return await self._write(
            lambda transaction: sqlite_revoking.revoke_key(
                transaction, issuer, key_thumbprint, attribution, key_id=key_id
            ),
            timeout=self._write_timeout,
            validate_only=validate_only,
        )

    async def find_key_replay(self, issuer: str, key_id: str, attribution: Attribution) -> KeyRevoked | None:
        """What `revoke_key` answered to this request before. None: it was not asked."""
        return await self._read(
            self._open_links().lister,
            lambda connection: sqlite_revoking.find_key_replay(
                connection, issuer, key_id, attribution, now=self._clock()
            ),
        )

    async def compact(self, limit: int) -> Removed:
        """Remove up to `limit` log entries and up to `limit` sessions that can matter to nobody any more."""
        return await self._write(
            lambda transaction: sqlite_writing.compact(transaction, limit), timeout=self._write_timeout
        )

    async def _read(self, link: SqliteLink, work: Work[T]) -> T:
        return await link.run(work, timeout=self._read_timeout)

    async def _write(
        self, work: Callable[[Transaction], Awaitable[T]], *, timeout: float, validate_only: bool = False
    ) -> T:
        deadline = asyncio.get_running_loop().time() + timeout

        async def write(connection: aiosqlite.Connection) -> T:
            result = await sqlite_writing.transact(
                connection, self._clock, work, deadline=deadline, validate_only=validate_only
            )
            self._changed.set()  # here, where it happens even if the caller has gone
            return result

        return await self._open_links().writer.run(write, timeout=timeout)

    async def _other_connection_wrote(self) -> bool:
        async def data_version(connection: aiosqlite.Connection) -> tuple[aiosqlite.Connection, int]:
            [[version]] = await connection.execute_fetchall("PRAGMA data_version")
            return connection, version

        watcher = self._open_links().watcher
        before = self._watched
        try:
            self._watched = await watcher.run(data_version, timeout=self._read_timeout)
        except StoreUnavailable:
            # Whoever waits is to read the log next, and will learn of the fault there. Once it is over, we cannot know
            # what was written meanwhile: that counts as a change.
            self._watched = None
            return False
        return self._watched != before

    def _open_links(self) -> _Links:
        if self._links is None:
            raise StoreUnavailable("The session store is not open.")
        return self._links

    async def _check_surroundings(self) -> None:
        if sqlite3.sqlite_version_info < sqlite_schema.OLDEST_SQLITE:
            needed = ".".join(map(str, sqlite_schema.OLDEST_SQLITE))
            raise StartupError(f"This Python comes with SQLite {sqlite3.sqlite_version}; {needed} or later is needed.")
        network = await asyncio.to_thread(network_file_system, self._path)
        if network is not None:
            raise StartupError(
                f"The session store {self._path} is on {network}. SQLite loses data there: use a local disk, or"
                " PostgreSQL to share a store between hosts."
            )

    def _make_file(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # Before SQLite does, which would let the umask decide who may read it. O_EXCL, for closing a descriptor of
            # a database in use would drop SQLite's locks on it.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
