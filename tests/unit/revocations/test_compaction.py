"""The admin process removes what matters to nobody any more. On a real store; time passes when the test says so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.model import Removed
from sidegate_sidecar.revocations.compaction import BATCH, PAUSE_SECONDS, SPREAD, compact_for_ever
from sidegate_sidecar.store.sqlite import SqliteStore
from structlog.testing import capture_logs

from tests.contract.fakes import HOUR, ISSUER, LIMITS, NOW, OPS, FakeClock, session

INTERVAL = 60.0


class Sleeper:
    """Sleeps until the test says that the time is over."""

    def __init__(self) -> None:
        self._asked = asyncio.Queue[float]()
        self._over = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self._asked.put_nowait(seconds)
        await self._over.acquire()

    async def next(self) -> float:
        """For how long the compaction sleeps now; everything before it is done."""
        return await asyncio.wait_for(self._asked.get(), 30)

    async def wake(self) -> float:
        """End this sleep; for how long the next one is."""
        self._over.release()
        return await self.next()


class Failing:
    """A store that can be down."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.is_down = False

    async def compact(self, limit: int) -> Removed:
        if self.is_down:
            raise StoreUnavailable("The session store failed.")
        return await self._store.compact(limit)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "sessions.db", clock=clock)
    await opened.migrate(LIMITS)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def failing(store: SqliteStore) -> Failing:
    return Failing(store)


@pytest.fixture
async def sleeper(failing: Failing) -> AsyncIterator[Sleeper]:
    """Of a compaction that has just begun, and sleeps always as long as it may."""
    sleeper = Sleeper()
    run = asyncio.create_task(compact_for_ever(failing, INTERVAL, sleep=sleeper, spread=lambda _, most: most))
    assert await sleeper.next() == INTERVAL * SPREAD[1]
    yield sleeper
    run.cancel()
    with pytest.raises(asyncio.CancelledError):  # anything else would be a compaction that gave up
        await run


async def fill(store: SqliteStore, clock: FakeClock, sessions: int) -> None:
    """Leave so many sessions to remove, and one log entry."""
    handles = [f"s{number}" for number in range(sessions)]
    await store.register([session(handle, expire_time=NOW + HOUR) for handle in handles])
    await store.revoke_sessions(ISSUER, ["s0", "last"], OPS)
    clock.now = NOW + HOUR + LIMITS.max_token_lifetime + LIMITS.leeway


async def test_what_can_go_is_removed_and_told(store: SqliteStore, clock: FakeClock, sleeper: Sleeper) -> None:
    await fill(store, clock, 3)

    with capture_logs() as logs:
        assert await sleeper.wake() == INTERVAL * SPREAD[1]

    assert (await store.read_log(1, 1)).removed == 1
    assert await store.list_sessions(ISSUER, "ada", after="", limit=10) == []
    assert logs == [{"event": "store_compacted", "log_level": "info", "log_entries": 1, "sessions": 3}]


async def test_where_nothing_can_go_nothing_is_said(sleeper: Sleeper) -> None:
    with capture_logs() as logs:
        await sleeper.wake()

    assert logs == []


async def test_writers_get_their_turn_between_two_batches(
    store: SqliteStore, clock: FakeClock, sleeper: Sleeper
) -> None:
    await fill(store, clock, 2 * BATCH + 1)

    with capture_logs() as logs:
        assert await sleeper.wake() == PAUSE_SECONDS
        assert await sleeper.wake() == PAUSE_SECONDS
        await store.revoke_sessions(ISSUER, ["meanwhile"], OPS)
        assert await sleeper.wake() == INTERVAL * SPREAD[1]

    assert [(line["log_entries"], line["sessions"]) for line in logs] == [(1, 2 * BATCH + 1)]
    assert await store.list_sessions(ISSUER, "ada", after="", limit=10) == []


async def test_a_store_that_does_not_answer_is_tried_again_and_spoken_of_once(
    store: SqliteStore, failing: Failing, clock: FakeClock, sleeper: Sleeper
) -> None:
    await fill(store, clock, 1)
    failing.is_down = True
    with capture_logs() as during:
        for _ in range(3):
            assert await sleeper.wake() == INTERVAL * SPREAD[1]
    failing.is_down = False
    with capture_logs() as after:
        await sleeper.wake()
        await sleeper.wake()

    assert during == [
        {"event": "store_not_compacted", "log_level": "warning", "error": "The session store failed."},
    ]
    assert [line["event"] for line in after] == ["store_compacted", "store_compactable_again"]


async def test_what_was_removed_before_the_store_failed_is_told(
    store: SqliteStore, failing: Failing, clock: FakeClock, sleeper: Sleeper
) -> None:
    await fill(store, clock, BATCH + 1)

    with capture_logs() as logs:
        assert await sleeper.wake() == PAUSE_SECONDS
        failing.is_down = True
        await sleeper.wake()

    assert [line["event"] for line in logs] == ["store_compacted", "store_not_compacted"]
    assert logs[0]["sessions"] == BATCH


async def test_replicas_sleep_for_different_spans(store: SqliteStore) -> None:
    sleepers = [Sleeper() for _ in range(8)]
    runs = [asyncio.create_task(compact_for_ever(store, INTERVAL, sleep=sleeper)) for sleeper in sleepers]

    spans = {await sleeper.next() for sleeper in sleepers}

    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
    assert len(spans) > 1  # each of 53 random bits
    assert all(SPREAD[0] * INTERVAL <= span <= SPREAD[1] * INTERVAL for span in spans)
