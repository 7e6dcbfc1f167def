"""What the contract suite works with: a clock to move, stores to open, and short ways to say things."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sidegate_sidecar.model import (
    SECOND,
    Attribution,
    LogEntry,
    Micros,
    Registration,
    Removed,
    StoreLimits,
    Subject,
)
from sidegate_sidecar.store.protocol import SessionStore

StoreFactory: TypeAlias = Callable[[], Awaitable[SessionStore]]
"""Opens one more store on the same database, as another process would."""

NOW: Micros = 1_800_000_000 * SECOND
HOUR: Micros = 3600 * SECOND
DAY: Micros = 24 * HOUR
LIMITS = StoreLimits(max_token_lifetime=DAY, leeway=60 * SECOND, max_session_lifetime=30 * DAY)

ISSUER = "https://issuer.example"
OPS = Attribution(actor="ops")


class FakeClock:
    """Tells the time that it was last given."""

    def __init__(self, now: Micros = NOW) -> None:
        self.now = now

    def __call__(self) -> Micros:
        return self.now


def session(
    handle: str,
    *,
    issuer: str = ISSUER,
    user: str = "ada",
    tenant: str = "",
    create_time: Micros | None = None,
    expire_time: Micros = NOW + DAY,
) -> Registration:
    return Registration(issuer, handle, user, tenant, create_time, expire_time)


def subject(handle: str, *, issuer: str = ISSUER, user: str = "ada", tenant: str = "", key: str = "") -> Subject:
    return Subject(issuer, handle, user, tenant, key)


async def revoke_user(
    store: SessionStore,
    user: str = "ada",
    *,
    issuer: str = ISSUER,
    tenant: str | None = None,
    spare: str | None = None,
    accept_unknown: bool = False,
    attribution: Attribution = OPS,
) -> int:
    """How many sessions ended."""
    outcome = await store.revoke_user(
        issuer,
        user,
        tenant_id=tenant,
        except_session_handle=spare,
        accept_unknown_exception=accept_unknown,
        attribution=attribution,
    )
    return outcome.revoked_count


async def log_of(store: SessionStore) -> list[LogEntry]:
    """All that the log still has; fails if it has a gap beyond its horizon, or miscounts what was removed."""
    page = await store.read_log(1, 100_000)
    sequences = [entry.sequence for entry in page.entries]
    assert [each for each in sequences if each > page.horizon] == list(range(page.horizon + 1, page.head + 1))
    assert sequences == sorted(set(sequences))
    assert page.horizon not in sequences
    assert page.removed == page.head - len(sequences)
    return list(page.entries)


async def compact_all(store: SessionStore, limit: int = 1000) -> Removed:
    """What was removed by compacting until nothing is left to remove."""
    removed = Removed(0, 0)
    while True:
        step = await store.compact(limit)
        assert step.log_entries <= limit
        assert step.sessions <= limit
        removed = Removed(removed.log_entries + step.log_entries, removed.sessions + step.sessions)
        if limit not in (step.log_entries, step.sessions):
            return removed


async def quiet(store: SessionStore) -> None:
    """Take delivery of what happened before, and of the first call's own hint."""
    for _ in range(3):
        await store.wait_for_change(0.1)
