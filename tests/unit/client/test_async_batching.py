"""Micro-batching on an event loop: who travels together, and whom another's end does not hurt."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sidegate import CallFailed, ClientClosed, InvalidRequest, Verdict, VerificationUnavailable
from sidegate.async_batching import AsyncBatching
from sidegate.gathering import MAX_BATCH, MAX_WAITING
from sidegate.targets import Target
from sidegate.v1.verification_pb2 import BatchVerifyResponse, VerifyRequest

from tests.unit.client.wires import AsyncWire, error_of, user_of

UNAVAILABLE, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 14, 3, 8  # google.rpc.Code


class World:
    """Callers on one side, the wire on the other."""

    def __init__(self) -> None:
        self.wire = AsyncWire()
        self._batching = AsyncBatching(Target("unix:///sidecar"))

    def ask(self, token: str, *, seconds: float = 60.0, check_database: bool = False) -> "asyncio.Task[Verdict]":
        question = VerifyRequest(access_token=token, check_database=check_database)
        return asyncio.create_task(self._batching.ask(question, seconds, self.wire.run))


async def turns(count: int = 10) -> None:
    """Let everything happen that needs no time."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def empty_world(monkeypatch: pytest.MonkeyPatch) -> World:
    """In it no call ever takes long, whatever the machine does meanwhile."""
    monkeypatch.setattr("sidegate.gathering.SLOW_SECONDS", 3600.0)
    return World()


@pytest.fixture
async def world(empty_world: World) -> AsyncIterator[World]:
    """In this one somebody has left alone, in either lane, and is still on the way; so everybody else gathers."""
    others = [empty_world.ask("alone"), empty_world.ask("alone", check_database=True)]
    await empty_world.wire.arrival(1)
    empty_world.wire.arrivals.clear()
    yield empty_world
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_a_lone_caller_sends_one_verify_and_makes_no_task_and_no_batch(
    empty_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidegate.async_batching.Item", None)  # without one there is no batch
    for count in range(1, 4):
        asked = empty_world.ask(f"token-{count}")
        await turns()
        assert len(empty_world.wire.arrivals) == count
        arrival = empty_world.wire.arrivals[-1]
        assert (arrival.is_batch, arrival.tokens) == (False, [f"token-{count}"])
        assert 59 < arrival.seconds <= 60
        assert asyncio.all_tasks() == {asked, asyncio.current_task()}
        empty_world.wire.answer(arrival)
        assert user_of(await asked) == f"token-{count}"


async def test_whoever_asks_in_the_same_turn_as_a_lone_caller_does_not_wait_for_it(empty_world: World) -> None:
    asked = [empty_world.ask(token) for token in "abc"]
    await turns()
    assert [arrival.tokens for arrival in empty_world.wire.arrivals] == [["a"], ["b", "c"]]
    for arrival in empty_world.wire.arrivals:
        empty_world.wire.answer(arrival)
    assert [user_of(verdict) for verdict in await asyncio.gather(*asked)] == ["a", "b", "c"]


async def test_a_lone_caller_who_asks_again_joins_those_who_waited_behind_a_batch(empty_world: World) -> None:
    async def ask_twice() -> None:
        await empty_world.ask("a")
        await empty_world.ask("again")

    twice = asyncio.create_task(ask_twice())
    await turns()
    others = [empty_world.ask("b")]
    await turns()
    others.append(empty_world.ask("c"))
    await turns()
    alone, batch = empty_world.wire.arrivals
    empty_world.wire.answer(alone)
    await turns()
    assert len(empty_world.wire.arrivals) == 2
    empty_world.wire.answer(batch)
    await turns()
    assert [arrival.tokens for arrival in empty_world.wire.arrivals] == [["a"], ["b"], ["c", "again"]]
    empty_world.wire.answer(empty_world.wire.arrivals[2])
    await asyncio.gather(twice, *others)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_lone_call_that_comes_to_nothing_holds_up_nobody(empty_world: World, end: str) -> None:
    first = empty_world.ask("a")
    alone = await empty_world.wire.arrival(0)
    if end == "failed":
        empty_world.wire.fail(alone, VerificationUnavailable("nobody listens", code="UNAVAILABLE"))
    else:
        first.cancel()
    (outcome,) = await asyncio.gather(first, return_exceptions=True)
    assert isinstance(outcome, VerificationUnavailable | asyncio.CancelledError)
    assert empty_world.wire.was_cancelled(alone) is (end == "cancelled")
    after = empty_world.ask("b")
    await turns()
    assert empty_world.wire.arrivals[1].tokens == ["b"]
    empty_world.wire.answer(empty_world.wire.arrivals[1])
    assert user_of(await after) == "b"
    assert len(asyncio.all_tasks()) == 1


async def test_callers_of_one_turn_of_the_loop_leave_together(world: World) -> None:
    asked = [world.ask(token) for token in "abc"]
    await turns()
    (arrival,) = world.wire.arrivals
    assert (arrival.is_batch, arrival.tokens) == (True, ["a", "b", "c"])
    world.wire.answer(arrival)
    assert [user_of(verdict) for verdict in await asyncio.gather(*asked)] == ["a", "b", "c"]


async def test_callers_who_come_while_a_call_is_in_flight_leave_together_when_it_is_back(world: World) -> None:
    first = world.ask("a")
    await turns()
    others: list[asyncio.Task[Verdict]] = []
    for token in "bcd":
        others.append(world.ask(token))
        await turns(2)
    assert len(world.wire.arrivals) == 1
    world.wire.answer(world.wire.arrivals[0])
    assert user_of(await first) == "a"
    assert (await world.wire.arrival(1)).tokens == ["b", "c", "d"]
    world.wire.answer(world.wire.arrivals[1])
    assert [user_of(verdict) for verdict in await asyncio.gather(*others)] == ["b", "c", "d"]


async def test_who_asks_again_on_its_answer_travels_with_those_who_waited(world: World) -> None:
    async def ask_twice() -> None:
        await world.ask("a")
        await world.ask("again")

    twice = asyncio.create_task(ask_twice())
    await turns()
    waiting = world.ask("b")
    await turns()
    world.wire.answer(world.wire.arrivals[0])
    second = await world.wire.arrival(1)
    assert "b" in second.tokens
    world.wire.answer(second)
    await waiting
    if "again" not in second.tokens:
        world.wire.answer(await world.wire.arrival(2))
    await twice


async def test_more_than_256_leave_in_several_batches(world: World) -> None:
    asked = [world.ask(str(number)) for number in range(MAX_BATCH + 1)]
    first = await world.wire.arrival(0)
    assert len(first.tokens) == MAX_BATCH
    world.wire.answer(first)
    second = await world.wire.arrival(1)
    assert second.tokens == [str(MAX_BATCH)]
    world.wire.answer(second)
    verdicts = await asyncio.gather(*asked)
    assert [user_of(verdict) for verdict in verdicts] == [str(number) for number in range(MAX_BATCH + 1)]


async def test_questions_for_the_database_travel_by_themselves(world: World) -> None:
    slow = [world.ask(token, check_database=True) for token in "ab"]
    plain = world.ask("c")
    await turns()
    assert [arrival.tokens for arrival in world.wire.arrivals] == [["a", "b"], ["c"]] or [
        arrival.tokens for arrival in world.wire.arrivals
    ] == [["c"], ["a", "b"]]
    for arrival in world.wire.arrivals:
        if arrival.tokens == ["c"]:
            world.wire.answer(arrival)
    assert user_of(await plain) == "c"
    again = world.ask("d")
    await turns()
    assert world.wire.arrivals[-1].tokens == ["d"]
    for task in (*slow, again):
        task.cancel()


async def test_tokens_of_a_key_that_may_be_unknown_travel_by_themselves(world: World) -> None:
    stranger, plain = world.ask("stranger.a.b"), world.ask("plain")
    held, arrival = await world.wire.arrival(0), await world.wire.arrival(1)
    assert (held.tokens, arrival.tokens) == (["stranger.a.b"], ["plain"])
    world.wire.answer(arrival)
    assert user_of(await plain) == "plain"
    world.wire.answer(held)
    assert user_of(await stranger) == "stranger.a.b"
    known, plain = world.ask("stranger.c.d"), world.ask("plain")
    together = await world.wire.arrival(2)
    assert together.tokens == ["stranger.c.d", "plain"]
    world.wire.answer(together)
    await asyncio.gather(known, plain)


async def test_one_bad_item_does_not_hurt_its_neighbours(world: World) -> None:
    good, bad, wrong = (world.ask(token) for token in ("good", "bad", "wrong"))
    arrival = await world.wire.arrival(0)
    world.wire.answer(
        arrival,
        {
            "bad": error_of(RESOURCE_EXHAUSTED, "OVERLOADED"),
            "wrong": error_of(INVALID_ARGUMENT, "INVALID_FIELD", {"field": "accepted_audiences[0]"}),
        },
    )
    assert user_of(await good) == "good"
    with pytest.raises(VerificationUnavailable) as unavailable:
        await bad
    assert (unavailable.value.code, unavailable.value.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    with pytest.raises(InvalidRequest) as invalid:
        await wrong
    assert invalid.value.field == "accepted_audiences[0]"


@pytest.mark.parametrize(
    ("code", "reason"), [(UNAVAILABLE, "KEYS_UNAVAILABLE"), (RESOURCE_EXHAUSTED, "BATCH_BUDGET_SPENT")]
)
async def test_an_item_that_may_be_decided_a_moment_later_is_asked_again(world: World, code: int, reason: str) -> None:
    good, undecided = world.ask("good"), world.ask("undecided")
    world.wire.answer(await world.wire.arrival(0), {"undecided": error_of(code, reason)})
    assert user_of(await good) == "good"
    again = await world.wire.arrival(1)
    assert again.tokens == ["undecided"]
    world.wire.answer(again)
    assert user_of(await undecided) == "undecided"


@pytest.mark.parametrize(
    "error",
    [VerificationUnavailable("nobody listens", code="UNAVAILABLE"), ClientClosed("closed"), RuntimeError("a fault")],
    ids=lambda error: type(error).__name__,
)
async def test_the_end_of_a_call_is_told_to_everybody_aboard(world: World, error: Exception) -> None:
    asked = [world.ask(token) for token in "abc"]
    world.wire.fail(await world.wire.arrival(0), error)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(error)] * 3
    assert [str(outcome) for outcome in outcomes] == [str(error)] * 3
    after = world.ask("d")
    world.wire.answer(await world.wire.arrival(1))
    assert user_of(await after) == "d"


@pytest.mark.parametrize(
    "answer",
    [BatchVerifyResponse().SerializeToString(), b"\xff"],
    ids=["too few results", "no message"],
)
async def test_an_answer_that_breaks_the_contract_is_nobodys_verdict(world: World, answer: bytes) -> None:
    asked = [world.ask(token) for token in "ab"]
    world.wire.answer_with(await world.wire.arrival(0), answer)
    for task in asked:
        with pytest.raises(VerificationUnavailable) as caught:
            await task
        assert caught.value.code == "INTERNAL"


async def test_a_batch_may_take_as_long_as_its_most_patient_caller(world: World) -> None:
    asked = [world.ask("a", seconds=20), world.ask("b", seconds=50), world.ask("c", seconds=30)]
    arrival = await world.wire.arrival(0)
    assert 49 < arrival.seconds <= 50
    world.wire.answer(arrival)
    await asyncio.gather(*asked)


async def test_who_runs_out_of_time_gets_no_answer_and_the_others_get_theirs(world: World) -> None:
    hurried, patient = world.ask("hurried", seconds=0.02), world.ask("patient")
    arrival = await world.wire.arrival(0)
    with pytest.raises(VerificationUnavailable) as caught:
        await hurried
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert str(caught.value) == "DEADLINE_EXCEEDED: unix:///sidecar: no answer in time"
    world.wire.answer(arrival)
    assert user_of(await patient) == "patient"


async def test_who_runs_out_of_time_before_departure_is_not_sent(world: World) -> None:
    first = world.ask("first")
    await turns()
    hurried, patient = world.ask("hurried", seconds=0.001), world.ask("patient")
    with pytest.raises(VerificationUnavailable):
        await hurried
    world.wire.answer(world.wire.arrivals[0])
    await first
    second = await world.wire.arrival(1)
    assert second.tokens == ["patient"]
    world.wire.answer(second)
    await patient


@pytest.mark.parametrize("hurry", [(0.02, 0.04, 60.0), (60.0, 0.04, 0.02)], ids=["first", "last"])
async def test_each_runs_out_of_time_in_turn_whoever_came_first(world: World, hurry: tuple[float, ...]) -> None:
    asked = {seconds: world.ask(f"within {seconds * 1000:.0f} ms", seconds=seconds) for seconds in hurry}
    await world.wire.arrival(0)
    for seconds in (0.02, 0.04):
        with pytest.raises(VerificationUnavailable) as caught:
            await asked[seconds]
        assert caught.value.code == "DEADLINE_EXCEEDED"
    assert not asked[60.0].done()
    world.wire.answer(world.wire.arrivals[0])
    assert user_of(await asked[60.0]) == "within 60000 ms"


async def test_a_cancelled_caller_does_not_hurt_the_others(world: World) -> None:
    one, other = world.ask("one"), world.ask("other")
    arrival = await world.wire.arrival(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert world.wire.is_open(arrival)
    world.wire.answer(arrival)
    assert user_of(await other) == "other"


async def test_a_call_that_nobody_waits_for_any_more_is_cancelled(world: World) -> None:
    asked = [world.ask(token) for token in "ab"]
    arrival = await world.wire.arrival(0)
    for task in asked:
        assert not world.wire.was_cancelled(arrival)
        task.cancel()
        await turns()
    assert world.wire.was_cancelled(arrival)
    after = world.ask("c")
    world.wire.answer(await world.wire.arrival(1))
    assert user_of(await after) == "c"


async def test_a_call_that_somebody_else_cancelled_leaves_nobody_waiting(world: World) -> None:
    before = asyncio.all_tasks()
    asked = [world.ask(token) for token in "ab"]
    await world.wire.arrival(0)
    (carrier,) = asyncio.all_tasks() - before - {*asked}
    carrier.cancel()
    for task in asked:
        with pytest.raises(VerificationUnavailable) as caught:
            await task
        assert caught.value.code == "CANCELLED"


async def test_a_slow_call_does_not_hold_up_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.gathering.SLOW_SECONDS", 0.01)
    slow = world.ask("slow")
    await world.wire.arrival(0)
    following = world.ask("following")
    world.wire.answer(await world.wire.arrival(1))
    assert user_of(await following) == "following"
    assert world.wire.is_open(world.wire.arrivals[0])
    world.wire.answer(world.wire.arrivals[0])
    await slow


async def test_beyond_the_bound_a_caller_is_refused_at_once(world: World) -> None:
    asked = [world.ask(str(number)) for number in range(MAX_WAITING + 1)]
    await turns(2)
    with pytest.raises(VerificationUnavailable) as caught:
        await asked[-1]
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.booleans()),
        st.tuples(st.just("answer"), st.integers(0, 5)),
        st.tuples(st.just("answer, some items failing"), st.integers(0, 5)),
        st.tuples(st.just("fail"), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=STEPS)
def test_whatever_the_interleaving_everybody_gets_the_answer_to_their_own_question(
    steps: list[tuple[str, int | bool]],
) -> None:
    async def play() -> None:
        world, asked = World(), dict[str, asyncio.Task[Verdict]]()
        for step, number in steps:
            calls = [arrival for arrival in world.wire.arrivals if world.wire.is_open(arrival)]
            match step:
                case "ask":
                    token = f"token-{len(asked)}"
                    asked[token] = world.ask(token, check_database=bool(number))
                case "cancel" if asked:
                    list(asked.values())[number % len(asked)].cancel()
                case "answer" if calls:
                    world.wire.answer(calls[number % len(calls)])
                case "answer, some items failing" if calls:
                    call = calls[number % len(calls)]
                    failing = {token: error_of(RESOURCE_EXHAUSTED, "OVERLOADED") for token in call.tokens[::2]}
                    world.wire.answer(call, failing)
                case "fail" if calls:
                    world.wire.fail(calls[number % len(calls)], VerificationUnavailable("no", code="INTERNAL"))
                case _:
                    await turns(int(number))
        while not all(task.done() for task in asked.values()):
            for arrival in world.wire.arrivals:
                if world.wire.is_open(arrival):
                    world.wire.answer(arrival)
            await turns()
        for token, task in asked.items():
            if not task.cancelled() and not isinstance(task.exception(), CallFailed):
                assert user_of(task.result()) == token
        sent = [token for arrival in world.wire.arrivals for token in arrival.tokens]
        assert len(sent) == len(set(sent))

    asyncio.run(play())


async def test_a_call_that_was_given_up_before_it_began_holds_up_nobody(world: World) -> None:
    given_up = world.ask("a")
    await asyncio.sleep(0)  # it has asked, and its question leaves in the same turn in which it is cancelled
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    following = world.ask("b")
    await turns()
    assert [arrival.tokens for arrival in world.wire.arrivals] == [["b"]]
    world.wire.answer(world.wire.arrivals[0])
    assert user_of(await following) == "b"
