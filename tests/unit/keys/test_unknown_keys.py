"""When an issuer is asked, and whose answer counts: as deterministic interleavings."""

import asyncio

import pytest
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys.absent_keys import MAX_REMEMBERED
from sidegate_sidecar.keys.bucket import BURST, PAUSE_SECONDS

from tests.unit.keys.fake_time import settle
from tests.unit.keys.issuer_world import REFRESH, World, outcome

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
    await world.empty_bucket()
    assert outcome(await world.ask("stale")) == "old"
    await world.time.advance(PAUSE_SECONDS + 0.1)  # one token again, and the answer is older than a pause

    assert outcome(await world.ask("stale")) == "waiting"


async def test_a_flood_of_random_keys_costs_the_buckets_loads_and_a_fixed_memory(world: World) -> None:
    await world.empty_bucket()
    for number in range(3 * MAX_REMEMBERED):
        assert (await world.keys.key_set_with(f"random {number}")).generation == 1
    assert (await world.keys.key_set_with("x" * 10_000)).generation == 1

    assert world.issuer.asked == 1 + BURST
    assert len(world.keys._absent) == MAX_REMEMBERED  # pyright: ignore[reportPrivateUsage] - seen from nowhere else
