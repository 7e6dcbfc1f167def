"""The feed: each watcher is told of everything after its hello, in order, however slow it is and whatever befalls."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from sidegate_sidecar.errors import IndexNotLoaded, ShuttingDown
from sidegate_sidecar.model import SECOND, KeySet, LogPage, Revision, RevocationKind
from sidegate_sidecar.revocations.feed import (
    CHECKPOINT_SECONDS,
    MAX_REVOCATIONS,
    SNAPSHOT_DIGESTS,
    Checkpoint,
    Hello,
    RevocationFeed,
    SnapshotChunk,
)
from sidegate_sidecar.revocations.follower import POLL_SECONDS, LogFollower
from sidegate_sidecar.revocations.journal import KeySetChanged, Revoked

from tests.unit.revocations.scripted_log import ISSUER, SALT, ScriptedLog, entry, has_revoked
from tests.unit.revocations.virtual_time import in_virtual_time
from tests.unit.revocations.watching import Watcher, subjects_of

MOMENT = 0.001  # enough for all that needs no timer
CAPACITY = 20
SALTED_ANEW = bytes([1]) + SALT[1:]


class Bench:
    """A log, a follower and its feed."""

    def __init__(self, log: ScriptedLog, *, worth_forgetting: int = 10_000) -> None:
        clock = asyncio.get_running_loop().time
        self.log = log
        self.follower = LogFollower(log, monotonic=clock, worth_forgetting=worth_forgetting, journal_capacity=CAPACITY)
        self.feed = RevocationFeed(self.follower, monotonic=clock)
        self.watchers: list[Watcher] = []

    def watch(self, after: Revision | None = None, *, with_snapshot: bool = False) -> Watcher:
        watcher = Watcher(self.feed, after, with_snapshot=with_snapshot)
        self.watchers.append(watcher)
        return watcher

    async def revoke(self, number: int = 1) -> None:
        """Each by itself, so that no two come in one page."""
        for _ in range(number):
            self.log.append()
            await asyncio.sleep(MOMENT)


@asynccontextmanager
async def feeding(entries: int = 0, *, worth_forgetting: int = 10_000) -> AsyncGenerator[Bench]:
    """A feed whose index has loaded."""
    log = ScriptedLog()
    log.append(entries)
    bench = Bench(log, worth_forgetting=worth_forgetting)
    run = asyncio.create_task(bench.follower.run())
    await asyncio.sleep(MOMENT)
    yield bench
    for watcher in bench.watchers:
        await watcher.end()
    run.cancel()
    await asyncio.wait([run])


# What is told.


@in_virtual_time
async def test_a_watch_begins_with_a_hello_and_a_checkpoint_at_the_present() -> None:
    async with feeding(5) as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)

        assert watcher.events[0] == Hello(Revision("store-1", 5), SALT)
        assert isinstance(watcher.events[1], Checkpoint)
        assert watcher.events[1].revision == Revision("store-1", 5)
        assert len(watcher.events) == 2


@in_virtual_time
async def test_every_revocation_is_told_in_log_order_with_the_revision_after_the_last_of_them() -> None:
    async with feeding(3) as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        bench.log.append(4)
        await bench.revoke(2)

        revoked = [event for event in watcher.events if isinstance(event, Revoked)]
        assert [event.revision.sequence for event in revoked] == [8, 9]
        assert [len(event.subjects) for event in revoked] == [5, 1]
        assert watcher.told == subjects_of(SALT, bench.log.entries[3:])


@in_virtual_time
async def test_each_kind_of_revocation_is_told_as_what_it_is() -> None:
    async with feeding() as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        bench.log.entries = [entry(number, kind, "same") for number, kind in enumerate(RevocationKind, 1)]
        await asyncio.sleep(POLL_SECONDS)

        assert [kind for kind, _ in watcher.told] == list(RevocationKind)
        assert watcher.told == subjects_of(SALT, bench.log.entries)


@in_virtual_time
async def test_no_message_holds_more_revocations_than_one_may() -> None:
    log = ScriptedLog()
    follower = LogFollower(log, monotonic=asyncio.get_running_loop().time)
    await follower.reach(log.revision, 1)
    watcher = Watcher(RevocationFeed(follower))
    await asyncio.sleep(MOMENT)
    log.append(2 * MAX_REVOCATIONS + 1)
    watcher.hold()
    await follower.reach(log.revision, 1)
    watcher.release()
    await asyncio.sleep(MOMENT)

    assert watcher.told == subjects_of(SALT, log.entries)
    assert max(len(event.subjects) for event in watcher.events if isinstance(event, Revoked)) == MAX_REVOCATIONS
    await watcher.end()


@in_virtual_time
async def test_the_index_has_taken_in_what_a_watcher_is_told_of() -> None:
    async with feeding() as bench:
        watch = bench.feed.watch(None, with_snapshot=False)
        refused: list[bool] = []

        async def ask_again() -> None:
            async for event in watch:
                if isinstance(event, Revoked):
                    index = bench.follower.index
                    assert index is not None
                    assert index.revision.sequence >= event.revision.sequence
                    refused.append(has_revoked(index, bench.log.entries[event.revision.sequence - 1].subject))

        asking = asyncio.create_task(ask_again())
        await bench.revoke(5)
        asking.cancel()
        await asyncio.wait([asking])
        await watch.aclose()
        assert refused == [True] * 5


@in_virtual_time
async def test_key_set_changes_are_told_in_their_place_among_revocations() -> None:
    async with feeding() as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        for generation in (1, 2):
            await bench.revoke()
            bench.feed.key_set_changed(ISSUER, KeySet(generation, ()))
        await bench.revoke()

        told = [event for event in watcher.events if isinstance(event, Revoked | KeySetChanged)]
        assert [event.revision.sequence if isinstance(event, Revoked) else event for event in told] == [
            1,
            KeySetChanged(ISSUER, 1),
            2,
            KeySetChanged(ISSUER, 2),
            3,
        ]


# Going on after an interruption.


@pytest.mark.parametrize("missed", [0, 1, CAPACITY])
@in_virtual_time
async def test_a_watch_is_resumed_without_loss(missed: int) -> None:
    async with feeding(50) as bench:
        await bench.revoke(5)
        after = bench.log.revision
        await bench.revoke(missed)
        watcher = bench.watch(after)
        await bench.revoke(3)

        assert watcher.hellos == [Hello(after, SALT)]
        assert watcher.told == subjects_of(SALT, bench.log.entries[after.sequence :])


@in_virtual_time
async def test_a_key_set_change_after_the_last_revocation_is_told_when_a_watch_is_resumed() -> None:
    """The watcher may have been told of the revocation alone."""
    async with feeding() as bench:
        await bench.revoke()
        bench.feed.key_set_changed(ISSUER, KeySet(7, ()))
        watcher = bench.watch(bench.log.revision)
        await asyncio.sleep(MOMENT)

        assert watcher.hellos == [Hello(bench.log.revision, SALT)]
        assert watcher.key_sets == [KeySetChanged(ISSUER, 7)]


@in_virtual_time
async def test_a_watch_cannot_be_resumed_at_a_position_whose_key_set_change_is_forgotten() -> None:
    async with feeding() as bench:
        await bench.revoke()
        after = bench.log.revision
        bench.feed.key_set_changed(ISSUER, KeySet(7, ()))
        await bench.revoke(CAPACITY)
        watcher = bench.watch(after)
        await asyncio.sleep(MOMENT)

        assert watcher.hellos == [Hello(bench.log.revision, SALT)]


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(Revision("store-1", 49), id="older than the index"),
        pytest.param(Revision("store-1", 54), id="older than the journal"),
        pytest.param(Revision("store-1", 76), id="ahead"),
        pytest.param(Revision("store-0", 60), id="of another store"),
        pytest.param(Revision("", 0), id="of no store"),
        pytest.param(Revision("store-1", -1), id="of no log"),
    ],
)
@in_virtual_time
async def test_what_cannot_be_resumed_begins_anew_at_the_present(after: Revision) -> None:
    async with feeding(50) as bench:
        await bench.revoke(5 + CAPACITY)
        assert bench.log.head == 75
        watcher = bench.watch(after)
        await bench.revoke(3)

        assert watcher.hellos == [Hello(Revision("store-1", 75), SALT)]
        assert watcher.told == subjects_of(SALT, bench.log.entries[75:])


# Slow watchers.


@in_virtual_time
async def test_a_watcher_that_falls_behind_the_journal_begins_anew_and_holds_nobody_up() -> None:
    async with feeding() as bench:
        slow, quick = bench.watch(), bench.watch()
        await asyncio.sleep(MOMENT)
        slow.hold()
        await bench.revoke(CAPACITY + 3)

        assert quick.told == subjects_of(SALT, bench.log.entries)
        slow.release()
        await bench.revoke(2)
        assert [hello.revision.sequence for hello in slow.hellos] == [0, CAPACITY + 3]
        assert slow.told == subjects_of(SALT, bench.log.entries[-2:])
        assert len(quick.hellos) == 1


@in_virtual_time
async def test_a_watcher_that_is_as_slow_as_it_may_be_loses_nothing() -> None:
    async with feeding() as bench:
        slow = bench.watch()
        await asyncio.sleep(MOMENT)
        slow.hold()
        await asyncio.sleep(CHECKPOINT_SECONDS)
        await bench.revoke(CAPACITY)
        slow.release()
        await asyncio.sleep(MOMENT)

        assert len(slow.hellos) == 1
        assert slow.told == subjects_of(SALT, bench.log.entries)


# Another log, another index.


@in_virtual_time
async def test_a_restored_backup_begins_anew_with_the_new_salt_for_those_who_had_been_told_everything() -> None:
    async with feeding(5) as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        bench.log.restore(3)
        await asyncio.sleep(MOMENT)
        await bench.revoke()

        assert watcher.hellos == [
            Hello(Revision("store-1", 5), SALT),
            Hello(Revision("store-1 renewed", 3), SALTED_ANEW),
        ]
        assert watcher.told == subjects_of(SALTED_ANEW, bench.log.entries[3:])


@in_virtual_time
async def test_a_log_compacted_past_the_index_begins_anew_in_the_same_store() -> None:
    async with feeding(5) as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        bench.log.wakes = False
        bench.log.append(3)
        bench.log.compact(lambda each: each.sequence <= 6)
        await asyncio.sleep(POLL_SECONDS + MOMENT)

        assert [hello.revision for hello in watcher.hellos] == [Revision("store-1", 5), Revision("store-1", 8)]
        assert bench.log.renewed == []


@in_virtual_time
async def test_an_index_that_forgets_is_replaced_and_no_watcher_notices() -> None:
    async with feeding(30, worth_forgetting=10) as bench:
        before = bench.follower.index
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        bench.log.compact(lambda each: each.sequence <= 20)
        await bench.revoke(5)

        index = bench.follower.index
        assert index is not None
        assert index is not before
        assert (len(index), index.revision.sequence) == (15, 35)
        assert len(watcher.hellos) == 1
        assert watcher.told == subjects_of(SALT, bench.log.entries[-5:])


class GrowsAsItIsRead(ScriptedLog):
    """Just as the last page of a load has been made, another entry is written, of which nobody is told."""

    loading = False

    async def read_log(self, first: int, limit: int) -> LogPage:
        self.loading = self.loading or limit == 1
        page = await super().read_log(first, limit)
        if self.loading and limit > 1 and page.entries[-1].sequence == page.head:
            self.loading, self.wakes = False, False
            self.append()
        return page


@in_virtual_time
async def test_what_is_revoked_as_another_index_takes_its_place_is_missed_by_nobody() -> None:
    log = GrowsAsItIsRead()
    log.append(30)
    bench = Bench(log, worth_forgetting=10)
    run = asyncio.create_task(bench.follower.run())
    await asyncio.sleep(2 * POLL_SECONDS)
    before, watcher, began = bench.follower.index, bench.watch(), log.head
    await asyncio.sleep(MOMENT)
    log.compact(lambda each: each.sequence <= 20)
    await asyncio.sleep(POLL_SECONDS)

    index = bench.follower.index
    assert index is not None
    assert index is not before
    assert log.head == began + 1
    assert index.revision == log.revision
    assert all(has_revoked(index, each.subject) for each in log.entries)
    assert watcher.told == subjects_of(SALT, log.entries[-1:])
    await watcher.end()
    run.cancel()
    await asyncio.wait([run])


# Snapshots.


@in_virtual_time
async def test_a_snapshot_is_all_that_can_match_then_a_checkpoint_then_the_rest() -> None:
    log = ScriptedLog()
    log.append(3 * SNAPSHOT_DIGESTS)
    follower = LogFollower(log, monotonic=asyncio.get_running_loop().time)
    await follower.reach(log.revision, 1)
    watcher = Watcher(RevocationFeed(follower), with_snapshot=True)
    await asyncio.sleep(MOMENT)
    before = log.revision
    log.append(2)
    await follower.reach(log.revision, 1)
    await asyncio.sleep(MOMENT)

    kinds = [type(event) for event in watcher.events]
    chunks = kinds.count(SnapshotChunk)
    assert kinds == [Hello, *[SnapshotChunk] * chunks, Checkpoint, Revoked]
    assert chunks >= 2
    assert watcher.checkpoints[0].revision == before == watcher.hellos[0].revision
    assert watcher.snapshot == set(subjects_of(SALT, log.entries[:-2]))
    assert watcher.told == subjects_of(SALT, log.entries[-2:])
    await watcher.end()


@in_virtual_time
async def test_what_is_revoked_while_a_snapshot_is_sent_is_told_after_it() -> None:
    log = ScriptedLog()
    log.append(3 * SNAPSHOT_DIGESTS)
    follower = LogFollower(log, monotonic=asyncio.get_running_loop().time)
    await follower.reach(log.revision, 1)
    watcher = Watcher(RevocationFeed(follower), with_snapshot=True)
    watcher.hold()
    await asyncio.sleep(MOMENT)
    before = log.head
    log.append(100)
    await follower.reach(log.revision, 1)
    watcher.release()
    await asyncio.sleep(MOMENT)

    assert watcher.told == subjects_of(SALT, log.entries[before:])
    assert watcher.snapshot >= set(subjects_of(SALT, log.entries[:before]))
    await watcher.end()


@in_virtual_time
async def test_a_snapshot_is_sent_anew_with_each_hello() -> None:
    async with feeding(5) as bench:
        watcher = bench.watch(with_snapshot=True)
        await asyncio.sleep(MOMENT)
        bench.log.restore(3)
        await asyncio.sleep(MOMENT)

        assert len(watcher.hellos) == 2
        assert watcher.snapshot == set(subjects_of(SALTED_ANEW, bench.log.entries))


@in_virtual_time
async def test_a_snapshot_begins_at_the_present_whatever_came_before() -> None:
    async with feeding(5) as bench:
        await bench.revoke(2)
        watcher = bench.watch(Revision("store-1", 5), with_snapshot=True)
        await asyncio.sleep(MOMENT)

        assert watcher.hellos == [Hello(Revision("store-1", 7), SALT)]
        assert watcher.snapshot == set(subjects_of(SALT, bench.log.entries))


# Checkpoints.


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@in_virtual_time
async def test_a_checkpoint_comes_at_least_every_second(busy: bool) -> None:
    async with feeding() as bench:
        watcher = bench.watch()
        for _ in range(100):
            if busy:
                bench.log.append()
            await asyncio.sleep(0.1)

        assert len(watcher.checkpoint_times) >= 10
        assert max(later - earlier for earlier, later in pairwise(watcher.checkpoint_times)) <= 1


@in_virtual_time
async def test_a_checkpoint_says_how_old_the_index_is() -> None:
    async with feeding() as bench:
        watcher = bench.watch()
        await asyncio.sleep(10)
        assert watcher.checkpoints[-1].age <= (POLL_SECONDS + MOMENT) * SECOND
        bench.log.down = True
        await asyncio.sleep(10)
        assert watcher.checkpoints[-1].age >= 8 * SECOND


@in_virtual_time
async def test_the_checkpoint_of_a_watcher_that_is_behind_is_as_old_as_what_it_was_told() -> None:
    async with feeding() as bench:
        watcher = bench.watch()
        await asyncio.sleep(MOMENT)
        watcher.hold()
        await asyncio.sleep(CHECKPOINT_SECONDS)  # another checkpoint arrives, and is not read on from
        await bench.revoke()
        await asyncio.sleep(30)
        watcher.release()
        await asyncio.sleep(MOMENT)

        late, now = watcher.checkpoints[-1], bench.log.revision
        assert late.revision.sequence < now.sequence
        assert late.age >= 30 * SECOND
        await asyncio.sleep(CHECKPOINT_SECONDS)
        assert watcher.checkpoints[-1].revision == now
        assert watcher.checkpoints[-1].age <= (POLL_SECONDS + MOMENT) * SECOND


# Beginning and end.


@in_virtual_time
async def test_before_the_index_has_loaded_there_is_nothing_to_watch() -> None:
    bench = Bench(ScriptedLog(down=True))
    bench.feed.key_set_changed(ISSUER, KeySet(1, ()))

    for after in (None, Revision("store-1", 0)):
        with pytest.raises(IndexNotLoaded):
            await anext(bench.feed.watch(after, with_snapshot=False))


@in_virtual_time
async def test_the_end_ends_every_watch_at_once_and_each_that_comes_later() -> None:
    async with feeding(3) as bench:
        watchers = [bench.watch(), bench.watch(bench.log.revision), bench.watch(with_snapshot=True)]
        await asyncio.sleep(CHECKPOINT_SECONDS / 2)
        began = asyncio.get_running_loop().time()
        bench.feed.end()
        await asyncio.wait([watcher.task for watcher in watchers])

        assert asyncio.get_running_loop().time() == began
        assert [type(watcher.task.exception()) for watcher in watchers] == [ShuttingDown] * 3
        with pytest.raises(ShuttingDown):
            await anext(bench.feed.watch(None, with_snapshot=False))
