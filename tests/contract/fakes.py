"""What the contract suite works with: a clock to move, stores to open, and short ways to say things."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sidegate_sidecar.model import SECOND, Attribution, LogEntry, Micros, Registration, StoreLimits, Subject
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


def subject(handle: str, *, issuer: str = ISSUER, user: str = "ada", tenant: str = "") -> Subject:
    return Subject(issuer, handle, user, tenant)


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
    """The whole log; fails if it has a gap."""
    page = await store.read_log(1, 100_000)
    assert [entry.sequence for entry in page.entries] == list(range(1, page.head + 1))
    return list(page.entries)


async def quiet(store: SessionStore) -> None:
    """Take delivery of what happened before, and of the first call's own hint."""
    for _ in range(3):
        await store.wait_for_change(0.1)
