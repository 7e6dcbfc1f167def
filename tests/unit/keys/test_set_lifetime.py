"""How long a key set lives, when it is refreshed, and what counts as a change."""

import asyncio

import pytest
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys.jwks import DroppedMember, JwksContent

from tests.unit.keys.fake_time import settle
from tests.unit.keys.issuer_world import OUTAGE_CAP, REFRESH, RETRY, RETRY_WITHOUT_KEYS, World, outcome
from tests.unit.keys.key_material import named_keys

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
    assert [call["error"] for call in world.logged("keys_not_loaded")] == ["the server answered 503"]


async def test_an_issuer_down_at_start_is_asked_often_until_it_has_answered_once() -> None:
    world = World()
    starting = asyncio.create_task(world.keys.start())
    await settle()
    await world.issuer.fail()
    await starting
    for _ in range(3):
        assert world.time.slept[-1] == RETRY_WITHOUT_KEYS
        await world.time.advance(RETRY_WITHOUT_KEYS)
        await world.issuer.fail()

    await world.time.advance(RETRY_WITHOUT_KEYS)
    await world.issuer.answer("first")
    await world.time.advance(REFRESH)
    await world.issuer.fail()

    assert world.time.slept[-1] == RETRY
    await world.close()


async def test_while_there_are_no_keys_at_all_the_log_says_so_again_once_a_minute() -> None:
    world = World()
    starting = asyncio.create_task(world.keys.start())
    await settle()
    await world.issuer.fail()
    await starting
    assert len(world.logged("keys_not_loaded")) == 1

    for seconds, lines in [(59.0, 1), (1.0, 2), (59.0, 2), (1.0, 3)]:
        await world.time.advance(seconds)
        await world.ask("any")
        await world.issuer.fail()
        assert len(world.logged("keys_not_loaded")) == lines
    await world.close()


async def test_an_issuer_that_fails_while_its_last_keys_serve_is_logged_once(world: World) -> None:
    for _ in range(3):
        await world.time.advance(REFRESH)
        await world.issuer.fail()

    assert len(world.logged("keys_not_loaded")) == 1


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

    assert [call["key_id"] for call in world.logged("key_dropped")] == ["enc"]


async def test_a_set_full_of_dropped_members_does_not_fill_the_log(world: World) -> None:
    bad = tuple(DroppedMember(position, "", "its use is not sig") for position in range(256))
    await world.time.advance(REFRESH)
    await world.issuer.answer(content=JwksContent(named_keys("old").keys, bad))

    assert len(world.logged("key_dropped")) == 16
    assert [call["count"] for call in world.logged("more_keys_dropped")] == [240]


# The end.


async def test_closing_tells_those_who_wait_that_nobody_could_say(world: World) -> None:
    task = await world.ask("new")

    await world.keys.close()
    await settle()

    assert outcome(task) == "unavailable"
    assert outcome(await world.ask("newer")) == "unavailable"
