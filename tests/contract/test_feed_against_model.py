"""Real stores, written to, compacted and restored under a follower: every watcher of its feed, and its index, know what
the models of store and feed say.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from sidegate_sidecar.errors import ForeignRevision, RevisionNotReached, StoreUnavailable
from sidegate_sidecar.model import (
    SECOND,
    Coverage,
    LogEntry,
    LogPage,
    Registration,
    Revision,
    Subject,
)
from sidegate_sidecar.revocations.feed import RevocationFeed
from sidegate_sidecar.revocations.follower import RENEWAL_PAUSE_SECONDS, LogFollower
from sidegate_sidecar.revocations.index import RevocationIndex
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.backends import Backend, Backends
from tests.contract.fakes import DAY, LIMITS, OPS, compact_all, log_of
from tests.contract.store_model import ISSUERS, KEYS, TENANTS, USERS, Model, Refused, issuers, keys, tenants, users
from tests.unit.revocations.feed_model import History, WatchersBesideHistories
from tests.unit.revocations.watching import subjects_of

CAPACITY = 12
WORTH_FORGETTING = 4
PATIENCE_SECONDS = 20.0  # for what has to happen; on a quiet machine it takes milliseconds
HANDLES = tuple(f"h{number}" for number in range(8))

handles = st.sampled_from(HANDLES)


class UnreliableLog:
    """A store's log over a link that a test breaks. A `LogSource`.

    Attributes:
        down: Every read fails.
        failures: How many of the next reads fail.
    """

    def __init__(self, store: SessionStore) -> None:
        self.down = False
        self.failures = 0
        self._store = store
        self._gate = asyncio.Event()
        self._gate.set()

    def hold(self) -> None:
        """Let reads hang until the link is mended."""
        self._gate.clear()

    def mend(self) -> None:
        self.down, self.failures = False, 0
        self._gate.set()

    async def read_log(self, first: int, limit: int) -> LogPage:
        await self._gate.wait()
        if self.down or self.failures:
            self.failures -= not self.down
            raise StoreUnavailable("the link is broken")
        return await self._store.read_log(first, limit)

    async def wait_for_change(self, timeout: float) -> None:
        await self._store.wait_for_change(timeout)

    async def renew_identity(self, store_id: str) -> None:
        await self._store.renew_identity(store_id)


class FeedOfStoreBesideModels(WatchersBesideHistories):
    """One store is followed. Another on the same database takes turns with it at writing, as two processes would."""

    def __init__(self, backends: Backends) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.backends = backends
        self.owned = AsyncExitStack()
        self.skipped_seconds = 0.0
        self.numbers = itertools.count()

    @initialize(number=st.integers(0, 20))
    def begin(self, number: int) -> None:
        self.runner.run(self.open())
        self.revoke_fresh_sessions(number)
        self.runner.run(self.follow())
        self.settle()

    async def open(self) -> None:
        self.backend = await self.owned.enter_async_context(self.backends.fresh())
        self.model = Model(self.backend.clock)
        self.followed, self.other = await self.opened(self.backend), await self.opened(self.backend)
        self.writers = itertools.cycle([self.other, self.followed])
        await self.note_written()
        await self.save()

    async def follow(self) -> None:
        self.source = UnreliableLog(self.followed)
        self.follower = LogFollower(
            self.source, monotonic=self.monotonic, worth_forgetting=WORTH_FORGETTING, journal_capacity=CAPACITY
        )
        self.feed = RevocationFeed(self.follower, monotonic=self.monotonic)
        self.following = asyncio.create_task(self.follower.run())

    async def opened(self, backend: Backend) -> SessionStore:
        store = backend.new_store()
        self.owned.push_async_callback(store.close)
        await store.migrate(LIMITS)
        await store.open()
        return store

    def teardown(self) -> None:
        if hasattr(self, "following"):
            self.settle()
            self.stop()
        self.runner.run(self.owned.aclose())
        self.runner.close()

    def monotonic(self) -> float:
        """The follower's clock. It jumps where the test does not want to wait."""
        return asyncio.get_running_loop().time() + self.skipped_seconds

    def write(self, model: Callable[[Model], object], store: Callable[[SessionStore], Awaitable[object]]) -> None:
        """Do it to both; the log then has what the model's has."""
        try:
            model(self.model)
        except Refused:
            return

        async def write() -> None:
            await store(next(self.writers))
            await self.note_written()

        self.runner.run(write())

    async def note_written(self) -> None:
        """Add what the log has gained to its history."""
        log, page = await log_of(self.other), await self.other.read_log(1, 1)
        assert [each._replace(entry_id=b"") for each in log] == self.model.log
        self.store_id = page.store_id
        [history] = self.histories.setdefault(page.store_id, [History(page.digest_salt, [])])
        noted = history.entries[-1].sequence if history.entries else 0
        history.entries.extend(each for each in log if each.sequence > noted)

    @rule(issuer=issuers, wanted=st.lists(handles, min_size=1, max_size=4))
    def revoke_sessions(self, issuer: str, wanted: list[str]) -> None:
        self.write(
            lambda model: model.revoke_sessions(issuer, wanted),
            lambda store: store.revoke_sessions(issuer, wanted, OPS),
        )

    def fresh_sessions(self, number: int) -> list[str]:
        return [f"session-{next(self.numbers)}" for _ in range(number)]

    @rule(number=st.sampled_from([1, 5, CAPACITY + 1]))
    def revoke_fresh_sessions(self, number: int) -> None:
        """Up to more than a journal holds."""
        fresh = self.fresh_sessions(number)
        self.write(
            lambda model: model.revoke_sessions(ISSUERS[0], fresh),
            lambda store: store.revoke_sessions(ISSUERS[0], fresh, OPS),
        )

    @rule(issuer=issuers, user=users, tenant=st.none() | tenants.filter(bool), spare=st.none() | handles)
    def revoke_user(self, issuer: str, user: str, tenant: str | None, spare: str | None) -> None:
        self.write(
            lambda model: model.revoke_user(issuer, user, tenant, spare, accept_unknown=True),
            lambda store: store.revoke_user(
                issuer,
                user,
                tenant_id=tenant,
                except_session_handle=spare,
                accept_unknown_exception=True,
                attribution=OPS,
            ),
        )

    @rule(issuer=issuers, tenant=tenants.filter(bool))
    def revoke_tenant(self, issuer: str, tenant: str) -> None:
        self.write(
            lambda model: model.revoke_tenant(issuer, tenant),
            lambda store: store.revoke_tenant(issuer, tenant, OPS),
        )

    @rule(issuer=issuers, key=keys)
    def revoke_key(self, issuer: str, key: str) -> None:
        self.write(
            lambda model: model.revoke_key(issuer, key),
            lambda store: store.revoke_key(issuer, key, OPS, key_id=None),
        )

    @rule(issuer=issuers, named=st.lists(handles, min_size=1, max_size=3), user=users, tenant=tenants)
    def register(self, issuer: str, named: list[str], user: str, tenant: str) -> None:
        end = self.backend.clock.now + DAY
        batch = [Registration(issuer, handle, user, tenant, None, end) for handle in named]
        self.write(lambda model: model.register(batch), lambda store: store.register(batch))

    @rule(step=st.integers(-3, 3))
    def step_the_clock(self, step: int) -> None:
        self.backend.clock.now += step * SECOND

    @rule(days=st.sampled_from([1, 3, 40]), limit=st.integers(1, 5))
    def let_days_pass_and_compact(self, days: int, limit: int) -> None:
        self.compacted_after(days, limit)

    def compacted_after(self, days: int, limit: int) -> int:
        """How many entries were removed."""
        index = self.follower.index
        assert index is not None
        seen = index.revision
        self.backend.clock.now += days * DAY
        removed = self.model.compact()

        async def compact() -> tuple[list[LogEntry], list[LogEntry]]:
            before = await log_of(self.other)
            assert await compact_all(next(self.writers), limit) == removed
            return before, await log_of(self.other)

        self.note_removed(self.store_id, *self.runner.run(compact()), seen=seen)
        return removed.log_entries

    @rule()
    def forget(self) -> None:
        """An index that is half superfluous is renewed, and then has what the log has."""
        self.settle()
        old = self.follower.index
        assert old is not None
        # In one step: after the first of several the new index could be read already.
        if self.compacted_after(40, 1000) <= max(WORTH_FORGETTING, len(old) // 2):
            return
        self.skipped_seconds += RENEWAL_PAUSE_SECONDS

        async def renewed() -> RevocationIndex:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (index := self.follower.index) is None or index is old:
                    await self.let_it_read(Revision(self.store_id, self.model.head + 1))
            return index

        index = self.runner.run(renewed())
        [history] = self.histories[self.store_id]
        log = self.runner.run(log_of(self.other))
        assert {(kind, digest) for kind, some in index.digests() for digest in some} == set(
            subjects_of(history.salt, log)
        )
        self.settle()

    async def save(self) -> None:
        """A backup of the database; the model's beside it."""
        await self.backend.back_up()
        self.saved = copied(self.model)

    @rule()
    def back_up(self) -> None:
        self.runner.run(self.save())

    @rule(regrown=st.integers(0, 3))
    def restore(self, regrown: int) -> None:
        """The follower has to find out. It can as long as it stands beyond the backup."""
        self.settle()
        if self.saved.log[-1:] == self.model.log[-1:] and self.saved.head == self.model.head:
            return  # nothing is lost by it
        self.runner.run(self.restored(self.fresh_sessions(regrown)))

    async def restored(self, regrown: list[str]) -> None:
        """By a backup, to which those are revoked before anybody looks. It may be one that was restored before."""
        await self.backend.restore()
        self.model = copied(self.saved)
        if regrown:
            self.model.revoke_sessions(ISSUERS[0], regrown)
            await self.other.revoke_sessions(ISSUERS[0], regrown, OPS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.other.read_log(1, 1)).store_id in self.histories:
                await self.let_it_read(Revision(self.store_id, self.model.head + 1))
        await self.note_written()

    @rule(down=st.booleans(), failures=st.integers(0, 2))
    def lose_reads(self, down: bool, failures: int) -> None:
        self.source.down, self.source.failures = down, failures

    @rule()
    def hang(self) -> None:
        self.source.hold()

    @rule()
    def mend(self) -> None:
        self.source.mend()

    @rule(seconds=st.sampled_from([0.0, 0.01]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @rule()
    def settle(self) -> None:
        """Let everything come to rest; then everybody knows everything."""
        self.source.mend()
        for watcher in self.watchers:
            watcher.release()
        here, log = self.runner.run(self.at_rest())
        [history] = self.histories[here.store_id]
        self.check_at_rest(here, history.salt, log)
        self.check_index(history)

    async def at_rest(self) -> tuple[Revision, list[LogEntry]]:
        here = Revision(self.store_id, self.model.head)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.follower.index is None or self.follower.index.revision != here:
                await self.let_it_read(here)
            while any(watcher.delivered != here for watcher in self.watchers):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.001)
        return here, await log_of(self.other)

    async def let_it_read(self, wanted: Revision) -> None:
        """Not wait until it does by itself."""
        with suppress(RevisionNotReached, ForeignRevision):
            await self.follower.reach(wanted, 0.02)

    def check_index(self, history: History) -> None:
        """It refuses all that the log has, and nothing that it never had. What was removed it may have forgotten."""
        index = self.follower.index
        assert index is not None
        everything = replace(self.model, log=history.entries)
        for names in itertools.product(ISSUERS, (*HANDLES, ""), USERS, TENANTS, KEYS):
            subject = Subject(*names)
            least, most = (rank(model.facts(subject, "").coverage) for model in (self.model, everything))
            known = rank(index.coverage(subject))
            assert all(low <= here <= high for low, here, high in zip(least, known, most, strict=True)), subject


def copied(model: Model) -> Model:
    """As it is now, by the same clock."""
    return replace(model, sessions=dict(model.sessions), log=list(model.log))


def rank(coverage: Coverage) -> tuple[float, ...]:
    """The more is covered, the greater each is."""
    watermarks = (coverage.user_watermark, coverage.tenant_watermark)
    return coverage.session_revoked, coverage.key_revoked, *(-1 if each is None else each for each in watermarks)


def test_whoever_follows_a_store_knows_what_the_models_say(backends: Backends) -> None:
    class Machine(FeedOfStoreBesideModels):
        def __init__(self) -> None:
            super().__init__(backends)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=backends.examples // 2,
            stateful_step_count=40,
            deadline=None,  # a disk takes the time it takes
            # Not shrink: with databases that takes longer than a test may.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
