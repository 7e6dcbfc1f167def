"""The index follows the log: whole, in order, through outages and restored backups."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from sidegate_sidecar.errors import ForeignRevision, RevisionNotReached
from sidegate_sidecar.model import SECOND, LogPage, Revision
from sidegate_sidecar.revocations.follower import (
    FIRST_RETRY_SECONDS,
    LAST_RETRY_SECONDS,
    POLL_SECONDS,
    RENEWAL_PAUSE_SECONDS,
    LogFollower,
)
from sidegate_sidecar.revocations.index import RevocationIndex
from sidegate_sidecar.revocations.reading import PAGE_ENTRIES
from structlog.testing import capture_logs

from tests.unit.revocations.scripted_log import SALT, ScriptedLog, entry, has_revoked
from tests.unit.revocations.virtual_time import in_virtual_time

MOMENT = 0.001  # enough for all that needs no timer


def follower_of(log: ScriptedLog) -> LogFollower:
    return LogFollower(log, monotonic=asyncio.get_running_loop().time)


@asynccontextmanager
async def following(log: ScriptedLog) -> AsyncGenerator[LogFollower]:
    """A follower that runs meanwhile, and has had its first moment."""
    follower = follower_of(log)
    run = asyncio.create_task(follower.run())
    await asyncio.sleep(MOMENT)
    yield follower
    run.cancel()
    with pytest.raises(asyncio.CancelledError):  # anything else would be a follower that gave up
        await run


async def until(condition: Callable[[], bool]) -> None:
    """Let the others run, without time passing, until the condition holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come about without time passing")


def is_picture_of(log: ScriptedLog, index: RevocationIndex | None) -> bool:
    return (
        index is not None
        and index.revision == log.revision
        and len(index) == len(log.entries)
        and all(has_revoked(index, each.subject) for each in log.entries)
    )


# Loading.


@in_virtual_time
async def test_an_empty_log_makes_an_empty_index() -> None:
    async with following(ScriptedLog()) as follower:
        assert is_picture_of(ScriptedLog(), follower.index)


@in_virtual_time
async def test_a_long_log_is_loaded_in_pages_that_each_begin_with_the_last_entry_read() -> None:
    log = ScriptedLog()
    log.append(2 * PAGE_ENTRIES + 100)

    async with following(log) as follower:
        assert is_picture_of(log, follower.index)
    assert log.reads[:4] == [
        (1, 1),
        (1, PAGE_ENTRIES),
        (PAGE_ENTRIES, PAGE_ENTRIES),
        (2 * PAGE_ENTRIES - 1, PAGE_ENTRIES),
    ]


@in_virtual_time
async def test_there_is_no_index_until_the_whole_log_is_in_it() -> None:
    log = ScriptedLog()
    log.append(PAGE_ENTRIES + 1)
    log.hold()

    async with following(log) as follower:
        for reads in (2, 3):
            log.release()
            await until(lambda reads=reads: len(log.reads) == reads)  # type: ignore[misc]  # bound now
            log.hold()
            await asyncio.sleep(60)
            assert follower.index is None
        log.release()
        await asyncio.sleep(MOMENT)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_source_that_is_down_at_the_start_is_asked_until_it_answers() -> None:
    log = ScriptedLog(down=True)
    log.append(3)

    async with following(log) as follower:
        await asyncio.sleep(3600)
        assert (follower.index, follower.answering) == (None, False)
        log.down = False
        await asyncio.sleep(LAST_RETRY_SECONDS)
        assert is_picture_of(log, follower.index)
        assert follower.answering


# Following.


@in_virtual_time
async def test_a_wake_up_is_followed_at_once() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        log.append(3)
        await asyncio.sleep(MOMENT)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_without_wake_ups_the_poll_finds_what_was_appended() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log) as follower:
        log.append(3)
        await asyncio.sleep(POLL_SECONDS - 2 * MOMENT)
        assert follower.index is not None
        assert follower.index.revision.sequence == 0
        await asyncio.sleep(3 * MOMENT)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_what_is_appended_while_a_page_is_under_way_is_not_missed() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        for _ in range(20):
            log.hold()
            log.append()
            await asyncio.sleep(MOMENT)
            log.append()
            log.release()
            await asyncio.sleep(MOMENT)
            assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_the_index_is_extended_in_place_and_never_read_again() -> None:
    log = ScriptedLog()
    log.append(10)
    async with following(log) as follower:
        before = follower.index
        log.reads.clear()
        log.append(5)
        await asyncio.sleep(MOMENT)
        assert follower.index is before
        assert {first for first, _ in log.reads} == {10}


# Outages.


@in_virtual_time
async def test_a_failing_source_is_asked_again_at_growing_intervals_with_an_end() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log):
        log.down = True
        await asyncio.sleep(10)
    log.read_times = log.read_times[2:]  # those of the load

    pauses = [round(later - earlier, 6) for earlier, later in zip(log.read_times, log.read_times[1:], strict=False)]
    assert pauses[:5] == [FIRST_RETRY_SECONDS * factor for factor in (1, 2, 4, 8, 16)]
    assert set(pauses[5:]) == {LAST_RETRY_SECONDS}


@in_virtual_time
async def test_the_intervals_begin_anew_after_an_outage() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log):
        log.down = True
        await asyncio.sleep(60)
        log.down = False
        await asyncio.sleep(LAST_RETRY_SECONDS)
        log.failures = 1
        log.read_times.clear()
        await asyncio.sleep(2 * POLL_SECONDS)

    assert round(log.read_times[1] - log.read_times[0], 6) == FIRST_RETRY_SECONDS


@in_virtual_time
async def test_after_an_outage_reading_goes_on_where_it_stood() -> None:
    log = ScriptedLog()
    log.append(10)
    async with following(log) as follower:
        before = follower.index
        log.failures = 3
        log.append(PAGE_ENTRIES * 2)
        log.reads.clear()
        await asyncio.sleep(10)
        assert is_picture_of(log, follower.index)
        assert follower.index is before
        assert [first for first, _ in log.reads[:5]] == [10, 10, 10, 10, PAGE_ENTRIES + 9]


@in_virtual_time
async def test_during_an_outage_the_index_serves_and_its_lag_grows() -> None:
    log = ScriptedLog(wakes=False)
    log.append(2)
    async with following(log) as follower:
        log.down = True
        await asyncio.sleep(POLL_SECONDS)
        answering, before = follower.answering, follower.lag()
        await asyncio.sleep(3600)
        assert is_picture_of(log, follower.index)
        assert follower.lag() == before + 3600 * SECOND
        log.down = False
        await asyncio.sleep(LAST_RETRY_SECONDS)
        assert (answering, follower.answering) == (False, True)
        assert follower.lag() <= LAST_RETRY_SECONDS * SECOND


@in_virtual_time
async def test_an_outage_is_logged_when_it_begins_and_when_it_ends() -> None:
    log = ScriptedLog()
    with capture_logs() as logged:
        async with following(log):
            log.down = True
            await asyncio.sleep(60)
            log.down = False
            await asyncio.sleep(LAST_RETRY_SECONDS)

    assert [line["event"] for line in logged] == [
        "revocation_index_loaded",
        "revocation_log_unreadable",
        "revocation_log_readable",
    ]


class Unreliable(ScriptedLog):
    """A source with bugs: `broken` decides what it answers with instead of the page."""

    broken = ""

    async def read_log(self, first: int, limit: int) -> LogPage:
        page = await super().read_log(first, limit)
        match self.broken:
            case "raises":
                raise RuntimeError("postgresql://admin:s3cret@db")
            case "gap":
                return LogPage(page.store_id, SALT, page.head, 0, 0, page.entries[:1] + page.entries[2:])
            case "short":
                return LogPage(page.store_id, SALT, page.head + 1, 0, 0, page.entries)
            case _:
                return page


@pytest.mark.parametrize("broken", ["raises", "gap", "short"])
@in_virtual_time
async def test_the_follower_survives_a_source_that_breaks_its_promise(broken: str) -> None:
    log = Unreliable()
    log.append()
    with capture_logs() as logged:
        async with following(log) as follower:
            log.broken = broken
            log.append(3)
            await asyncio.sleep(60)
            assert not follower.answering
            assert follower.lag() > 59 * SECOND
            log.broken = ""
            await asyncio.sleep(LAST_RETRY_SECONDS)
            assert is_picture_of(log, follower.index)
    assert "s3cret" not in str(logged)


# Lag.


@in_virtual_time
async def test_lag_counts_from_the_beginning_of_the_read_that_reached_the_head() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log) as follower:
        log.hold()
        await asyncio.sleep(POLL_SECONDS)  # the read begins within this
        began = log.read_times[-1]
        await asyncio.sleep(7)
        log.release()
        await asyncio.sleep(MOMENT)
        now = asyncio.get_running_loop().time()
        assert log.read_times[-1] == began
        assert follower.lag() == pytest.approx((now - began) * SECOND, abs=1)


@in_virtual_time
async def test_a_page_that_does_not_reach_the_head_leaves_the_lag_as_it_is() -> None:
    log = ScriptedLog()
    log.append()
    async with following(log) as follower:
        log.reads.clear()
        log.append(PAGE_ENTRIES + 1)
        await until(lambda: len(log.reads) == 2)  # the page that ends before the head has been taken in
        log.hold()
        await asyncio.sleep(30)
        assert follower.index is not None
        assert 1 < follower.index.revision.sequence < log.head
        assert follower.lag() >= 30 * SECOND
        log.release()


async def test_time_in_which_the_machine_is_suspended_is_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """time.monotonic stands still in it."""
    now = 1000.0
    running_on: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def clock_gettime(clock: int) -> float:
        assert clock == running_on
        return now

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    log = ScriptedLog()
    follower = LogFollower(log)
    await follower.reach(log.revision, 1)
    assert follower.lag() == 0

    now += 3600

    assert follower.lag() == 3600 * SECOND


# Restored backups.


def _other_entries(log: ScriptedLog) -> None:
    log.restore(3)
    log.append(5)


def _other_entries_as_many(log: ScriptedLog) -> None:
    log.restore(3)
    log.append(2)


def _head_below(log: ScriptedLog) -> None:
    log.restore(4)


def _nothing_left(log: ScriptedLog) -> None:
    log.restore(0)


def _other_store(log: ScriptedLog) -> None:
    log.restore(5, store_id="store-2")


def _other_empty_store(log: ScriptedLog) -> None:
    log.restore(0, store_id="store-2")


@pytest.mark.parametrize(
    "restore",
    [
        pytest.param(_other_entries, id="another entry at the index's end"),
        pytest.param(_other_entries_as_many, id="another entry at the head"),
        pytest.param(_head_below, id="a head below the index's"),
        pytest.param(_nothing_left, id="an empty log"),
        pytest.param(_other_store, id="another store with the same entries"),
        pytest.param(_other_empty_store, id="another, empty store"),
    ],
)
@in_virtual_time
async def test_a_restored_backup_is_read_anew_while_the_old_index_serves(
    restore: Callable[[ScriptedLog], None],
) -> None:
    log = ScriptedLog()
    log.append(5)
    async with following(log) as follower:
        before, last = follower.index, log.entries[-1].subject
        restore(log)
        log.reads.clear()
        await until(lambda: (1, 1) in log.reads)
        log.hold()
        await asyncio.sleep(60)
        assert follower.index is before
        assert before is not None
        assert has_revoked(before, last)
        log.release()
        await asyncio.sleep(POLL_SECONDS)
        assert follower.index is not before
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_backup_restored_while_the_index_loads_is_read_from_the_beginning() -> None:
    log = ScriptedLog()
    log.append(PAGE_ENTRIES + 10)
    follower = follower_of(log)
    run = asyncio.create_task(follower.run())
    await until(lambda: len(log.reads) == 3)
    log.restore(20)
    log.append(PAGE_ENTRIES)
    await asyncio.sleep(MOMENT)

    assert is_picture_of(log, follower.index)
    run.cancel()


# Compaction.


@in_virtual_time
async def test_what_was_removed_below_the_horizon_is_not_missed() -> None:
    log = ScriptedLog()
    log.append(PAGE_ENTRIES * 2)
    log.compact(lambda each: each.sequence % 3 == 0)
    async with following(log) as follower:
        assert is_picture_of(log, follower.index)
        assert follower.index is not None
        assert follower.index.revision.sequence != len(follower.index)


@in_virtual_time
async def test_an_index_that_was_away_goes_on_past_what_was_removed_meanwhile() -> None:
    log = ScriptedLog()
    log.append(5)
    async with following(log) as follower:
        before = follower.index
        log.down = True
        await asyncio.sleep(60)
        log.append(5)
        log.compact(lambda each: each.sequence in {2, 6, 8})
        log.down = False
        await asyncio.sleep(LAST_RETRY_SECONDS)
        assert follower.index is before
        assert follower.index is not None
        assert follower.index.revision == log.revision
        assert all(has_revoked(follower.index, each.subject) for each in log.entries)


@in_virtual_time
async def test_a_log_without_the_entry_to_recognise_it_by_is_read_anew_under_the_same_identity() -> None:
    log = ScriptedLog(wakes=False)
    log.append(5)
    with capture_logs() as logged:
        async with following(log) as follower:
            before = follower.index
            log.append(5)
            log.compact(lambda each: each.sequence <= 7)
            await asyncio.sleep(2 * POLL_SECONDS)
            assert follower.index is not before
            assert is_picture_of(log, follower.index)
    assert log.renewed == []
    assert {line["event"] for line in logged} == {"revocation_index_loaded"}


@in_virtual_time
async def test_a_gap_beyond_the_horizon_is_a_torn_log() -> None:
    log = ScriptedLog()
    log.append(5)
    log.compact(lambda each: each.sequence == 2)
    async with following(log) as follower:
        log.append(3)
        torn = log.entries.pop(-2)
        await asyncio.sleep(60)
        assert not follower.answering
        log.entries.insert(-1, torn)
        await asyncio.sleep(LAST_RETRY_SECONDS)
        assert follower.answering
        assert follower.index is not None
        assert has_revoked(follower.index, torn.subject)


@in_virtual_time
async def test_compaction_while_the_index_loads_begins_the_load_anew() -> None:
    log = ScriptedLog()
    log.append(2 * PAGE_ENTRIES)
    follower = follower_of(log)
    run = asyncio.create_task(follower.run())
    await until(lambda: len(log.reads) == 3)  # the second page is on its way, with the last entry of the first
    log.hold()
    log.compact(lambda each: each.sequence <= PAGE_ENTRIES + 5)
    log.release()
    await asyncio.sleep(MOMENT)

    assert is_picture_of(log, follower.index)
    run.cancel()


# Forgetting.


@in_virtual_time
async def test_a_backup_that_is_restored_again_does_not_bring_an_old_identity_back() -> None:
    log = ScriptedLog()
    log.append(10)
    backup = list(log.entries[:5])
    async with following(log) as follower:
        seen = {log.store_id}
        for _ in range(3):
            log.entries, log.store_id = list(backup), "store-1"
            log.append()
            await asyncio.sleep(MOMENT)
            assert log.store_id not in seen
            assert is_picture_of(log, follower.index)
            seen.add(log.store_id)
            log.append(5)
            await asyncio.sleep(MOMENT)


@asynccontextmanager
async def forgetting(log: ScriptedLog, worth: int) -> AsyncGenerator[LogFollower]:
    follower = LogFollower(log, monotonic=asyncio.get_running_loop().time, worth_forgetting=worth)
    run = asyncio.create_task(follower.run())
    await asyncio.sleep(MOMENT)
    yield follower
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


@pytest.mark.parametrize(
    ("worth", "removed", "forgets"),
    [
        pytest.param(10, 60, True, id="more than the bound and half the index"),
        pytest.param(10, 50, False, id="no more than half the index"),
        pytest.param(80, 80, False, id="no more than the bound"),
    ],
)
@in_virtual_time
async def test_an_index_is_read_anew_when_enough_was_removed(worth: int, removed: int, forgets: bool) -> None:
    log = ScriptedLog()
    log.append(100)
    async with forgetting(log, worth) as follower:
        log.compact(lambda each: each.sequence <= removed)
        await asyncio.sleep(2 * POLL_SECONDS)
        assert follower.index is not None
        assert len(follower.index) == (100 - removed if forgets else 100)
        assert all(has_revoked(follower.index, each.subject) for each in log.entries)


@in_virtual_time
async def test_no_clock_of_ours_forgets_anything() -> None:
    log = ScriptedLog()
    log.entries = [entry(number)._replace(forget_time=number) for number in range(1, 101)]  # in January 1970
    async with forgetting(log, 1) as follower:
        await asyncio.sleep(1000)
        assert is_picture_of(log, follower.index)


class SlowToLoad(ScriptedLog):
    """Holds back every page that a load reads, but not those that follow the head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loading_from = 0
        self.load_may_go_on = asyncio.Event()

    async def read_log(self, first: int, limit: int) -> LogPage:
        if first < self.loading_from:
            await self.load_may_go_on.wait()
        return await super().read_log(first, limit)


@in_virtual_time
async def test_revocations_are_visible_at_once_while_the_index_is_read_anew() -> None:
    log = SlowToLoad()
    log.append(3 * PAGE_ENTRIES)
    async with forgetting(log, 10) as follower:
        before = follower.index
        log.loading_from = log.head
        log.compact(lambda each: each.sequence <= 2 * PAGE_ENTRIES)
        for _ in range(20):
            log.append()
            await asyncio.sleep(MOMENT)
            assert follower.index is before
            assert before is not None
            assert has_revoked(before, log.entries[-1].subject)
        log.load_may_go_on.set()
        await asyncio.sleep(MOMENT)
        assert follower.index is not before
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_backup_restored_while_the_index_is_read_anew_wins() -> None:
    log = SlowToLoad()
    log.append(100)
    async with forgetting(log, 10) as follower:
        log.loading_from = log.head
        log.compact(lambda each: each.sequence <= 80)
        log.append()
        await asyncio.sleep(MOMENT)
        log.loading_from = 0
        log.restore(5)
        await asyncio.sleep(MOMENT)
        assert is_picture_of(log, follower.index)
        log.load_may_go_on.set()
        await asyncio.sleep(MOMENT)
        assert is_picture_of(log, follower.index)


class GrowsWhenRead(SlowToLoad):
    """Gains an entry just before a certain page is read for the first time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.grows_before = -1

    async def read_log(self, first: int, limit: int) -> LogPage:
        if first == self.grows_before:
            self.grows_before = -1
            self.append()
        return await super().read_log(first, limit)


@in_virtual_time
async def test_an_index_read_anew_from_another_store_does_not_replace_one_that_was_read_later() -> None:
    """It would lack what was revoked in between."""
    log = GrowsWhenRead(wakes=False)
    log.append(100)
    async with forgetting(log, 10) as follower:
        log.loading_from = log.head
        log.compact(lambda each: each.sequence <= 80)
        await asyncio.sleep(POLL_SECONDS + MOMENT)  # the load waits
        log.store_id = "store-2"
        log.grows_before = log.head  # when it is asked for what follows the old index, and found to be another store's
        log.load_may_go_on.set()
        await asyncio.sleep(MOMENT)
        assert log.grows_before < 0
        assert is_picture_of(log, follower.index)


class RestoredWhenTheRenewalEnds(SlowToLoad):
    """Gains three entries when the old index is brought up to date, and becomes another log before the new one is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.restore_backup: Callable[[], None] | None = None

    async def read_log(self, first: int, limit: int) -> LogPage:
        if self.restore_backup is None or first != self.head:
            return await super().read_log(first, limit)
        self.append(3)
        page = await super().read_log(first, limit)
        self.restore_backup()
        self.restore_backup = None
        return page


@pytest.mark.parametrize(
    "appended",
    [
        pytest.param(0, id="a shorter log"),
        pytest.param(2, id="as many entries, and others"),
        pytest.param(5, id="more entries, and others"),
    ],
)
@in_virtual_time
async def test_an_index_read_anew_does_not_replace_one_that_has_read_more(appended: int) -> None:
    """A backup is restored in the moment of renewal. Until all is read anew, what the old index has stays refused."""
    log = RestoredWhenTheRenewalEnds(wakes=False)
    log.append(100)

    def restore_backup() -> None:
        log.restore(len(log.entries) - 2)
        log.append(appended)

    async with forgetting(log, 10) as follower:
        log.loading_from = log.head
        log.compact(lambda each: each.sequence <= 80)
        await asyncio.sleep(POLL_SECONDS + MOMENT)  # the renewal waits for its first page
        log.restore_backup = restore_backup
        log.load_may_go_on.set()
        await until(lambda: log.restore_backup is None)
        before = follower.index
        await asyncio.sleep(MOMENT)
        assert before is not None
        assert follower.index is before
        assert before.revision.sequence == 103
        await asyncio.sleep(2 * POLL_SECONDS)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_an_index_that_could_not_be_read_anew_is_tried_again_later_and_the_old_one_serves() -> None:
    log = SlowToLoad()
    log.append(100)
    with capture_logs() as logged:
        async with forgetting(log, 10) as follower:
            log.loading_from = log.head
            log.compact(lambda each: each.sequence <= 80)
            log.append()
            await asyncio.sleep(MOMENT)  # the load waits
            log.down = True
            log.load_may_go_on.set()
            await asyncio.sleep(POLL_SECONDS)
            log.down = False
            log.append()
            await asyncio.sleep(LAST_RETRY_SECONDS)
            assert follower.index is not None
            assert len(follower.index) == 102
            await asyncio.sleep(2 * RENEWAL_PAUSE_SECONDS)
            assert is_picture_of(log, follower.index)
    events = [line["event"] for line in logged]
    assert events.count("revocation_index_not_renewed") == 1
    assert events.count("revocation_index_renewed") == 1


# reach


@in_virtual_time
async def test_many_who_wait_at_once_share_readings() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log) as follower:
        log.reads.clear()
        log.hold()
        first = asyncio.create_task(follower.reach(Revision("store-1", 1), 60))
        await until(lambda: len(log.reads) == 1)
        log.append()
        others = [asyncio.create_task(follower.reach(log.revision, 60)) for _ in range(1000)]
        await asyncio.sleep(MOMENT)
        log.release()
        await asyncio.gather(first, *others)
        assert len(log.reads) == 2


@in_virtual_time
async def test_a_reading_that_began_before_the_question_does_not_answer_it() -> None:
    """Its page may have been made before the revocation."""

    class Stale(ScriptedLog):
        async def read_log(self, first: int, limit: int) -> LogPage:
            page = LogPage(self.store_id, SALT, self.head, 0, 0, tuple(self.entries[max(first, 1) - 1 :]))
            self.reads.append((first, limit))
            await self._gate.wait()
            return page

    log = Stale(wakes=False)
    log.append()
    async with following(log) as follower:
        log.hold()
        log.reads.clear()
        early = asyncio.create_task(follower.reach(Revision("store-1", 2), 60))
        await until(lambda: len(log.reads) == 1)
        log.append()
        late = asyncio.create_task(follower.reach(log.revision, 60))
        await asyncio.sleep(MOMENT)
        log.release()
        await asyncio.sleep(MOMENT)  # far less than until the next poll
        assert early.done()
        assert late.done()


@in_virtual_time
async def test_callers_that_share_a_reading_share_its_failure() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log) as follower:
        log.append()
        log.down = True
        log.reads.clear()
        callers = [asyncio.create_task(follower.reach(log.revision, 60)) for _ in range(100)]
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RevisionNotReached}
        assert len(log.reads) == 1


@in_virtual_time
async def test_a_revision_that_is_there_costs_no_reading() -> None:
    log = ScriptedLog()
    log.append(3)
    async with following(log) as follower:
        log.down = True
        log.reads.clear()
        await follower.reach(Revision("store-1", 2), 0)
        await follower.reach(Revision("store-1", 3), 0)
        assert log.reads == []


@in_virtual_time
async def test_a_revision_is_reached_by_a_reading_of_its_own() -> None:
    log = ScriptedLog(wakes=False)
    async with following(log) as follower:
        began = asyncio.get_running_loop().time()
        log.append(PAGE_ENTRIES * 2)
        await follower.reach(log.revision, 10)
        assert is_picture_of(log, follower.index)
        assert asyncio.get_running_loop().time() == began


@in_virtual_time
async def test_a_revision_is_reached_even_if_nobody_follows() -> None:
    log = ScriptedLog()
    log.append(3)
    follower = follower_of(log)

    await follower.reach(log.revision, 1)

    assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_revision_of_the_future_is_waited_for() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        wait = asyncio.create_task(follower.reach(Revision("store-1", 3), 60))
        for _ in range(3):
            await asyncio.sleep(MOMENT)
            assert not wait.done()
            log.append()
        await wait
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_revision_that_does_not_come_is_given_up_in_time() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        began = asyncio.get_running_loop().time()
        with pytest.raises(RevisionNotReached):
            await follower.reach(Revision("store-1", 1), 0.25)
        assert asyncio.get_running_loop().time() == pytest.approx(began + 0.25)


@in_virtual_time
async def test_a_source_that_hangs_is_given_up_in_time_and_followed_again_later() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        log.wakes = False
        log.append()
        log.hold()
        began = asyncio.get_running_loop().time()
        with pytest.raises(RevisionNotReached):
            await follower.reach(log.revision, 0.25)
        assert asyncio.get_running_loop().time() == pytest.approx(began + 0.25)
        log.release()
        await asyncio.sleep(POLL_SECONDS)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_revision_cannot_be_reached_while_the_store_is_down() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        log.wakes = False
        log.append()
        log.down = True
        with pytest.raises(RevisionNotReached):
            await follower.reach(log.revision, 60)


@in_virtual_time
async def test_another_stores_revision_is_foreign_after_one_reading() -> None:
    log = ScriptedLog()
    log.append(3)
    async with following(log) as follower:
        log.reads.clear()
        with pytest.raises(ForeignRevision):
            await follower.reach(Revision("store-2", 1), 60)
        assert log.reads == [(3, PAGE_ENTRIES)]


@in_virtual_time
async def test_a_revision_of_the_store_that_has_just_taken_over_is_reached() -> None:
    log = ScriptedLog(wakes=False)
    log.append(3)
    async with following(log) as follower:
        log.restore(3, store_id="store-2")
        await follower.reach(Revision("store-2", 3), 60)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_a_caller_that_goes_away_leaves_the_index_whole() -> None:
    log = ScriptedLog()
    async with following(log) as follower:
        log.wakes = False
        log.append(PAGE_ENTRIES * 3)
        log.reads.clear()
        caller = asyncio.create_task(follower.reach(log.revision, 60))
        await until(lambda: len(log.reads) == 2)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await asyncio.sleep(POLL_SECONDS)
        assert is_picture_of(log, follower.index)


# read_back


@in_virtual_time
async def test_what_was_just_written_is_read_back_although_the_index_seems_to_have_it() -> None:
    log = ScriptedLog()
    log.append(3)
    async with following(log) as follower:
        log.reads.clear()
        await follower.read_back(Revision("store-1", 2), 10)
        assert log.reads == [(3, PAGE_ENTRIES)]


class ReadOnly(ScriptedLog):
    """A source that cannot write."""

    async def renew_identity(self, store_id: str) -> None:
        pass


def _set_back_by_a_failover(log: ScriptedLog) -> Revision:
    """The end of the log is lost; what is revoked then, before anybody has read it, gets a number of before."""
    log.wakes = False
    log.restore(5)
    log.append()
    return log.revision


@in_virtual_time
async def test_what_was_written_after_a_failover_is_not_taken_for_what_had_its_number_before() -> None:
    log = ScriptedLog()
    log.append(10)
    async with following(log) as follower:
        written = _set_back_by_a_failover(log)
        with pytest.raises(RevisionNotReached, match="set back"):
            await follower.read_back(written, 10)
        assert log.store_id != written.store_id
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_what_was_written_after_a_failover_is_read_back_where_nobody_can_rename_the_store() -> None:
    log = ReadOnly()
    log.append(10)
    async with following(log) as follower:
        await follower.read_back(_set_back_by_a_failover(log), 10)
        assert is_picture_of(log, follower.index)


@in_virtual_time
async def test_what_was_written_to_another_store_is_not_read_back() -> None:
    log = ScriptedLog()
    log.append(3)
    async with following(log) as follower:
        with pytest.raises(ForeignRevision):
            await follower.read_back(Revision("store-of-others", 2), 10)


@in_virtual_time
async def test_what_was_written_is_not_read_back_while_the_store_is_down() -> None:
    log = ScriptedLog()
    log.append(3)
    async with following(log) as follower:
        log.down = True
        with pytest.raises(RevisionNotReached):
            await follower.read_back(log.revision, 60)


# Its end.


@pytest.mark.parametrize("busy", ["waiting", "reading", "pausing"])
@in_virtual_time
async def test_cancelling_ends_it_whatever_it_is_at(busy: str) -> None:
    log = ScriptedLog(down=busy == "pausing")
    if busy == "reading":
        log.hold()
    async with following(log):  # leaving it cancels, and expects CancelledError
        pass


def test_entries_of_tests_have_ids_of_their_own() -> None:
    assert entry(1).entry_id != entry(1).entry_id
