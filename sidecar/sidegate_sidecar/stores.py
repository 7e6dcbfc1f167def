"""The store as the settings name it: opened, checked, migrated, and what works on it in this process."""

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidegate_sidecar.durations import format_duration
from sidegate_sidecar.errors import StartupError, StoreUnavailable
from sidegate_sidecar.model import StoreLimits, wall_clock
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.settings import StoreSettings
from sidegate_sidecar.store.lookup import SharedLookup
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class StoreSide:
    """What there is only with a store. The follower is to be run by whoever opened it."""

    store: SessionStore
    follower: LogFollower
    lookup: SharedLookup


@asynccontextmanager
async def open_store(settings: StoreSettings, path: Path) -> AsyncIterator[StoreSide]:
    """The store, brought up to date and open.

    Raises:
        StartupError: It cannot be worked with like this.
    """
    limits = store_limits(settings)
    store = SqliteStore(path, clock=wall_clock)
    try:
        with _failing_to_start(path):
            await store.migrate(limits)
            await store.open()
            check_limits(limits, await store.limits())
        lookup = SharedLookup(store.look_up)
        try:
            yield StoreSide(store, LogFollower(store), lookup)
        finally:
            await lookup.close()
    finally:
        await store.close()


async def migrate_store(settings: StoreSettings, *, after_deploy: bool) -> tuple[list[str], StoreLimits]:
    """Bring the store up to date and its limits up to the settings'. The migrations applied; the limits in force.

    Args:
        after_deploy: Also apply what is safe only once no older release runs any more.

    Raises:
        StartupError: There is no store, or it cannot be migrated.
    """
    if settings.sqlite_path is None:
        raise StartupError("store_url is not set: there is no store to migrate")
    store = SqliteStore(settings.sqlite_path, clock=wall_clock)
    try:
        with _failing_to_start(settings.sqlite_path):
            applied = await store.migrate(store_limits(settings), after_deploy=after_deploy)
            await store.open()
            return applied, await store.raise_limits(store_limits(settings))
    finally:
        await store.close()


@contextmanager
def _failing_to_start(path: Path) -> Generator[None]:
    """A store that fails now has an operator to tell, who needs the file's name and what the driver says of it."""
    try:
        yield
    except StoreUnavailable as failure:
        detail = str(failure.__cause__ or "")
        raise StartupError(f"{path}: {failure.message}" + (f" ({detail})" if detail else "")) from failure


def check_limits(configured: StoreLimits, stored: StoreLimits) -> None:
    """Refuse to run above what the store's retention rests on: revocations would be forgotten too early.

    Raises:
        StartupError: Naming each setting that is above its limit.
    """
    above = [
        f"{name} is {format_duration(getattr(configured, name))}, above the {format_duration(getattr(stored, name))}"
        " of the store"
        for name in ("max_token_lifetime", "leeway", "max_session_lifetime")
        if getattr(configured, name) > getattr(stored, name)
    ]
    if above:
        raise StartupError(f"{'; '.join(above)}. Lower the setting, or raise the store's limit with `sidegate migrate`")


def store_limits(settings: StoreSettings) -> StoreLimits:
    """What the settings want retention to rest on."""
    return StoreLimits(settings.max_token_lifetime, settings.leeway, settings.max_session_lifetime)
