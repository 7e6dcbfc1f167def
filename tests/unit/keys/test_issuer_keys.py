"""When an issuer is asked, whose answer counts, and how long a set lives: as deterministic interleavings."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys.absent_keys import MAX_REMEMBERED
from sidegate_sidecar.keys.bucket import BURST, PAUSE_SECONDS
from sidegate_sidecar.keys.issuer_keys import IssuerKeys
from sidegate_sidecar.keys.jwks import DroppedMember, JwksContent
from sidegate_sidecar.keys.loading import Loaded, LoadFailed
from sidegate_sidecar.model import KeySet
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from tests.unit.keys.fake_time import FakeTime, settle
from tests.unit.keys.key_material import named_keys

REFRESH = 300.0
RETRY = 7.0
OUTAGE_CAP = 3600.0


class FakeIssuer:
    """A loader that answers when, and what, the test says."""

    def __init__(self) -> None:
        self.asked = 0
        self._answer: asyncio.Future[Loaded] | None = None

    async def load(self) -> Loaded:
        assert self._answer is None, "two loads at a time"
        self.asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        try:
            return await self._answer
        finally:
            self._answer = None

    def retry_in(self, failures: int) -> float:
        return RETRY * failures

    async def answer(self, *key_ids: str, content: JwksContent | None = None) -> None:
        assert self._answer is not None, "nobody asks"
        self._answer.set_result(Loaded(content or named_keys(*key_ids), REFRESH))
        await settle()

    async def fail(self, error: Exception | None = None) -> None:
        assert self._answer is not None, "nobody asks"
        self._answer.set_exception(error or LoadFailed("the server answered 503"))
        await settle()

    @property
    def being_asked(self) -> bool:
        return self._answer is not None


class World:
    """An issuer's keys with all that surrounds them under control."""

    def __init__(self, *, unknown_key_wait: float = 60.0) -> None:
        self.time = FakeTime()
        self.issuer = FakeIssuer()
        self.changes: list[KeySet] = []
        self.captured = CapturingLogger()
        log: FilteringBoundLogger = structlog.wrap_logger(self.captured, processors=[])
        self.keys = IssuerKeys(
            "issuer",
            self.issuer,
            outage_cap=OUTAGE_CAP,
            keeper=None,
            clocks=self.time.clocks(),
            log=log,
            on_change=lambda _issuer, key_set: self.changes.append(key_set),
            unknown_key_wait=unknown_key_wait,
        )
        self._asking: list[asyncio.Task[KeySet]] = []

    async def start(self, *key_ids: str) -> None:
        starting = asyncio.create_task(self.keys.start())
        await settle()
        await self.issuer.answer(*key_ids)
        await starting

    async def ask(self, key_id: str) -> asyncio.Task[KeySet]:
        task = asyncio.create_task(self.keys.key_set_with(key_id))
        self._asking.append(task)
        await settle()
        return task

    async def ask_in_vain(self, key_id: str) -> None:
        """Ask for a key; the issuer answers with what it had."""
        task = await self.ask(key_id)
        await self.issuer.answer("old")
        assert set((await task).by_id) == {"old"}

    async def empty_bucket(self) -> None:
        for number in range(BURST):
            await self.ask_in_vain(f"emptying {number}")

    def logged(self, event: str) -> list[dict[str, object]]:
        return [call.kwargs for call in self.captured.calls if call.kwargs["event"] == event]

    async def close(self) -> None:
        await self.keys.close()
        await asyncio.gather(*self._asking, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start("old")
    yield world
    await world.close()


def outcome(task: asyncio.Task[KeySet]) -> str:
    """What came of asking, at once."""
    if not task.done():
        return "waiting"
    if task.exception() is not None:
        assert isinstance(task.exception(), KeysUnavailable)
        return "unavailable"
    return " ".join(sorted(task.result().by_id))


# Whose answer counts.


async def test_a_known_key_costs_no_load(world: World) -> None:
    assert outcome(await world.ask("old")) == "old"
    assert world.issuer.asked == 1


async def test_an_unknown_key_waits_for_a_load_of_its_own(world: World) -> None:
    task = await world.ask("new")
    assert outcome(task) == "waiting"

    await world.issuer.answer("old", "new")

    assert outcome(task) == "new old"


async def test_a_set_without_the_key_is_the_answer_of_an_issuer_that_was_asked(world: World) -> None:
    task = await world.ask("new")

    await world.issuer.answer("old")

    assert outcome(task) == "old"
    assert world.issuer.asked == 2


async def test_a_load_under_way_when_the_call_arrives_does_not_prove_absence(world: World) -> None:
    await world.time.advance(REFRESH)
    assert world.issuer.being_asked

    task = await world.ask("new")
    await world.issuer.answer("old")

    assert outcome(task) == "waiting"
    assert world.issuer.asked == 3
    await world.issuer.answer("old", "new")
    assert outcome(task) == "new old"


async def test_a_load_under_way_when_the_call_arrives_may_bring_the_key(world: World) -> None:
    await world.time.advance(REFRESH)

    task = await world.ask("new")
    await world.issuer.answer("old", "new")

    assert outcome(task) == "new old"
    assert world.issuer.asked == 2


async def test_all_who_wait_share_one_load(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(world.keys.key_set_with(f"new {number}")) for number in range(50)]
        await settle()
        await world.issuer.answer("old", "new 7")

    assert {outcome(task) for task in tasks} == {"new 7 old"}
    assert world.issuer.asked == 2


async def test_all_who_arrive_during_a_load_share_the_next_one(world: World) -> None:
    await world.ask("new")
    tasks = [await world.ask(f"new {number}") for number in range(50)]

    await world.issuer.answer("old")
    assert {outcome(task) for task in tasks} == {"waiting"}
    await world.issuer.answer("old")

    assert {outcome(task) for task in tasks} == {"old"}
    assert world.issuer.asked == 3


async def test_an_issuer_that_fails_proves_nothing(world: World) -> None:
    task = await world.ask("new")

    await world.issuer.fail()

    assert outcome(task) == "unavailable"
    assert world.issuer.asked == 2


async def test_an_issuer_that_answers_too_late_proves_nothing() -> None:
    world = World(unknown_key_wait=0.01)
    await world.start("old")

    with pytest.raises(KeysUnavailable):
        await world.keys.key_set_with("new")

    await world.close()


async def test_a_caller_who_gives_up_does_not_end_the_load_of_the_others(world: World) -> None:
    impatient, patient = await world.ask("new"), await world.ask("old too")
    impatient.cancel()
    await settle()

    await world.issuer.answer("old")
    await world.issuer.answer("old", "old too")

    assert impatient.cancelled()
    assert outcome(patient) == "old old too"


# The bucket.


async def test_while_the_bucket_is_empty_an_answer_of_within_its_pause_counts(world: World) -> None:
    await world.empty_bucket()

    assert outcome(await world.ask("new")) == "old"
    assert world.issuer.asked == 1 + BURST


async def test_while_the_bucket_is_empty_an_issuer_that_failed_last_proves_nothing(world: World) -> None:
    for number in range(BURST - 1):
        await world.ask_in_vain(f"emptying {number}")
    await world.ask("new")
    await world.issuer.fail()

    assert outcome(await world.ask("newer")) == "unavailable"
    assert world.issuer.asked == 1 + BURST


async def test_while_the_bucket_is_empty_a_load_under_way_is_waited_for(world: World) -> None:
    for number in range(BURST - 1):
        await world.ask_in_vain(f"emptying {number}")
    first, second = await world.ask("new"), await world.ask("new")

    assert (outcome(first), outcome(second)) == ("waiting", "waiting")
    await world.issuer.answer("old", "new")
    assert (outcome(first), outcome(second)) == ("new old", "new old")


async def test_a_pause_later_the_issuer_is_asked_once_more(world: World) -> None:
    await world.empty_bucket()
    await world.time.advance(PAUSE_SECONDS)

    task = await world.ask("new")
    assert outcome(task) == "waiting"
    await world.issuer.answer("old")

    assert outcome(task) == "old"
    assert outcome(await world.ask("newer")) == "old"
    assert world.issuer.asked == 1 + BURST + 1


async def test_the_bucket_never_holds_more_than_its_burst(world: World) -> None:
    await world.time.advance(REFRESH - 1)
    await world.empty_bucket()

    assert outcome(await world.ask("new")) == "old"


# The negative memory.


async def test_a_key_found_absent_before_does_not_spend_the_last_token(world: World) -> None:
    await world.ask_in_vain("stale")
    await world.ask_in_vain("stale")

    assert outcome(await world.ask("stale")) == "old"

    assert world.issuer.asked == 1 + 2
    task = await world.ask("new")
    await world.issuer.answer("old", "new")
    assert outcome(task) == "new old"


async def test_a_key_found_absent_before_is_found_as_soon_as_it_is_published(world: World) -> None:
    await world.ask_in_vain("new")

    task = await world.ask("new")
    await world.issuer.answer("old", "new")

    assert outcome(task) == "new old"


async def test_the_last_token_is_spent_where_no_recent_answer_stands_in(world: World) -> None:
    await world.ask_in_vain("stale")
    await world.ask_in_vain("stale")
    await world.time.advance(PAUSE_SECONDS - 0.1)
    assert outcome(await world.ask("stale")) == "old"
    await world.time.advance(0.2)  # two tokens again, and the answer is older than a pause

    assert outcome(await world.ask("stale")) == "waiting"


async def test_a_flood_of_random_keys_costs_the_buckets_loads_and_a_fixed_memory(world: World) -> None:
    await world.empty_bucket()
    for number in range(3 * MAX_REMEMBERED):
        assert (await world.keys.key_set_with(f"random {number}")).generation == 1
    assert (await world.keys.key_set_with("x" * 10_000)).generation == 1

    assert world.issuer.asked == 1 + BURST
    assert len(world.keys._absent) == MAX_REMEMBERED  # pyright: ignore[reportPrivateUsage] - seen from nowhere else


# How long a set lives.


async def test_without_a_first_answer_there_are_no_keys() -> None:
    world = World()
    starting = asyncio.create_task(world.keys.start())
    await settle()
    await world.issuer.fail()
    await starting

    with pytest.raises(KeysUnavailable):
        world.keys.key_set()
    assert world.keys.status().last_error == "the server answered 503"
    assert world.keys.status().age is None
    await world.close()


async def test_the_last_good_set_serves_up_to_the_outage_cap_and_no_longer(world: World) -> None:
    await world.time.advance(REFRESH)
    await world.issuer.fail()
    await world.time.advance(OUTAGE_CAP - REFRESH)
    assert world.keys.key_set().generation == 1
    assert world.keys.status().age == 3_600_000_000

    await world.time.advance(0.001)

    with pytest.raises(KeysUnavailable):
        world.keys.key_set()
    assert outcome(await world.ask("old")) == "waiting"
    await world.issuer.answer("old")
    assert world.keys.key_set().generation == 1


async def test_keys_are_refreshed_when_the_loader_says_and_retried_ever_later(world: World) -> None:
    for failures in range(1, 4):
        await world.time.advance(world.time.slept[-1])
        await world.issuer.fail()
        assert world.time.slept[-1] == RETRY * failures

    await world.time.advance(world.time.slept[-1])
    await world.issuer.answer("old")

    assert world.time.slept[-1] == REFRESH
    assert [call["error"] for call in world.logged("keys not loaded")] == ["the server answered 503"]


async def test_a_refresh_that_comes_due_during_a_load_joins_it(world: World) -> None:
    await world.ask("new")

    await world.time.advance(REFRESH)

    assert world.issuer.asked == 2


async def test_a_fault_of_our_own_does_not_end_refreshing(world: World) -> None:
    await world.time.advance(REFRESH)
    await world.issuer.fail(RuntimeError("Authorization: secret"))

    await world.time.advance(RETRY)

    assert world.issuer.being_asked
    assert "secret" not in world.keys.status().last_error + str(world.captured.calls)


async def test_a_withdrawn_key_is_gone_after_the_refresh_and_a_new_one_is_there(world: World) -> None:
    await world.time.advance(REFRESH)
    await world.issuer.answer("new")

    assert set(world.keys.key_set().by_id) == {"new"}


# Generations.


async def test_the_generation_grows_by_one_with_each_change_and_not_with_each_load(world: World) -> None:
    for key_ids in [("old",), ("old", "new"), ("new", "old"), ("new",), ("old",)]:
        await world.time.advance(REFRESH)
        await world.issuer.answer(*key_ids)

    assert [(change.generation, set(change.by_id)) for change in world.changes] == [
        (1, {"old"}),
        (2, {"old", "new"}),
        (3, {"new"}),
        (4, {"old"}),
    ]


async def test_a_key_that_changes_under_its_name_is_a_change(world: World) -> None:
    (key,) = named_keys("another").keys
    renamed = type(key)("old", key.algorithms, key.thumbprint, key.public_key)

    await world.time.advance(REFRESH)
    await world.issuer.answer(content=JwksContent((renamed,)))

    assert world.keys.key_set().generation == 2


async def test_a_dropped_member_is_logged_once_and_not_at_each_refresh(world: World) -> None:
    bad = DroppedMember(1, "enc", "its use is not sig")
    for _ in range(3):
        await world.time.advance(REFRESH)
        await world.issuer.answer(content=JwksContent(named_keys("old").keys, (bad,)))

    assert [call["key_id"] for call in world.logged("key dropped")] == ["enc"]


async def test_a_set_full_of_dropped_members_does_not_fill_the_log(world: World) -> None:
    bad = tuple(DroppedMember(position, "", "its use is not sig") for position in range(256))
    await world.time.advance(REFRESH)
    await world.issuer.answer(content=JwksContent(named_keys("old").keys, bad))

    assert len(world.logged("key dropped")) == 16
    assert [call["count"] for call in world.logged("more keys dropped")] == [240]


# The end.


async def test_closing_tells_those_who_wait_that_nobody_could_say(world: World) -> None:
    task = await world.ask("new")

    await world.keys.close()
    await settle()

    assert outcome(task) == "unavailable"
    assert outcome(await world.ask("newer")) == "unavailable"
