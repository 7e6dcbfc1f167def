"""Which questions travel together: none that another of its kind could not hold up anyway."""

from datetime import UTC, datetime

import pytest
from sidegate import Evidence, EvidenceSource, NextAction, Rejection, RejectionReason, Session, Verdict
from sidegate.lanes import MAX_HEADER_CHARS, MAX_HEADERS, Lanes
from sidegate.v1.session_pb2 import Revision
from sidegate.v1.verification_pb2 import VerifyRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVIDENCE = Evidence(EvidenceSource.LOCAL)
GOOD = Verdict(Session("issuer", "handle", "user", "", NOW, NOW, "{}", EVIDENCE), EVIDENCE)


def rejected(reason: RejectionReason) -> Verdict:
    return Verdict(Rejection(reason, NextAction.REAUTHENTICATE, "why"), EVIDENCE)


def question(token: str) -> VerifyRequest:
    return VerifyRequest(access_token=token)


@pytest.fixture
def lanes() -> Lanes[object]:
    return Lanes(object)


def learn(lanes: Lanes[object], token: str, verdict: Verdict) -> None:
    lanes.learn(lanes.lane_of(question(token)), question(token), verdict)


@pytest.mark.parametrize(
    "asked",
    [
        VerifyRequest(access_token="h.p.s", check_database=True),
        VerifyRequest(access_token="h.p.s", at_least_as_fresh=Revision()),
        VerifyRequest(access_token="no token", check_database=True),
    ],
    ids=["check_database", "at_least_as_fresh", "no token"],
)
def test_what_may_wait_for_the_store_keeps_to_its_kind_whatever_its_header(
    lanes: Lanes[object], asked: VerifyRequest
) -> None:
    assert lanes.lane_of(asked) is lanes.store
    lanes.learn(lanes.store, asked, GOOD)
    assert lanes.lane_of(asked) is lanes.store


def test_an_answer_of_the_database_proves_a_header_too(lanes: Lanes[object]) -> None:
    asked = VerifyRequest(access_token="header.payload.signature", check_database=True)
    lanes.learn(lanes.store, asked, GOOD)
    assert lanes.lane_of(question("header.others.signature")) is lanes.prompt


def test_a_token_of_a_header_that_no_good_token_had_keeps_to_its_kind(lanes: Lanes[object]) -> None:
    assert lanes.lane_of(question("header.payload.signature")) is lanes.unproven
    learn(lanes, "header.payload.signature", GOOD)
    assert lanes.lane_of(question("header.others.signature")) is lanes.prompt
    assert lanes.lane_of(question("header2.payload.signature")) is lanes.unproven


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_a_rejection_proves_no_header(lanes: Lanes[object], reason: RejectionReason) -> None:
    learn(lanes, "header.payload.signature", rejected(reason))
    assert lanes.lane_of(question("header.payload.signature")) is lanes.unproven


def test_a_key_that_was_withdrawn_is_proven_no_more(lanes: Lanes[object]) -> None:
    learn(lanes, "header.payload.signature", GOOD)
    learn(lanes, "header.payload.wrong", rejected(RejectionReason.BAD_SIGNATURE))
    assert lanes.lane_of(question("header.payload.signature")) is lanes.prompt
    learn(lanes, "header.payload.signature", rejected(RejectionReason.UNKNOWN_KEY))
    assert lanes.lane_of(question("header.payload.signature")) is lanes.unproven


def test_what_is_no_token_at_all_waits_for_no_key(lanes: Lanes[object]) -> None:
    assert lanes.lane_of(question("no token")) is lanes.prompt
    assert lanes.lane_of(question(".payload.signature")) is lanes.prompt


def test_the_memory_of_headers_is_bounded(lanes: Lanes[object]) -> None:
    long = "h" * (MAX_HEADER_CHARS + 1)
    learn(lanes, f"{long}.payload.signature", GOOD)
    assert lanes.lane_of(question(f"{long}.payload.signature")) is lanes.unproven
    for number in range(MAX_HEADERS + 1):
        learn(lanes, f"header-{number}.payload.signature", GOOD)
    proven = [
        number
        for number in range(MAX_HEADERS + 1)
        if lanes.lane_of(question(f"header-{number}.payload.signature")) is lanes.prompt
    ]
    assert proven == [MAX_HEADERS]
