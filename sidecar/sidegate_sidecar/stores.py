"""The store as the settings name it: opened, checked, migrated, and what works on it in this process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import structlog

from sidegate_sidecar.durations import format_duration
from sidegate_sidecar.errors import StartupError, StoreUnavailable
from sidegate_sidecar.model import SECOND, StoreLimits, wall_clock
from sidegate_sidecar.revocations.follower import LogFollower
from sidegate_sidecar.settings import StoreSettings
from sidegate_sidecar.store.lookup import SharedLookup
from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoreSide:
    """What there is only with a store.

    Attributes:
        check: Opens and judges the store, if that is still to be done. Raises StartupError, StoreUnavailable.
        limits: What the settings want retention to rest on.
    """

    store: SessionStore
    follower: LogFollower
    lookup: SharedLookup
    check: Callable[[], Awaitable[None]] | None
    limits: StoreLimits

    async def follow(self) -> None:
        """Keep the index current until cancelled; first, however long that takes, reach the store and judge it.

        Raises:
            StartupError: It was reached, and cannot be worked with like this; or it cannot since a backup was restored.
        """
        if self.check is not None:
            await _persist(self.check)
        tasks = [asyncio.create_task(work) for work in (self.follower.run(), self._judge_each_log())]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in ended:
            task.result()

    async def _judge_each_log(self) -> None:
        """Once more whenever the index has been loaded anew: a backup has the limits of its time. Never ends by itself.

        A watcher of the journal, which learns that it has to begin anew.
        """
        journal = self.follower.journal
        place = journal.end
        while True:
            changed = journal.changed
            loaded_anew, place = place < journal.oldest, journal.end
            if loaded_anew:
                await _persist(partial(_check, self.store, self.limits))
            else:
                await changed.wait()


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncGenerator[StoreSide]:
    """The store, open. A file is brought up to date first; a database is not, for it is shared with others.

    A database that cannot be reached now will be: pods are restarted in storms, and the database then is the last to
    come up. What is wrong with its user or its schema can be mended meanwhile, too.

    Raises:
        StartupError: It cannot be worked with like this.
    """
    store, limits = _store_of(settings), store_limits(settings)
    check: Callable[[], Awaitable[None]] | None = partial(_open_and_check, store, limits)
    try:
        if settings.sqlite_path is not None:
            with _failing_to_start(settings):
                await store.migrate(limits)
                await _open_and_check(store, limits)
            check = None
        else:
            with suppress(StoreUnavailable):
                await _open_and_check(store, limits)
                check = None
        lookup = SharedLookup(store.look_up)
        try:
            yield StoreSide(store, LogFollower(store), lookup, check, limits)
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
    if not settings.store_url:
        raise StartupError("store_url is not set: there is no store to migrate")
    store = _store_of(settings)
    try:
        with _failing_to_start(settings):
            applied = await store.migrate(store_limits(settings), after_deploy=after_deploy)
            await store.open()
            return applied, await store.raise_limits(store_limits(settings))
    finally:
        await store.close()


def _store_of(settings: StoreSettings) -> SessionStore:
    if settings.sqlite_path is not None:
        return SqliteStore(settings.sqlite_path, clock=wall_clock)
    return PostgresStore(
        settings.store_url,
        transaction_pooler=settings.store_transaction_pooler,
        poll_interval=settings.store_poll_interval / SECOND,
    )


async def _open_and_check(store: SessionStore, limits: StoreLimits) -> None:
    await store.open()
    await _check(store, limits)


async def _check(store: SessionStore, limits: StoreLimits) -> None:
    check_limits(limits, await store.limits())


async def _persist(check: Callable[[], Awaitable[None]]) -> None:
    """Until it succeeds. Each new reason why it does not is told once."""
    told = ""
    while True:
        try:
            await check()
        except StoreUnavailable as failure:
            if failure.message != told:
                told = failure.message
                _log.warning("store_not_reached", error=told, retry_seconds=RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            if told:
                _log.info("store_reached")
            return


@contextmanager
def _failing_to_start(settings: StoreSettings) -> Generator[None]:
    """A store that fails now has an operator to tell, who needs the file's name and what the driver says of it."""
    try:
        yield
    except StoreUnavailable as failure:
        # The URL of a database holds a password.
        place = "" if settings.sqlite_path is None else f"{settings.sqlite_path}: "
        detail = str(failure.__cause__ or "")
        raise StartupError(f"{place}{failure.message}" + (f" ({detail})" if detail else "")) from failure


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
