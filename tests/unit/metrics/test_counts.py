"""How verifications end, counted: each once, under one name."""

import asyncio
import inspect

import pytest
from sidegate.v1 import errors_pb2, session_pb2
from sidegate_sidecar import errors
from sidegate_sidecar.errors import InvalidRequest, NotSupported, PreconditionFailed, Shed, ShuttingDown, Undecided
from sidegate_sidecar.metrics.counts import CANCELLED, INTERNAL, NO_VERDICT, VALID, VerificationCounts
from sidegate_sidecar.model import Evidence, NextAction, Reason, Rejection, Session, Source, Verdict

EVIDENCE = Evidence(Source.LOCAL, None, None, None)
GOOD = Verdict(Session("https://issuer.example", "s", "u", "t", 0, 1, "{}"), EVIDENCE)

# What stands before a verification raises, or what ends something else.
ELSEWHERE: frozenset[type[Undecided]] = frozenset({Shed, ShuttingDown})
KINDS_OF_UNDECIDED = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Undecided) and kind is not Undecided and kind not in ELSEWHERE
]


def refused(reason: Reason) -> Verdict:
    return Verdict(Rejection(reason, NextAction.REAUTHENTICATE, "no"), EVIDENCE)


def undecided(kind: type[Undecided]) -> Undecided:
    return errors.BatchBudgetSpent() if kind is errors.BatchBudgetSpent else kind("nobody could say")


def counted(counts: VerificationCounts) -> dict[str, int]:
    """What is not 0."""
    return {outcome: count for outcome, count in counts.by_outcome().items() if count}


def test_every_outcome_is_there_before_the_first_verification() -> None:
    published = {
        name.removeprefix("REJECTION_REASON_") for name in session_pb2.RejectionReason.DESCRIPTOR.values_by_name
    }
    expected = {VALID, *published - {"UNSPECIFIED"}, *NO_VERDICT}

    assert VerificationCounts().by_outcome() == dict.fromkeys(expected, 0)


def test_every_name_but_one_is_published() -> None:
    published = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name}

    assert set(NO_VERDICT) - published == {CANCELLED}


def test_an_acceptance_is_counted() -> None:
    counts = VerificationCounts()
    counts.add(GOOD)

    assert counted(counts) == {VALID: 1}


@pytest.mark.parametrize("reason", Reason)
def test_a_rejection_is_counted_under_its_reason(reason: Reason) -> None:
    counts = VerificationCounts()
    counts.add(refused(reason))

    assert counted(counts) == {reason.value: 1}


@pytest.mark.parametrize("kind", KINDS_OF_UNDECIDED)
def test_whatever_leaves_a_verification_undecided_has_a_name(kind: type[Undecided]) -> None:
    counts = VerificationCounts()
    counts.add(undecided(kind))

    assert counted(counts) == {kind.reason: 1}


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (InvalidRequest("access_token", "must not be empty"), "INVALID_FIELD"),
        (PreconditionFailed("no store", reason="STORE_NOT_CONFIGURED"), "STORE_NOT_CONFIGURED"),
        (asyncio.CancelledError(), CANCELLED),
        (ZeroDivisionError(), INTERNAL),
        (NotSupported("not raised by a verification"), INTERNAL),
        (InvalidRequest("access_token", "of a caller's making", reason="SESSION_OF_THE_CALLERS"), INTERNAL),
    ],
    ids=repr,
)
def test_any_other_end_is_counted_too(failure: BaseException, outcome: str) -> None:
    counts = VerificationCounts()
    counts.add(failure)

    assert counted(counts) == {outcome: 1}


def test_a_batch_that_ends_as_a_whole_is_counted_by_its_items() -> None:
    counts = VerificationCounts()
    counts.add(asyncio.CancelledError(), 3)

    assert counted(counts) == {CANCELLED: 3}
