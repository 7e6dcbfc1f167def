"""Appends, outages, lost wake-ups, restored backups, callers of `reach`, in any order: nothing is lost."""

import asyncio

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sidegate_sidecar.errors import ForeignRevision, RevisionNotReached
from sidegate_sidecar.model import SECOND, LogEntry, Revision
from sidegate_sidecar.revocations.follower import LAST_RETRY_SECONDS, POLL_SECONDS, LogFollower
from sidegate_sidecar.revocations.reading import PAGE_ENTRIES

from tests.unit.revocations.scripted_log import ScriptedLog, has_revoked
from tests.unit.revocations.virtual_time import VirtualTimeLoop

WAIT = 0.25
CAUGHT_UP_WITHIN = POLL_SECONDS + LAST_RETRY_SECONDS


class FollowerBesideModel(RuleBasedStateMachine):
    """The model is every log that there ever was: the index is a beginning of one of them, and in the end of the last.

    `versions` holds the entries of each log, by the store that it was; a restored backup makes a new version.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.loop = self.runner.get_loop()
        self.log = ScriptedLog()
        self.versions: list[tuple[str, list[LogEntry]]] = [("store-1", self.log.entries)]
        self.follower = LogFollower(self.log, monotonic=self.loop.time)
        self.loaded = False

    @initialize(entries=st.sampled_from([0, 1, PAGE_ENTRIES, PAGE_ENTRIES + 1]), down=st.booleans())
    def begin(self, entries: int, down: bool) -> None:
        self.log.append(entries)
        self.log.down = down
        self.run = self.loop.create_task(self.follower.run())

    def teardown(self) -> None:
        self.log.release()
        self.log.down, self.log.failures = False, 0
        self.pass_time(CAUGHT_UP_WITHIN)
        self.follower_stands_at_the_head()
        self.run.cancel()
        self.runner.close()
        assert self.run.cancelled()

    def pass_time(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    def reach(self, revision: Revision) -> bool:
        try:
            self.runner.run(self.follower.reach(revision, WAIT))
        except RevisionNotReached:
            return False
        except ForeignRevision:
            # It was read to have been set back, and is another store since.
            assert self.log.store_id != revision.store_id
            return False
        return True

    def follower_stands_at_the_head(self) -> None:
        index = self.follower.index
        assert index is not None
        assert index.revision == self.log.revision
        assert all(has_revoked(index, each.subject) for each in self.log.entries[-50:])

    # What befalls the store.

    @rule(number=st.sampled_from([1, 2, PAGE_ENTRIES + 1]), wakes=st.booleans())
    def append(self, number: int, wakes: bool) -> None:
        self.log.wakes = wakes
        self.log.append(number)

    @rule(lost=st.integers(0, 4), regrown=st.integers(0, 5), renamed=st.booleans(), wakes=st.booleans())
    def restore(self, lost: int, regrown: int, renamed: bool, wakes: bool) -> None:
        """`regrown` entries are written before the follower reads again."""
        self.log.wakes = wakes
        self.log.entries = list(self.log.entries)
        self.log.restore(max(0, self.log.head - lost), store_id=f"store-{len(self.versions) + 1}" if renamed else None)
        self.log.append(regrown)
        self.versions.append((self.log.store_id, self.log.entries))

    @rule()
    def fail(self) -> None:
        self.log.down = True

    @rule(number=st.integers(1, 3))
    def fail_a_little(self, number: int) -> None:
        self.log.failures = number

    @rule()
    def recover(self) -> None:
        self.log.down = False
        self.log.release()

    @rule()
    def hang(self) -> None:
        self.log.hold()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 5.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    # What may be relied upon.

    @rule()
    def a_source_that_answers_is_followed_to_its_head(self) -> None:
        self.recover()
        self.log.failures = 0
        self.pass_time(CAUGHT_UP_WITHIN)
        self.follower_stands_at_the_head()
        assert self.follower.answering
        assert self.follower.lag() <= CAUGHT_UP_WITHIN * SECOND

    @rule(back=st.integers(0, 3))
    def what_was_acknowledged_is_reached_or_its_absence_told(self, back: int) -> None:
        wanted = Revision(self.log.store_id, max(0, self.log.head - back))
        answers = self.log.answers
        if self.reach(wanted):
            index = self.follower.index
            assert index is not None
            assert index.revision.store_id == wanted.store_id
            assert index.revision.sequence >= wanted.sequence
        else:
            assert not answers or self.log.store_id != wanted.store_id

    @rule()
    def a_revision_of_the_future_is_not_reached(self) -> None:
        index = self.follower.index
        known = 0 if index is None else index.revision.sequence
        assert not self.reach(Revision(self.log.store_id, max(known, self.log.head) + 1))

    @precondition(lambda self: self.log.answers)
    @rule()
    def a_foreign_revision_is_told_from_a_late_one(self) -> None:
        self.pass_time(CAUGHT_UP_WITHIN)
        try:
            self.runner.run(self.follower.reach(Revision("no such store", 0), WAIT))
        except ForeignRevision:
            return
        raise AssertionError("it was reached")

    @invariant()
    def the_index_is_a_beginning_of_a_log_that_there_was(self) -> None:
        index = self.follower.index
        assert not (self.loaded and index is None)
        if index is None:
            return
        self.loaded = True
        store_id, sequence = index.revision.store_id, index.revision.sequence
        assert len(index) == sequence
        beginnings = [
            entries[:sequence]
            for store, entries in (*self.versions, *self.log.renewed)
            if store == store_id and len(entries) >= sequence
        ]
        assert any(
            (beginning[-1].entry_id if beginning else b"") == index.last_entry_id
            and all(has_revoked(index, each.subject) for each in beginning[-12:])
            for beginning in beginnings
        )

    @invariant()
    def it_never_gives_up(self) -> None:
        assert not hasattr(self, "run") or not self.run.done()


FollowerBesideModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFollowerBesideModel = FollowerBesideModel.TestCase
