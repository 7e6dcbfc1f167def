"""Revocations, compaction, restored backups, lost reads, slow watchers, resumed watches, in any order: each watcher
knows what the model says it does.
"""

import asyncio
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sidegate_sidecar.model import KeySet, LogEntry, Revision, RevocationKind
from sidegate_sidecar.revocations.feed import CHECKPOINT_SECONDS, RevocationFeed
from sidegate_sidecar.revocations.follower import LAST_RETRY_SECONDS, POLL_SECONDS, LogFollower

from tests.unit.revocations.scripted_log import ISSUER, ScriptedLog, entry
from tests.unit.revocations.virtual_time import VirtualTimeLoop
from tests.unit.revocations.watching import Subject, Watcher, subjects_of

CAPACITY = 12
WORTH_FORGETTING = 4
SETTLED_WITHIN = POLL_SECONDS + LAST_RETRY_SECONDS
MAX_WATCHERS = 5

kinds = st.sampled_from(list(RevocationKind))
names = st.sampled_from("abcdefgh")


@dataclass
class History:
    """Everything that was ever written under one store_id, removed or not."""

    salt: bytes
    entries: list[LogEntry]

    def between(self, after: int, until: int) -> list[Subject]:
        return subjects_of(self.salt, [each for each in self.entries if after < each.sequence <= until])


class FeedBesideModel(RuleBasedStateMachine):
    """The model is the history of each store. A watcher that began at one revision and stands at another has been told
    exactly what that store's history has between them, in that order; but for what was removed before anybody read it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.loop = self.runner.get_loop()
        self.log = ScriptedLog()
        self.histories = {"store-1": [History(self.log.salt, [])]}
        self.backup: tuple[list[LogEntry], int, int] = ([], 0, 0)
        self.unread_removed: set[bytes] = set()
        self.follower = LogFollower(
            self.log, monotonic=self.loop.time, worth_forgetting=WORTH_FORGETTING, journal_capacity=CAPACITY
        )
        self.feed = RevocationFeed(self.follower, monotonic=self.loop.time)
        self.watchers: list[Watcher] = []
        self.generation = 0

    @initialize(number=st.integers(0, 20))
    def begin(self, number: int) -> None:
        self.write([entry(0) for _ in range(number)])
        self.run = self.loop.create_task(self.follower.run())
        self.pass_time(SETTLED_WITHIN)

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.settle()
            for watcher in self.watchers:
                self.runner.run(watcher.end())
            self.run.cancel()
            self.runner.run(asyncio.sleep(0))
        self.runner.close()

    def pass_time(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def history(self) -> History:
        return self.histories[self.log.store_id][-1]

    def write(self, entries: list[LogEntry]) -> None:
        for each in entries:
            placed = LogEntry(
                self.log.head + 1,
                each.entry_id,
                each.kind,
                each.issuer,
                each.subject,
                each.tenant_id,
                each.except_session_handle,
                each.revoke_time,
                each.forget_time,
            )
            self.log.entries.append(placed)
            self.history().entries.append(placed)
        if self.log.wakes:
            self.log.append(0)

    def settle(self) -> None:
        """Let everything come to rest; then every watcher that is not held has been told everything."""
        self.log.down, self.log.failures = False, 0
        self.log.release()
        for watcher in self.watchers:
            watcher.release()
        self.pass_time(SETTLED_WITHIN)
        index = self.follower.index
        assert index is not None
        assert index.revision == self.log.revision
        assert {(kind, digest) for kind, some in index.digests() for digest in some} >= set(
            subjects_of(self.log.salt, self.log.entries)
        )
        for watcher in self.watchers:
            assert watcher.delivered == self.log.revision

    # What befalls the store.

    @rule(what=st.lists(st.tuples(kinds, names), min_size=1, max_size=5), wakes=st.booleans())
    def revoke(self, what: list[tuple[RevocationKind, str]], wakes: bool) -> None:
        self.log.wakes = wakes
        self.write([entry(0, kind, name) for kind, name in what])

    @rule()
    def revoke_more_than_a_journal_holds(self) -> None:
        self.write([entry(0) for _ in range(CAPACITY + 1)])

    @rule(share=st.integers(2, 4))
    def compact(self, share: int) -> None:
        """What was removed before the follower came to it can match nothing, and nobody need be told of it."""
        index = self.follower.index
        seen = index.revision.sequence if index is not None and index.revision.store_id == self.log.store_id else 0
        before = self.log.entries
        self.log.compact(lambda each: each.sequence % share != 0)
        gone = {each.entry_id for each in before} - {each.entry_id for each in self.log.entries}
        self.unread_removed |= {each.entry_id for each in before if each.entry_id in gone and each.sequence > seen}

    @rule()
    def back_up(self) -> None:
        self.backup = (list(self.log.entries), self.log.horizon, self.log.removed)

    @rule(regrown=st.integers(0, 3), wakes=st.booleans())
    def restore(self, regrown: int, wakes: bool) -> None:
        """Under the same store_id: the follower has to find out. It can as long as it stands beyond the backup."""
        self.settle()
        entries, horizon, removed = self.backup
        if entries and entries[-1].entry_id == self.log.entries[-1].entry_id:
            return  # nothing is lost by it
        self.log.wakes = wakes
        self.log.entries, self.log.horizon, self.log.removed = list(entries), horizon, removed
        head = self.log.head
        known = [each for each in self.history().entries if each.sequence <= head]
        self.histories[self.log.store_id].append(History(self.log.salt, known))
        before, began = self.log.store_id, len(self.log.renewed)
        self.write([entry(0) for _ in range(regrown)])
        self.pass_time(SETTLED_WITHIN)
        assert len(self.log.renewed) == began + 1
        self.histories[self.log.store_id] = [History(self.log.salt, self.histories[before][-1].entries)]
        self.backup = (list(self.log.entries), self.log.horizon, self.log.removed)

    @rule(down=st.booleans(), failures=st.integers(0, 2))
    def lose_reads(self, down: bool, failures: int) -> None:
        self.log.down, self.log.failures = down, failures

    @rule(hangs=st.booleans())
    def hang(self, hangs: bool) -> None:
        if hangs:
            self.log.hold()
        else:
            self.log.release()

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule()
    def change_keys(self) -> None:
        self.generation += 1
        self.feed.key_set_changed(ISSUER, KeySet(self.generation, ()))

    # What watchers do.

    @precondition(lambda self: len(self.watchers) < MAX_WATCHERS)
    @rule(with_snapshot=st.booleans())
    def watch(self, with_snapshot: bool) -> None:
        self.watchers.append(self.watcher(None, with_snapshot=with_snapshot))

    @precondition(lambda self: self.watchers)
    @rule(data=st.data(), back=st.integers(-2, 15))
    def reconnect(self, data: st.DataObject, back: int) -> None:
        """With what it was told last, or something older or newer."""
        place = data.draw(st.integers(0, len(self.watchers) - 1))
        old = self.watchers[place]
        self.runner.run(old.end())
        if old.delivered is not None:
            after = Revision(old.delivered.store_id, max(0, old.delivered.sequence - back))
            self.watchers[place] = self.watcher(after)

    @precondition(lambda self: self.watchers)
    @rule(data=st.data(), held=st.booleans())
    def slow_down(self, data: st.DataObject, held: bool) -> None:
        watcher = data.draw(st.sampled_from(self.watchers))
        if held:
            watcher.hold()
        else:
            watcher.release()

    def watcher(self, after: Revision | None, *, with_snapshot: bool = False) -> Watcher:
        async def begin() -> Watcher:
            watcher = Watcher(self.feed, after, with_snapshot=with_snapshot)
            await asyncio.sleep(0)
            return watcher

        here = self.follower.journal.revision
        watcher = self.runner.run(begin())
        assert watcher.hellos[0].revision in (after, here)
        return watcher

    # What may be relied upon.

    @rule()
    def everything_comes_to_rest(self) -> None:
        self.settle()

    @rule()
    def a_checkpoint_is_never_far(self) -> None:
        for watcher in self.watchers:
            watcher.release()
        self.pass_time(0.01)
        before = [len(watcher.checkpoint_times) for watcher in self.watchers]
        self.pass_time(CHECKPOINT_SECONDS + 0.01)
        assert all(len(watcher.checkpoint_times) > count for watcher, count in zip(self.watchers, before, strict=True))

    @invariant()
    def a_watcher_was_told_what_the_history_has_between_its_hello_and_where_it_stands(self) -> None:
        for watcher in self.watchers:
            assert not watcher.task.done()
            hello, delivered = watcher.hellos[-1], watcher.delivered
            assert delivered is not None
            assert hello.revision.store_id == delivered.store_id
            assert any(
                hello.digest_salt == history.salt
                and self.is_told(watcher, history, hello.revision.sequence, delivered.sequence)
                for history in self.histories[delivered.store_id]
            )

    def is_told(self, watcher: Watcher, history: History, after: int, until: int) -> bool:
        due = [each for each in history.entries if after < each.sequence <= until]
        told = iter(watcher.told)
        following = next(told, None)
        for each, subject in zip(due, subjects_of(history.salt, due), strict=True):
            if subject == following:
                following = next(told, None)
            elif each.entry_id not in self.unread_removed:
                return False
        return following is None

    @invariant()
    def a_snapshot_leaves_nothing_out(self) -> None:
        for watcher in self.watchers:
            if watcher.checkpoints and watcher.snapshot:
                hello = watcher.hellos[-1]
                everything: set[Subject] = set()
                for history in self.histories[hello.revision.store_id]:
                    everything |= set(subjects_of(history.salt, history.entries))
                assert watcher.snapshot <= everything

    @invariant()
    def it_never_gives_up(self) -> None:
        assert not hasattr(self, "run") or not self.run.done()


FeedBesideModel.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestFeedBesideModel = FeedBesideModel.TestCase
