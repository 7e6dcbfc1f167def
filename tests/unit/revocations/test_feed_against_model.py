"""Revocations, compaction, restored backups, lost reads, slow watchers, resumed watches, in any order: each watcher
knows what the model says it does.
"""

import asyncio

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import initialize, rule
from sidegate_sidecar.model import LogEntry, RevocationKind
from sidegate_sidecar.revocations.feed import CHECKPOINT_SECONDS, RevocationFeed
from sidegate_sidecar.revocations.follower import LAST_RETRY_SECONDS, POLL_SECONDS, LogFollower

from tests.unit.revocations.feed_model import History, WatchersBesideHistories
from tests.unit.revocations.scripted_log import ScriptedLog, entry
from tests.unit.revocations.virtual_time import VirtualTimeLoop

CAPACITY = 12
WORTH_FORGETTING = 4
SETTLED_WITHIN = POLL_SECONDS + LAST_RETRY_SECONDS
MAX_WATCHERS = 5

kinds = st.sampled_from(list(RevocationKind))
names = st.sampled_from("abcdefgh")


class FeedBesideModel(WatchersBesideHistories):
    """On a scripted log, in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.loop = self.runner.get_loop()
        self.log = ScriptedLog()
        self.histories["store-1"] = [History(self.log.salt, [])]
        self.backup: tuple[list[LogEntry], int, int] = ([], 0, 0)
        self.follower = LogFollower(
            self.log, monotonic=self.loop.time, worth_forgetting=WORTH_FORGETTING, journal_capacity=CAPACITY
        )
        self.feed = RevocationFeed(self.follower, monotonic=self.loop.time)

    @initialize(number=st.integers(0, 20))
    def begin(self, number: int) -> None:
        self.write([entry(0) for _ in range(number)])
        self.following = self.loop.create_task(self.follower.run())
        self.pass_time(SETTLED_WITHIN)

    def teardown(self) -> None:
        if hasattr(self, "following"):
            self.settle()
            self.stop()
        self.runner.close()

    def pass_time(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def history(self) -> History:
        return self.histories[self.log.store_id][-1]

    def write(self, entries: list[LogEntry]) -> None:
        for each in entries:
            placed = each._replace(sequence=self.log.head + 1)
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
        self.check_at_rest(self.log.revision, self.log.salt, self.log.entries)

    @rule(what=st.lists(st.tuples(kinds, names), min_size=1, max_size=5), wakes=st.booleans())
    def revoke(self, what: list[tuple[RevocationKind, str]], wakes: bool) -> None:
        self.log.wakes = wakes
        self.write([entry(0, kind, name) for kind, name in what])

    @rule()
    def revoke_more_than_a_journal_holds(self) -> None:
        self.write([entry(0) for _ in range(CAPACITY + 1)])

    @rule(share=st.integers(2, 4))
    def compact(self, share: int) -> None:
        index = self.follower.index
        assert index is not None
        before = self.log.entries
        self.log.compact(lambda each: each.sequence % share != 0)
        self.note_removed(self.log.store_id, before, self.log.entries, seen=index.revision)

    @rule()
    def back_up(self) -> None:
        self.backup = (list(self.log.entries), self.log.horizon, self.log.removed)

    @rule(regrown=st.integers(0, 3), wakes=st.booleans())
    def restore(self, regrown: int, wakes: bool) -> None:
        """Under the same store_id: the follower has to find out. It can as long as it stands beyond the backup."""
        self.settle()
        entries, horizon, removed = self.backup
        if entries[-1:] == self.log.entries[-1:]:
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


FeedBesideModel.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestFeedBesideModel = FeedBesideModel.TestCase
