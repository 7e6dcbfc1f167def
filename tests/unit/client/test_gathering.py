"""Which questions leave together, and when."""

import itertools

import pytest
from sidegate import ClientClosed, VerificationUnavailable
from sidegate.calls import MAX_MESSAGE_BYTES
from sidegate.gathering import (
    MAX_AUDIENCES,
    MAX_BATCH,
    MAX_IN_FLIGHT,
    MAX_SHARED_BYTES,
    MAX_WAITING,
    SLOW_SECONDS,
    Attempts,
    Batch,
    Item,
    Lane,
    may_share,
)
from sidegate.v1.verification_pb2 import BatchVerifyRequest, VerifyRequest
from sidegate.verification_calls import MAX_TOKEN_BYTES

_names = itertools.count()


def item(deadline: float = 100.0) -> Item[int]:
    return Item(VerifyRequest(access_token="token"), deadline, next(_names))


def joined(lane: Lane[int], count: int) -> list[Item[int]]:
    items = [item() for _ in range(count)]
    for each in items:
        lane.join(each)
    return items


def departed(lane: Lane[int], now: float) -> Batch[int]:
    batch = lane.depart(now)
    assert batch is not None
    return batch


def test_whoever_comes_alone_leaves_at_once_as_a_plain_verify() -> None:
    lane: Lane[int] = Lane()
    (alone,) = joined(lane, 1)
    batch = departed(lane, 0.0)
    assert batch.items == [alone]
    assert batch.call().path == "/sidegate.v1.VerificationService/Verify"
    assert batch.call().request == alone.question.SerializeToString()


def test_while_a_call_is_in_flight_others_gather_and_leave_as_one_in_their_order() -> None:
    lane: Lane[int] = Lane()
    joined(lane, 1)
    first = departed(lane, 0.0)
    others = joined(lane, 3)
    assert lane.depart(0.001) is None
    lane.arrive(first)
    batch = departed(lane, 0.002)
    assert batch.items == others
    assert batch.call().path == "/sidegate.v1.VerificationService/BatchVerify"
    assert BatchVerifyRequest.FromString(batch.call().request).requests == [each.question for each in others]
    lane.arrive(batch)
    assert lane.depart(0.003) is None
    assert lane.next_departure(0.003) is None


def test_who_finds_nobody_leaves_alone_without_joining() -> None:
    lane: Lane[int] = Lane()
    departure = lane.depart_alone(0.0)
    assert departure is not None
    assert lane.depart_alone(0.001) is None
    lane.arrive(departure)
    assert lane.depart_alone(0.002) is not None


def test_who_comes_after_one_that_left_alone_need_not_wait_for_it() -> None:
    lane: Lane[int] = Lane()
    lane.depart_alone(0.0)
    (second,) = joined(lane, 1)
    assert departed(lane, 0.0).items == [second]
    joined(lane, 1)
    assert lane.depart(0.001) is None  # but for a batch they do, that more may gather


def test_nobody_leaves_alone_past_those_who_wait() -> None:
    lane: Lane[int] = Lane()
    joined(lane, 1)
    assert lane.depart_alone(0.0) is None


def test_nobody_leaves_alone_while_a_batch_is_in_flight_unless_it_is_slow() -> None:
    lane: Lane[int] = Lane()
    joined(lane, 1)
    departed(lane, 0.0)
    assert lane.depart_alone(SLOW_SECONDS - 0.001) is None
    assert lane.depart_alone(SLOW_SECONDS) is not None


def test_those_who_leave_alone_are_bounded_however_slow_they_are() -> None:
    lane: Lane[int] = Lane()
    departures = [lane.depart_alone(float(position)) for position in range(MAX_IN_FLIGHT)]
    assert None not in departures
    assert lane.depart_alone(1000.0) is None
    joined(lane, 1)
    assert lane.depart(1000.0) is None
    lane.arrive(departures[0])
    assert len(departed(lane, 1000.0).items) == 1


def test_a_batch_holds_256_questions_at_most() -> None:
    lane: Lane[int] = Lane()
    waiting = joined(lane, MAX_BATCH + 1)
    first = departed(lane, 0.0)
    lane.arrive(first)
    assert (first.items, departed(lane, 0.0).items) == (waiting[:MAX_BATCH], waiting[MAX_BATCH:])


def test_a_full_batch_of_the_largest_questions_that_may_share_fits_into_a_message() -> None:
    question = VerifyRequest(access_token="a" * MAX_TOKEN_BYTES)
    spare = MAX_SHARED_BYTES - question.ByteSize() - 4
    question.anti_csrf_token = "b" * spare
    assert MAX_SHARED_BYTES - 4 <= question.ByteSize() <= MAX_SHARED_BYTES
    assert may_share(question)
    assert BatchVerifyRequest(requests=[question] * MAX_BATCH).ByteSize() + 4 * MAX_BATCH <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("question", "shares"),
    [
        (VerifyRequest(access_token="a" * MAX_TOKEN_BYTES), True),
        (VerifyRequest(access_token="a", accepted_audiences=["a"] * MAX_AUDIENCES), True),
        (VerifyRequest(access_token="a", accepted_audiences=["a"] * (MAX_AUDIENCES + 1)), False),
        (VerifyRequest(access_token="a", tenant_id="a" * MAX_SHARED_BYTES), False),
    ],
    ids=["largest token", "64 audiences", "65 audiences", "too large"],
)
def test_what_the_sidecar_would_refuse_a_whole_batch_for_travels_alone(question: VerifyRequest, shares: bool) -> None:
    assert may_share(question) is shares


def test_a_slow_call_does_not_hold_up_the_next() -> None:
    lane: Lane[int] = Lane()
    joined(lane, 1)
    departed(lane, 0.0)
    joined(lane, 2)
    assert lane.next_departure(0.001) == SLOW_SECONDS
    assert lane.depart(SLOW_SECONDS - 0.001) is None
    assert len(departed(lane, SLOW_SECONDS).items) == 2


def test_calls_in_flight_are_bounded_however_slow_they_are() -> None:
    lane: Lane[int] = Lane()
    batches: list[Batch[int]] = []
    for position in range(MAX_IN_FLIGHT):
        joined(lane, 1)
        batches.append(departed(lane, position * SLOW_SECONDS))
    joined(lane, 1)
    assert lane.depart(1000.0) is None
    assert lane.next_departure(1000.0) is None
    lane.arrive(batches[3])
    assert lane.depart(1000.0) is not None


def test_calls_that_wait_are_bounded_and_one_more_is_refused_at_once() -> None:
    lane: Lane[int] = Lane()
    waiting = joined(lane, MAX_WAITING)
    with pytest.raises(VerificationUnavailable) as refused:
        lane.join(item())
    assert (refused.value.code, refused.value.retryable) == ("RESOURCE_EXHAUSTED", True)
    lane.withdraw(waiting[7])
    lane.join(item())


def test_who_gives_up_before_departure_is_not_sent() -> None:
    lane: Lane[int] = Lane()
    first, second, third = joined(lane, 3)
    lane.withdraw(second)
    lane.withdraw(second)
    assert departed(lane, 0.0).items == [first, third]


def test_a_batch_that_was_taken_back_leaves_first_without_who_gave_up() -> None:
    lane: Lane[int] = Lane()
    first, second, third = joined(lane, 3)
    batch = departed(lane, 0.0)
    later = joined(lane, 1)
    lane.take_back(batch, without=second)
    assert departed(lane, 0.0).items == [first, third, *later]


def test_a_batch_may_take_as_long_as_its_most_patient_caller() -> None:
    early, patient, as_patient = item(5.0), item(9.0), item(9.0)
    batch = Batch([early, patient, as_patient])
    assert batch.most_patient is as_patient
    assert batch.seconds_left(3.0) == 6.0
    assert batch.seconds_left(9.0) == 0.001


def test_each_caller_gets_an_exception_of_its_own() -> None:
    cause = ValueError("why")
    error = VerificationUnavailable("no", code="UNAVAILABLE", reason="KEYS_UNAVAILABLE", metadata={"a": "b"})
    error.__cause__ = cause
    one, other = (failed.error for failed in Batch([item(), item()]).failed(error))
    assert one is not other
    for copied in (one, other):
        assert isinstance(copied, VerificationUnavailable)
        assert (copied.message, copied.code, copied.reason) == ("no", "UNAVAILABLE", "KEYS_UNAVAILABLE")
        assert copied.metadata == {"a": "b"}
        assert copied.__cause__ is cause


def unavailable() -> VerificationUnavailable:
    return VerificationUnavailable("no", code="UNAVAILABLE")


@pytest.mark.parametrize(("spread", "pauses"), [(0.0, [0.04, 0.12]), (0.5, [0.05, 0.15]), (1.0, [0.06, 0.18])])
def test_unavailable_is_asked_three_times_as_grpc_would(spread: float, pauses: list[float]) -> None:
    attempts = Attempts(deadline=10.0, spread=lambda: spread)
    assert [attempts.pause_after(unavailable(), 0.0) for _ in range(2)] == pytest.approx(pauses)
    assert attempts.pause_after(unavailable(), 0.0) is None


def test_nobody_waits_past_their_deadline_to_ask_again() -> None:
    assert Attempts(deadline=0.05, spread=lambda: 0.5).pause_after(unavailable(), 0.0) is None


def test_a_question_whose_neighbours_spent_the_budget_is_asked_again_at_once() -> None:
    spent = VerificationUnavailable("no", code="RESOURCE_EXHAUSTED", reason="BATCH_BUDGET_SPENT")
    attempts = Attempts(deadline=1.0)
    assert [attempts.pause_after(spent, 0.9) for _ in range(5)] == [0.0] * 5
    assert attempts.pause_after(spent, 1.0) is None


@pytest.mark.parametrize(
    "failure",
    [
        VerificationUnavailable("no", code="RESOURCE_EXHAUSTED", reason="OVERLOADED"),
        VerificationUnavailable("no", code="INTERNAL"),
        VerificationUnavailable("no", code="DEADLINE_EXCEEDED"),
        ClientClosed("closed"),
    ],
    ids=str,
)
def test_nothing_else_is_asked_again(failure: Exception) -> None:
    assert Attempts(deadline=10.0).pause_after(failure, 0.0) is None
