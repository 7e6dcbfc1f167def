"""Writing to a PostgreSQL store: its locks, and all that is no revocation. Each function is one transaction's work.

Locks are taken in one order, so that nobody waits in a circle: first the stripes of what is registered or revoked, all
in one call, then the log lock. Registering takes no log lock: logins wait for a revocation that may cover them, and for
no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sidegate_sidecar.model import (
    Micros,
    Registration,
    Removed,
    Revision,
    RevocationKind,
    SessionRecord,
    StoreLimits,
)
from sidegate_sidecar.store import postgres_reading, registering
from sidegate_sidecar.store.postgres_links import Connection
from sidegate_sidecar.store.sql import query

TAKE_STRIPES = query("postgres", "take_stripes")
TAKE_LOG_LOCK = query("postgres", "take_log_lock")
PUT_SESSIONS = query("postgres", "put_sessions")
REMOVE_SESSIONS = query("postgres", "remove_sessions")
REMOVE_ENTRIES = query("postgres", "remove_entries")
STORE_NOW = query("postgres", "store_now")
_RAISE_LIMITS = query("postgres", "raise_limits")
_PUT_OFF_FORGETTING = query("postgres", "put_off_forgetting")
_RENEW_IDENTITY = query("postgres", "renew_identity")
_FORGET_ALL_REQUESTS = query("postgres", "forget_all_requests")


@dataclass(frozen=True, slots=True)
class Stripe:
    """The lock of a handle, user or tenant. Shared: with others who only want no revocation to come in between."""

    kind: RevocationKind
    issuer: str
    name: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """What holds while the log lock is held.

    Attributes:
        now: The store's clock, read under the lock: T of the watermark that this transaction writes.
        head: The last sequence handed out before it.
        validate_only: Everything is undone afterwards.
    """

    connection: Connection
    now: Micros
    store_id: str
    head: int
    limits: StoreLimits
    validate_only: bool

    @property
    def token_afterlife(self) -> Micros:
        """For how long after its session's end a token can still be valid."""
        return self.limits.max_token_lifetime + self.limits.leeway

    @property
    def revision(self) -> Revision:
        """Where the log stood before it."""
        return Revision(self.store_id, self.head)


async def take_stripes(connection: Connection, stripes: Sequence[Stripe]) -> None:
    """Wait for these, and hold them until the transaction ends. Once in a transaction, and before the log lock."""
    await connection.execute(
        TAKE_STRIPES,
        [stripe.kind.value for stripe in stripes],
        [stripe.issuer for stripe in stripes],
        [stripe.name for stripe in stripes],
        ["false" if stripe.shared else "true" for stripe in stripes],
    )


async def take_log_lock(connection: Connection, *, validate_only: bool = False) -> Transaction:
    """Wait for the log lock, and hold it until the transaction ends."""
    [row] = await connection.fetch(TAKE_LOG_LOCK)
    return Transaction(
        connection=connection,
        now=row["now"],
        store_id=row["store_id"],
        head=row["head_sequence"],
        limits=postgres_reading.limits_from(row),
        validate_only=validate_only,
    )


async def register(connection: Connection, registrations: Sequence[Registration]) -> list[SessionRecord]:
    """Record sessions, all or none. At least one."""
    await take_stripes(connection, [stripe for each in registrations for stripe in _stripes_of(each)])
    # From here on nothing that covers them can be committed. Facts and clock are read by statements of their own, for
    # one that began before the locks were had may not see what was committed meanwhile.
    subjects = [registering.subject_of(registration) for registration in registrations]
    facts = await postgres_reading.look_up(connection, subjects)
    now = await connection.fetchval(STORE_NOW)
    records = registering.judge(registrations, facts, now=now)
    await connection.execute(
        PUT_SESSIONS,
        [record.issuer for record in records],
        [record.session_handle for record in records],
        [record.user_id for record in records],
        [record.tenant_id for record in records],
        [str(record.create_time) for record in records],
        [str(record.session_expire_time) for record in records],
    )
    return records


async def raise_limits(connection: Connection, limits: StoreLimits) -> StoreLimits:
    """Raise those that are lower; what is then in force."""
    before = (await take_log_lock(connection)).limits
    [row] = await connection.fetch(_RAISE_LIMITS, limits.max_token_lifetime, limits.leeway, limits.max_session_lifetime)
    raised = postgres_reading.limits_from(row)
    growth = _total(raised) - _total(before)
    if growth:
        await connection.execute(_PUT_OFF_FORGETTING, growth)
    return raised


async def renew_identity(connection: Connection, store_id: str) -> None:
    """Make it another store, if it is still the one named."""
    if (await take_log_lock(connection)).store_id == store_id:
        await connection.execute(_RENEW_IDENTITY, store_id)
        await connection.execute(_FORGET_ALL_REQUESTS)


async def compact(connection: Connection, limit: int) -> Removed:
    """Remove up to `limit` sessions; once there are no more of them, up to `limit` log entries."""
    transaction = await take_log_lock(connection)
    ended_by = transaction.now - transaction.token_afterlife
    sessions = affected(await connection.execute(REMOVE_SESSIONS, ended_by, limit))
    entries = await connection.fetchval(REMOVE_ENTRIES, transaction.now, transaction.head, limit, ended_by)
    return Removed(log_entries=entries or 0, sessions=sessions)


def affected(status: str) -> int:
    """How many rows a statement wrote, by its command tag."""
    return int(status.rpartition(" ")[2])


def _stripes_of(registration: Registration) -> list[Stripe]:
    issuer = registration.issuer
    stripes = [
        # Alone: of two registrations of one handle the second is to see the first.
        Stripe(RevocationKind.SESSION, issuer, registration.session_handle),
        Stripe(RevocationKind.USER, issuer, registration.user_id, shared=True),
    ]
    if registration.tenant_id:
        stripes.append(Stripe(RevocationKind.TENANT, issuer, registration.tenant_id, shared=True))
    return stripes


def _total(limits: StoreLimits) -> Micros:
    return limits.max_token_lifetime + limits.leeway + limits.max_session_lifetime
