"""The store for many hosts: a PostgreSQL database."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

import asyncpg

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import (
    Attribution,
    AuditEntry,
    AuditFilter,
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
)
from sidegate_sidecar.store import postgres_reading, postgres_revoking, postgres_schema, postgres_writing
from sidegate_sidecar.store.postgres_links import Address, Connection, PostgresLinks
from sidegate_sidecar.store.postgres_transactions import Task, read_in_transaction, transact

CHANNEL = "sidegate_log"
COALESCE_SECONDS = 0.01  # a burst of wake-ups is one read; what visibility p99 <= 50 ms can spare

LOG_SECONDS = 1.0  # a link that is silent for longer is replaced, so that its follower is current 3 s after a fault
LOOKUP_SECONDS = 1.0  # four times what a caller waits: then whoever comes next gets another connection
LOOKUP_LINKS = 2  # as many as look-ups under way at once; thousands of sidecars share one database
ADMIN_LINKS = 4

T = TypeVar("T")


class _Links:
    """The connections of an open store, by what they are for: no long one holds a short one up."""

    def __init__(self, address: Address, *, listen: Task[None] | None, admin_timeout: float) -> None:
        self.log = PostgresLinks(address, size=1, timeout=LOG_SECONDS, prepare=listen)
        self.lookups = PostgresLinks(address, size=LOOKUP_LINKS, timeout=LOOKUP_SECONDS)
        self.admin = PostgresLinks(address, size=ADMIN_LINKS, timeout=admin_timeout)

    async def close(self, *, timeout: float) -> None:
        await asyncio.gather(*(links.close(timeout=timeout) for links in (self.log, self.lookups, self.admin)))


class PostgresStore:
    """`SessionStore` on the schema `sidegate` of a PostgreSQL database.

    Its connections are made when first used, one to read the log and listen, two to look up, four for the admin
    services, and again after any fault. A database that cannot be reached is asked anew by the next call.

    Looking up and reading the log need no more than EXECUTE on two functions; docs/postgresql-roles.sql has the roles.

    Args:
        url: `postgresql://user:password@host:port/database`, with libpq's parameters after a `?`.
        transaction_pooler: Whether it leads to a pooler in transaction mode: then no notifications, but polling.
        poll_interval: `wait_for_change` returns after so many seconds, notified or not.
        admin_timeout: Bounds everything but look-ups and the log, in seconds.
        open_timeout: Likewise `migrate` and `raise_limits`, which may have to go through the whole log.
    """

    def __init__(
        self,
        url: str,
        *,
        transaction_pooler: bool = False,
        poll_interval: float = 1.0,
        admin_timeout: float = 5.0,
        open_timeout: float = 60.0,
    ) -> None:
        self._address = Address(url, transaction_pooler)
        self._poll_interval = poll_interval
        self._admin_timeout = admin_timeout
        self._open_timeout = open_timeout
        self._links: _Links | None = None
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Connect and check the schema's version. After StoreUnavailable it is open all the same: what is called later
        connects when it can, and calling `open` again makes up for the check.

        Raises:
            StartupError: The URL or the schema will never do.
            StoreUnavailable: The database did not answer, or has no schema yet.
        """
        if self._links is None:
            self._links = _Links(
                self._address,
                listen=None if self._address.transaction_pooler else self._listen,
                admin_timeout=self._admin_timeout,
            )
        postgres_schema.check(await self._read(self._links.log, postgres_reading.read_header, timeout=LOG_SECONDS))

    async def close(self) -> None:
        """Release everything. Safe to call twice, and on a store that was never opened."""
        links, self._links = self._links, None
        if links is not None:
            await links.close(timeout=self._admin_timeout)

    async def migrate(self, limits: StoreLimits, *, after_deploy: bool = False) -> list[str]:
        """Bring the schema up to date; the names of the migrations applied."""
        return await self._at_length(
            lambda connection: postgres_schema.migrate(
                connection, limits, after_deploy=after_deploy, patience=self._open_timeout / 2
            )
        )

    async def limits(self) -> StoreLimits:
        """The limits that retention rests on."""
        header = await self._read(self._open_links().log, postgres_reading.read_header, timeout=LOG_SECONDS)
        return header.limits

    async def renew_identity(self, store_id: str) -> None:
        """Give the store a new id and salt if its id is still this one. Nothing, for a user that may only read."""

        async def renew(connection: Connection) -> None:
            try:
                await transact(
                    connection,
                    lambda each: postgres_writing.renew_identity(each, store_id),
                    timeout=self._admin_timeout,
                )
            except asyncpg.InsufficientPrivilegeError:
                await connection.execute("ROLLBACK")

        await self._open_links().admin.run(renew)

    async def raise_limits(self, limits: StoreLimits) -> StoreLimits:
        """Raise each limit to the one given where it is lower; never lower one. What is then in force."""
        return await self._at_length(
            lambda connection: transact(
                connection, lambda each: postgres_writing.raise_limits(each, limits), timeout=self._open_timeout
            )
        )

    async def look_up(self, subjects: Sequence[Subject]) -> list[StoreFacts]:
        """What `check_database` needs, in one query, in the order asked."""
        links = self._open_links().lookups
        if not subjects:
            return []
        return await self._read(
            links, lambda connection: postgres_reading.look_up(connection, subjects), timeout=LOOKUP_SECONDS
        )

    async def read_log(self, first: int, limit: int) -> LogPage:
        """Up to `limit` entries from sequence `first` on."""
        return await self._read(
            self._open_links().log,
            lambda connection: postgres_reading.read_log(connection, first, limit),
            timeout=LOG_SECONDS,
        )

    async def wait_for_change(self, timeout: float) -> None:
        """Return when the log may have grown since the last call, or after `timeout` seconds.

        Also after the poll interval: notifications get lost with the link that they were to come by.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(min(timeout, self._poll_interval)):
                await self._changed.wait()
                await asyncio.sleep(COALESCE_SECONDS)
        self._changed.clear()

    async def get_session(self, issuer: str, session_handle: str) -> SessionRecord | None:
        """One registered session, revoked and expired ones included."""
        return await self._administer(
            lambda connection: postgres_reading.get_session(connection, issuer, session_handle)
        )

    async def list_sessions(self, issuer: str, user_id: str, *, after: str, limit: int) -> list[SessionRecord]:
        """A user's registered sessions with handles above `after`, by handle."""
        return await self._administer(
            lambda connection: postgres_reading.list_sessions(connection, issuer, user_id, after, limit)
        )

    async def list_revocations(self, wanted: AuditFilter, *, before: int | None, limit: int) -> list[AuditEntry]:
        """Audit entries with sequences below `before`, newest first."""
        return await self._administer(
            lambda connection: postgres_reading.list_revocations(connection, wanted, before, limit)
        )

    async def register(self, registrations: Sequence[Registration]) -> list[SessionRecord]:
        """Record sessions, all or none. In the order asked."""
        if not registrations:
            return []
        return await self._write(lambda connection: postgres_writing.register(connection, registrations))

    async def revoke_sessions(
        self, issuer: str, session_handles: Sequence[str], attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsRevoked:
        """Revoke handles, registered or not, all or none."""
        return await self._write(
            lambda connection: postgres_revoking.revoke_sessions(
                connection, issuer, session_handles, attribution, validate_only=validate_only
            ),
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
            lambda connection: postgres_revoking.revoke_user(
                connection,
                issuer,
                user_id,
                tenant_id=tenant_id,
                except_session_handle=except_session_handle,
                accept_unknown_exception=accept_unknown_exception,
                attribution=attribution,
                validate_only=validate_only,
            ),
            validate_only=validate_only,
        )

    async def revoke_tenant(
        self, issuer: str, tenant_id: str, attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsEnded:
        """Write a watermark at the store's clock, and revoke every registered session of the tenant that is alive."""
        return await self._write(
            lambda connection: postgres_revoking.revoke_tenant(
                connection, issuer, tenant_id, attribution, validate_only=validate_only
            ),
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
            lambda connection: postgres_revoking.revoke_key(
                connection, issuer, key_thumbprint, attribution, key_id=key_id, validate_only=validate_only
            ),
            validate_only=validate_only,
        )

    async def find_key_replay(self, issuer: str, key_id: str, attribution: Attribution) -> KeyRevoked | None:
        """What `revoke_key` answered to this request before. None: it was not asked."""
        return await self._administer(
            lambda connection: postgres_revoking.find_key_replay(connection, issuer, key_id, attribution)
        )

    async def compact(self, limit: int) -> Removed:
        """Remove up to `limit` log entries and up to `limit` sessions that can matter to nobody any more."""
        return await self._write(lambda connection: postgres_writing.compact(connection, limit))

    async def _listen(self, connection: Connection) -> None:
        def hint(*_: object) -> None:
            self._changed.set()

        connection.add_termination_listener(hint)
        await connection.add_listener(CHANNEL, hint)
        hint()  # what was notified before it listened is lost

    async def _read(self, links: PostgresLinks, task: Task[T], *, timeout: float) -> T:
        if not self._address.transaction_pooler:
            return await links.run(task)
        return await links.run(lambda connection: read_in_transaction(connection, task, timeout=timeout))

    async def _administer(self, task: Task[T]) -> T:
        return await self._read(self._open_links().admin, task, timeout=self._admin_timeout)

    async def _write(self, task: Task[T], *, validate_only: bool = False) -> T:
        async def write(connection: Connection) -> T:
            result = await transact(connection, task, timeout=self._admin_timeout, validate_only=validate_only)
            self._changed.set()  # here, where it happens even if the caller has gone; poolers notify nobody
            return result

        return await self._open_links().admin.run(write)

    async def _at_length(self, task: Task[T]) -> T:
        links = PostgresLinks(self._address, size=1, timeout=self._open_timeout)
        try:
            return await links.run(task)
        finally:
            await links.close(timeout=0)

    def _open_links(self) -> _Links:
        if self._links is None:
            raise StoreUnavailable("The session store is not open.")
        return self._links
