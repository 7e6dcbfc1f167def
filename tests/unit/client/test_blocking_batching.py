"""Micro-batching between threads: one leads, the others follow, and nobody depends on another's patience."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sidegate import ClientClosed, InvalidRequest, Verdict, VerificationUnavailable
from sidegate.blocking_batching import BlockingBatching
from sidegate.gathering import MAX_WAITING
from sidegate.targets import Target
from sidegate.v1.verification_pb2 import VerifyRequest

from tests.unit.client.wires import PATIENCE_SECONDS, BlockingWire, error_of, user_of

UNAVAILABLE, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 14, 3, 8  # google.rpc.Code


class World:
    """Callers on one side, each a thread, and the wire on the other."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.wire = BlockingWire()
        self._pool = pool
        self._batching = BlockingBatching(Target("unix:///sidecar"))

    def ask(self, token: str, *, seconds: float = 60.0, check_database: bool = False) -> "Future[Verdict]":
        question = VerifyRequest(access_token=token, check_database=check_database)
        return self._pool.submit(self._batching.ask, question, seconds, self.wire.run)

    def ask_and_wait(self, token: str, *, seconds: float = 60.0) -> "Future[Verdict]":
        """Ask while a call is in flight, and return once the question waits for the next."""
        lane: Any = vars(self._batching)["_lanes"].prompt
        waiting: dict[object, None] = lane._lane._waiting
        before = len(waiting)
        asked = self.ask(token, seconds=seconds)
        patience = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / 0.001)):
            if len(waiting) > before:
                return asked
            patience.wait(0.001)
        raise AssertionError("the question never came to wait")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture
def empty_world(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> World:
    """In it no call ever takes long, whatever the machine does meanwhile."""
    monkeypatch.setattr("sidegate.gathering.SLOW_SECONDS", 3600.0)
    return World(pool)


@pytest.fixture
def world(empty_world: World) -> Iterator[World]:
    """In this one somebody has left alone, in either lane, and is still on the way; so everybody else gathers."""
    empty_world.ask("alone")
    empty_world.wire.arrival(0)
    empty_world.ask("alone", check_database=True)
    empty_world.wire.arrival(1)
    alone = list(empty_world.wire.arrivals)
    empty_world.wire.arrivals.clear()
    yield empty_world
    for arrival in alone:
        empty_world.wire.answer(arrival)


def result(asked: "Future[Verdict]") -> str:
    return user_of(asked.result(PATIENCE_SECONDS))


def failure(asked: "Future[Verdict]") -> BaseException | None:
    return asked.exception(PATIENCE_SECONDS)


def test_a_lone_caller_sends_one_verify_and_makes_no_batch(empty_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.blocking_batching.Item", None)  # without one there is no batch
    for count in range(3):
        asked = empty_world.ask(f"token-{count}")
        arrival = empty_world.wire.arrival(count)
        assert (arrival.is_batch, arrival.tokens) == (False, [f"token-{count}"])
        assert arrival.seconds <= 60
        empty_world.wire.answer(arrival)
        assert result(asked) == f"token-{count}"
    assert len(empty_world.wire.arrivals) == 3


def test_whoever_comes_after_a_lone_caller_does_not_wait_for_it(empty_world: World) -> None:
    first = empty_world.ask("a")
    alone = empty_world.wire.arrival(0)
    second = empty_world.ask("b")
    empty_world.wire.answer(empty_world.wire.arrival(1))
    assert result(second) == "b"
    empty_world.wire.answer(alone)
    assert result(first) == "a"


@pytest.mark.parametrize("error", [ClientClosed("closed"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_a_lone_call_that_comes_to_nothing_holds_up_nobody(empty_world: World, error: BaseException) -> None:
    first = empty_world.ask("a")
    empty_world.wire.fail(empty_world.wire.arrival(0), error)
    assert type(failure(first)) is type(error)
    after = empty_world.ask("b")
    arrival = empty_world.wire.arrival(1)
    assert arrival.tokens == ["b"]
    empty_world.wire.answer(arrival)
    assert result(after) == "b"


def test_callers_who_come_while_a_call_is_in_flight_leave_together_when_it_is_back(world: World) -> None:
    first = world.ask("a")
    arrival = world.wire.arrival(0)
    others = [world.ask_and_wait(token) for token in "bcd"]
    world.wire.answer(arrival)
    assert result(first) == "a"
    batch = world.wire.arrival(1)
    assert (batch.is_batch, batch.tokens) == (True, ["b", "c", "d"])
    world.wire.answer(batch)
    assert [result(other) for other in others] == ["b", "c", "d"]


def test_questions_for_the_database_travel_by_themselves(world: World) -> None:
    slow = world.ask("a", check_database=True)
    world.wire.arrival(0)
    plain = world.ask("b")
    world.wire.answer(world.wire.arrival(1))
    assert result(plain) == "b"
    world.wire.answer(world.wire.arrival(0))
    assert result(slow) == "a"


def test_tokens_of_a_key_that_may_be_unknown_travel_by_themselves(world: World) -> None:
    stranger = world.ask("stranger.a.b")
    held = world.wire.arrival(0)
    plain = world.ask("plain")
    world.wire.answer(world.wire.arrival(1))
    assert result(plain) == "plain"
    world.wire.answer(held)
    assert result(stranger) == "stranger.a.b"
    known = world.ask("stranger.c.d")  # whose key is known now
    world.wire.arrival(2)
    following = world.ask_and_wait("also plain")
    world.wire.answer(world.wire.arrival(2))
    world.wire.answer(world.wire.arrival(3))
    assert (result(known), result(following)) == ("stranger.c.d", "also plain")


def test_one_bad_item_does_not_hurt_its_neighbours(world: World) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    good, bad, wrong = (world.ask_and_wait(token) for token in ("good", "bad", "wrong"))
    world.wire.answer(arrival)
    world.wire.answer(
        world.wire.arrival(1),
        {
            "bad": error_of(RESOURCE_EXHAUSTED, "OVERLOADED"),
            "wrong": error_of(INVALID_ARGUMENT, "INVALID_FIELD", {"field": "accepted_audiences[0]"}),
        },
    )
    assert (result(first), result(good)) == ("first", "good")
    overloaded, invalid = failure(bad), failure(wrong)
    assert isinstance(overloaded, VerificationUnavailable)
    assert overloaded.reason == "OVERLOADED"
    assert isinstance(invalid, InvalidRequest)
    assert invalid.field == "accepted_audiences[0]"


@pytest.mark.parametrize(
    ("code", "reason"), [(UNAVAILABLE, "KEYS_UNAVAILABLE"), (RESOURCE_EXHAUSTED, "BATCH_BUDGET_SPENT")]
)
def test_an_item_that_may_be_decided_a_moment_later_is_asked_again(world: World, code: int, reason: str) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    good, undecided = (world.ask_and_wait(token) for token in ("good", "undecided"))
    world.wire.answer(arrival)
    world.wire.answer(world.wire.arrival(1), {"undecided": error_of(code, reason)})
    assert (result(first), result(good)) == ("first", "good")
    again = world.wire.arrival(2)
    assert again.tokens == ["undecided"]
    world.wire.answer(again)
    assert result(undecided) == "undecided"


@pytest.mark.parametrize(
    "error",
    [VerificationUnavailable("nobody listens", code="UNAVAILABLE"), ClientClosed("closed"), RuntimeError("a fault")],
    ids=lambda error: type(error).__name__,
)
def test_the_end_of_a_call_is_told_to_everybody_aboard(world: World, error: Exception) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    others = [world.ask_and_wait(token) for token in "abc"]
    world.wire.answer(arrival)
    world.wire.fail(world.wire.arrival(1), error)
    assert result(first) == "first"
    assert [type(failure(other)) for other in others] == [type(error)] * 3
    after = world.ask("after")
    world.wire.answer(world.wire.arrival(2))
    assert result(after) == "after"


def test_the_most_patient_leads_and_the_call_may_take_as_long_as_it_may(world: World) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    others = [world.ask_and_wait("a", seconds=40), world.ask_and_wait("b", seconds=60)]
    others.append(world.ask_and_wait("c", seconds=50))
    world.wire.answer(arrival)
    batch = world.wire.arrival(1)
    assert 50 < batch.seconds <= 60
    world.wire.answer(batch)
    assert [result(other) for other in (first, *others)] == ["first", "a", "b", "c"]


def test_who_runs_out_of_time_gets_no_answer_and_the_others_get_theirs(world: World) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    hurried, patient = world.ask_and_wait("hurried", seconds=2.0), world.ask_and_wait("patient")
    world.wire.answer(arrival)
    batch = world.wire.arrival(1)
    ended = failure(hurried)  # while the batch is in flight, led by the patient one
    assert isinstance(ended, VerificationUnavailable)
    assert str(ended) == "DEADLINE_EXCEEDED: unix:///sidecar: no answer in time"
    world.wire.answer(batch)
    assert (result(first), result(patient)) == ("first", "patient")


def test_who_runs_out_of_time_before_departure_is_not_sent(world: World) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    patient = world.ask_and_wait("patient")
    hurried = world.ask("hurried", seconds=0.001)
    assert isinstance(failure(hurried), VerificationUnavailable)
    world.wire.answer(arrival)
    assert world.wire.arrival(1).tokens == ["patient"]
    world.wire.answer(world.wire.arrival(1))
    assert (result(first), result(patient)) == ("first", "patient")


def test_ctrl_c_in_the_leading_thread_leaves_the_others_to_another_leader(world: World) -> None:
    first = world.ask("first")
    arrival = world.wire.arrival(0)
    others = [world.ask_and_wait("a"), world.ask_and_wait("b"), world.ask_and_wait("leads", seconds=70)]
    world.wire.answer(arrival)
    batch = world.wire.arrival(1)
    assert batch.tokens == ["a", "b", "leads"]
    world.wire.fail(batch, KeyboardInterrupt())
    assert isinstance(failure(others[2]), KeyboardInterrupt)
    again = world.wire.arrival(2)
    assert again.tokens == ["a", "b"]
    world.wire.answer(again)
    assert [result(other) for other in (first, *others[:2])] == ["first", "a", "b"]


def test_a_slow_call_does_not_hold_up_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.gathering.SLOW_SECONDS", 0.01)
    slow = world.ask("slow")
    arrival = world.wire.arrival(0)
    following = world.ask("following")
    world.wire.answer(world.wire.arrival(1))
    assert result(following) == "following"
    world.wire.answer(arrival)
    assert result(slow) == "slow"


def test_beyond_the_bound_a_caller_is_refused_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_WAITING > 2
    monkeypatch.setattr("sidegate.gathering.MAX_WAITING", 2)
    asked = [world.ask("first")]
    arrival = world.wire.arrival(0)
    asked += [world.ask_and_wait(token) for token in "ab"]
    refused = failure(world.ask("c"))
    assert isinstance(refused, VerificationUnavailable)
    assert refused.code == "RESOURCE_EXHAUSTED"
    world.wire.answer(arrival)
    world.wire.answer(world.wire.arrival(1))
    assert [result(each) for each in asked] == ["first", "a", "b"]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_interleaving_everybody_gets_the_answer_to_their_own_question(
    pool: ThreadPoolExecutor, seed: int
) -> None:
    world = World(pool)
    chance = random.Random(seed)  # noqa: S311 - to vary a test, not to keep a secret
    everybody_asked = threading.Event()

    def answer_all() -> list[str]:
        answered: list[str] = []
        while not everybody_asked.is_set() or len(world.wire.arrivals) > len(seen):
            for arrival in world.wire.arrivals[len(seen) :]:
                seen.append(arrival)
                answered.extend(arrival.tokens)
                failing = {
                    token: error_of(RESOURCE_EXHAUSTED, "OVERLOADED")
                    for token in arrival.tokens
                    if arrival.is_batch and token.endswith("7")
                }
                world.wire.answer(arrival, failing)
            everybody_asked.wait(0.0005)
        return answered

    def ask_some(first: int) -> None:
        for number in range(first, first + 20):
            token = f"token-{number}"
            # Some have next to no time: they end before, while or after their question is answered.
            seconds = chance.choice([0.0005, 0.003, 60.0])
            try:
                assert result(world.ask(token, seconds=seconds, check_database=number % 3 == 0)) == token
            except VerificationUnavailable as unavailable:
                expected = {"DEADLINE_EXCEEDED"} | ({"RESOURCE_EXHAUSTED"} if token.endswith("7") else set[str]())
                if unavailable.code not in expected:
                    unexpected.append((token, unavailable))

    seen: list[object] = []
    unexpected: list[tuple[str, Exception]] = []
    with ThreadPoolExecutor(17) as callers:
        answering = callers.submit(answer_all)
        for asking in [callers.submit(ask_some, caller * 100) for caller in range(16)]:
            asking.result(PATIENCE_SECONDS)
        everybody_asked.set()
        sent = answering.result(PATIENCE_SECONDS)
    assert unexpected == []
    assert len(sent) == len(set(sent))
