"""What every watcher of a feed must know, whatever befalls it: given all that was ever written to the log."""

import asyncio
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sidegate_sidecar.model import KeySet, LogEntry, Revision
from sidegate_sidecar.revocations.feed import RevocationFeed
from sidegate_sidecar.revocations.follower import LogFollower

from tests.unit.revocations.scripted_log import ISSUER
from tests.unit.revocations.watching import Subject, Watcher, subjects_of

MAX_WATCHERS = 5


@dataclass
class History:
    """Everything that was ever written under one store_id, removed or not."""

    salt: bytes
    entries: list[LogEntry]


class WatchersBesideHistories(RuleBasedStateMachine):
    """The model is the history of each store. A watcher that began at one revision and stands at another has been told
    exactly what that store's history has between them, in that order; but for what was removed before anybody read it.

    Attributes:
        runner: Runs the follower, whenever a rule runs anything.
        follower, feed: What is tried. Made by whoever derives from this.
        following: The run of the follower.
        histories: Of each store_id, the histories that may be meant by it.
        unread_removed: The ids of the entries that nobody need be told of.
    """

    runner: asyncio.Runner
    follower: LogFollower
    feed: RevocationFeed
    following: asyncio.Task[None]

    def __init__(self) -> None:
        super().__init__()
        self.histories: dict[str, list[History]] = {}
        self.unread_removed: set[bytes] = set()
        self.watchers: list[Watcher] = []
        self.generation = 0

    def note_removed(self, store_id: str, before: list[LogEntry], after: list[LogEntry], *, seen: Revision) -> None:
        """What was removed before the follower came to it can match nothing, and nobody need be told of it.

        Args:
            seen: Where the follower stood when it began.
        """
        known = seen.sequence if seen.store_id == store_id else 0
        left = {each.entry_id for each in after}
        self.unread_removed |= {each.entry_id for each in before if each.sequence > known} - left

    def check_at_rest(self, here: Revision, salt: bytes, log: list[LogEntry]) -> None:
        """Index and watchers stand where the log ends, and what the log has is known to the index and to whoever asked
        for a snapshot.
        """
        index = self.follower.index
        assert index is not None
        assert index.revision == here
        revoked = set(subjects_of(salt, log))
        assert {(kind, digest) for kind, some in index.digests() for digest in some} >= revoked
        for watcher in self.watchers:
            assert watcher.delivered == here
            assert not watcher.with_snapshot or watcher.snapshot.union(watcher.told) >= revoked

    def stop(self) -> None:
        """End the watchers and the follower."""

        async def end() -> None:
            for watcher in self.watchers:
                await watcher.end()
            self.following.cancel()
            await asyncio.wait([self.following])

        self.runner.run(end())

    def watcher(self, after: Revision | None, *, with_snapshot: bool = False) -> Watcher:
        async def begin() -> Watcher:
            watcher = Watcher(self.feed, after, with_snapshot=with_snapshot)
            await asyncio.sleep(0)
            return watcher

        journal = self.follower.journal
        before = journal.revision
        watcher = self.runner.run(begin())
        # The follower may have read on before the watcher began.
        assert watcher.hellos[0].revision in (after, before, journal.revision)
        return watcher

    @rule()
    def change_keys(self) -> None:
        self.generation += 1
        self.feed.key_set_changed(ISSUER, KeySet(self.generation, ()))

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
    def a_snapshot_invents_nothing(self) -> None:
        for watcher in self.watchers:
            if watcher.checkpoints and watcher.snapshot:
                hello = watcher.hellos[-1]
                everything: set[Subject] = set()
                for history in self.histories[hello.revision.store_id]:
                    everything |= set(subjects_of(history.salt, history.entries))
                assert watcher.snapshot <= everything

    @invariant()
    def it_never_gives_up(self) -> None:
        assert not self.following.done()
