import pickle
from typing import Any, cast

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sidegate import (
    Evidence,
    EvidenceSource,
    InvalidRequest,
    NextAction,
    Rejection,
    RejectionReason,
    Revision,
    ServingStatus,
    Session,
    SessionClient,
    SessionRejected,
    SessionsEnded,
    SignOutScope,
    StoreState,
    Verdict,
    VerificationUnavailable,
)
from sidegate.v1 import session_pb2, verification_pb2

from tests.unit.client.answers import ACCEPTED, CLAIMS, EVIDENCE, SESSION, TOKEN, rejected
from tests.unit.client.fake_sidecar import Answer, Error, FakeSidecar, Raw


def test_a_good_token_gives_its_session(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    assert client.verify(TOKEN) == SESSION
    assert client.check(TOKEN) == Verdict(SESSION, EVIDENCE)


def test_claims_keep_integers_past_2_to_the_53(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    session = client.verify(TOKEN)
    assert session.claims == {"sub": "anna", "sid": "s-1", "big": 9007199254740993, "roles": ["admin"]}
    assert session.claims is session.claims


def test_a_plain_question_asks_for_nothing_but_the_token(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    client.verify(TOKEN)
    assert sidecar.requests["Verify"] == [verification_pb2.VerifyRequest(access_token=TOKEN)]


@pytest.mark.parametrize("method", ["verify", "check"])
def test_every_demand_reaches_the_sidecar(client: SessionClient, sidecar: FakeSidecar, method: str) -> None:
    sidecar.script("Verify", ACCEPTED)
    getattr(client, method)(
        TOKEN,
        check_database=True,
        at_least_as_fresh=Revision("store", 12),
        audiences=["api", "web"],
        tenant_id="acme",
        anti_csrf_token="csrf",
    )
    assert sidecar.requests["Verify"] == [
        verification_pb2.VerifyRequest(
            access_token=TOKEN,
            check_database=True,
            at_least_as_fresh=session_pb2.Revision(store_id="store", sequence=12),
            accepted_audiences=["api", "web"],
            tenant_id="acme",
            anti_csrf_token="csrf",
        )
    ]


@pytest.mark.parametrize("method", ["verify", "check"])
def test_audiences_that_can_be_gone_through_only_once_are_asked_for_and_not_lost(
    client: SessionClient, sidecar: FakeSidecar, method: str
) -> None:
    sidecar.script("Verify", ACCEPTED)
    getattr(client, method)(TOKEN, audiences=(audience for audience in ["api", "web"]))
    (request,) = sidecar.requests["Verify"]
    assert request.accepted_audiences == ["api", "web"]


def test_an_empty_tenant_is_asked_for_and_not_dropped(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    client.verify(TOKEN, tenant_id="", anti_csrf_token="")
    request = sidecar.requests["Verify"][0]
    assert request.HasField("tenant_id")
    assert request.HasField("anti_csrf_token")


@pytest.mark.parametrize("reason", [reason for reason in RejectionReason if reason != RejectionReason.UNRECOGNIZED])
def test_each_reason_of_the_contract_is_raised_by_its_name(
    client: SessionClient, sidecar: FakeSidecar, reason: RejectionReason
) -> None:
    sidecar.script("Verify", rejected(session_pb2.RejectionReason.Value(f"REJECTION_REASON_{reason}")))
    with pytest.raises(SessionRejected) as caught:
        client.verify(TOKEN)
    assert caught.value.reason is reason
    assert caught.value.next_action is NextAction.REAUTHENTICATE
    assert caught.value.message == "not good"
    assert caught.value.evidence == Evidence(EvidenceSource.LOCAL)
    assert str(caught.value) == f"{reason.value}: not good"


def test_check_answers_with_a_rejection(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", rejected(session_pb2.REJECTION_REASON_EXPIRED, session_pb2.NEXT_ACTION_REFRESH))
    expected = Rejection(RejectionReason.EXPIRED, NextAction.REFRESH, "not good")
    assert client.check(TOKEN) == Verdict(expected, Evidence(EvidenceSource.LOCAL))


@pytest.mark.parametrize("number", [0, 20, 9999])
def test_a_reason_that_the_client_does_not_know_is_still_a_rejection(
    client: SessionClient, sidecar: FakeSidecar, number: int
) -> None:
    answer = rejected(cast("Any", number), cast("Any", number))
    answer.evidence.source = cast("Any", number)
    sidecar.script("Verify", answer)
    with pytest.raises(SessionRejected) as caught:
        client.verify(TOKEN)
    assert caught.value.reason is RejectionReason.UNRECOGNIZED
    assert caught.value.next_action is NextAction.REAUTHENTICATE
    assert caught.value.evidence == Evidence(EvidenceSource.UNRECOGNIZED)


LATE = session_pb2.Session(user_id="anna", token_expire_time=Timestamp(seconds=2**53))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(verification_pb2.VerifyResponse(), id="empty"),
        pytest.param(verification_pb2.VerifyResponse(evidence=ACCEPTED.evidence), id="evidence alone"),
        pytest.param(Raw(b"\x0a\xff"), id="not a message"),
        # Field 15, which a later contract may use for a third kind of verdict.
        pytest.param(Raw(b"\x7a\x00"), id="a verdict of another kind"),
        pytest.param(verification_pb2.VerifyResponse(session=LATE), id="a time past the year 9999"),
    ],
)
def test_an_answer_without_a_readable_verdict_is_none(
    client: SessionClient, sidecar: FakeSidecar, answer: Answer
) -> None:
    sidecar.script("Verify", answer)
    with pytest.raises(VerificationUnavailable) as caught:
        client.check(TOKEN)
    assert caught.value.code == "INTERNAL"
    assert not caught.value.retryable


BAD_TOKENS = [
    pytest.param(TOKEN + "\ud800", id="lone surrogate"),
    pytest.param(TOKEN + "é", id="not ASCII"),
    pytest.param("a" * (16 * 1024 + 1), id="larger than 16 KiB"),
    pytest.param("a" * 6_000_000, id="larger than a message"),
]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_token_that_cannot_be_sent_is_malformed(client: SessionClient, sidecar: FakeSidecar, token: str) -> None:
    with pytest.raises(SessionRejected) as caught:
        client.verify(token)
    assert caught.value.reason is RejectionReason.MALFORMED
    assert caught.value.evidence == Evidence(EvidenceSource.LOCAL)
    with pytest.raises(SessionRejected) as caught:
        client.sign_out(token)
    assert caught.value.reason is RejectionReason.MALFORMED
    assert sidecar.requests == {}


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (f"Bearer {TOKEN}", "begins with 'Bearer '; pass what follows it"),
        (f"bEARER {TOKEN}", "begins with 'Bearer '; pass what follows it"),
        (f" Bearer {TOKEN}", "begins with 'Bearer '; pass what follows it"),
        (f" {TOKEN}", "has white space around it; pass it without"),
        (f"{TOKEN}\r\n", "has white space around it; pass it without"),
        (" ", "has white space around it; pass it without"),
    ],
)
def test_a_token_with_something_around_it_is_malformed_and_the_message_says_what(
    client: SessionClient, sidecar: FakeSidecar, token: str, problem: str
) -> None:
    for ask in (client.verify, client.sign_out):
        with pytest.raises(SessionRejected) as caught:
            ask(token)
        assert caught.value.reason is RejectionReason.MALFORMED
        assert caught.value.message == f"the token {problem}"
    assert sidecar.requests == {}


def test_a_sidecar_that_can_never_say_is_unavailable_and_asking_again_is_no_use(
    client: SessionClient, sidecar: FakeSidecar
) -> None:
    sidecar.script("Verify", Error(grpc.StatusCode.FAILED_PRECONDITION, "STORE_NOT_CONFIGURED"))
    with pytest.raises(VerificationUnavailable) as caught:
        client.verify(TOKEN, check_database=True)
    assert (caught.value.reason, caught.value.retryable) == ("STORE_NOT_CONFIGURED", False)


def test_a_token_of_16_kib_is_sent(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    assert client.verify("a" * 16 * 1024) == SESSION


def test_an_empty_token_is_the_callers_mistake(client: SessionClient, sidecar: FakeSidecar) -> None:
    for ask in (client.verify, client.check, client.sign_out):
        with pytest.raises(InvalidRequest) as caught:
            ask("")
        assert (caught.value.field, caught.value.reason) == ("access_token", "INVALID_FIELD")
        assert caught.value.code == "INVALID_ARGUMENT"
    assert sidecar.requests == {}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"access_token": TOKEN.encode()}, id="token in bytes"),
        pytest.param({"access_token": None}, id="no token"),
        pytest.param({"access_token": TOKEN, "audiences": "api"}, id="one audience for several"),
        pytest.param({"access_token": TOKEN, "audiences": [b"api"]}, id="audience in bytes"),
        pytest.param({"access_token": TOKEN, "tenant_id": 7}, id="tenant a number"),
        pytest.param({"access_token": TOKEN, "at_least_as_fresh": 7}, id="revision a number"),
        pytest.param(
            {"access_token": TOKEN, "at_least_as_fresh": Revision("store", cast("int", "7"))}, id="sequence a string"
        ),
    ],
)
def test_an_argument_of_the_wrong_type_is_a_type_error_that_does_not_repeat_it(
    client: SessionClient, arguments: dict[str, Any]
) -> None:
    with pytest.raises(TypeError) as caught:
        client.verify(**arguments)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"audiences": ["api", "\udc00"]}, "accepted_audiences[1]"),
        ({"tenant_id": "\ud800"}, "tenant_id"),
        ({"anti_csrf_token": "\ud800"}, "anti_csrf_token"),
        ({"at_least_as_fresh": Revision("\ud800", 1)}, "at_least_as_fresh.store_id"),
        ({"at_least_as_fresh": Revision("store", 2**63)}, "at_least_as_fresh"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_named(client: SessionClient, arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.verify(TOKEN, **arguments)
    assert caught.value.field == field


@pytest.mark.parametrize("scope", SignOutScope)
def test_sign_out_says_how_many_sessions_ended(
    client: SessionClient, sidecar: FakeSidecar, scope: SignOutScope
) -> None:
    revision = session_pb2.Revision(store_id="store", sequence=8)
    sidecar.script("SignOut", verification_pb2.SignOutResponse(revoked_count=3, revision=revision))
    assert client.sign_out(TOKEN, scope) == SessionsEnded(3, Revision("store", 8))
    sent = verification_pb2.SignOutScope.Value(f"SIGN_OUT_SCOPE_{scope}")
    assert sidecar.requests["SignOut"] == [verification_pb2.SignOutRequest(access_token=TOKEN, scope=sent)]


def test_sign_out_ends_this_session_unless_told_otherwise(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("SignOut", verification_pb2.SignOutResponse())
    client.sign_out(TOKEN)
    assert sidecar.requests["SignOut"][0].scope == verification_pb2.SIGN_OUT_SCOPE_THIS_SESSION
    assert not sidecar.requests["SignOut"][0].HasField("anti_csrf_token")


def test_sign_out_brings_the_anti_csrf_token(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("SignOut", verification_pb2.SignOutResponse())
    client.sign_out(TOKEN, anti_csrf_token="x")
    assert sidecar.requests["SignOut"][0].anti_csrf_token == "x"
    with pytest.raises(InvalidRequest) as caught:
        client.sign_out(TOKEN, anti_csrf_token="\ud800")
    assert caught.value.field == "anti_csrf_token"


def test_the_serving_status_of_a_sidecar_with_a_store(client: SessionClient, sidecar: FakeSidecar) -> None:
    answer = verification_pb2.GetServingStatusResponse(
        version="1.4.0",
        key_sets=[verification_pb2.KeySetStatus(issuer="https://login.example", generation=3, key_count=2)],
        index_revision=session_pb2.Revision(store_id="store", sequence=7),
        store_state=verification_pb2.STORE_STATE_AVAILABLE,
    )
    answer.key_sets[0].age.FromMilliseconds(1500)
    answer.index_lag.FromMilliseconds(20)
    sidecar.script("GetServingStatus", answer)
    status = client.serving_status()
    assert (status.version, status.store_state) == ("1.4.0", StoreState.AVAILABLE)
    assert status.index_revision == Revision("store", 7)
    assert status.index_lag is not None
    assert status.index_lag.total_seconds() == 0.02
    (keys,) = status.key_sets
    assert (keys.issuer, keys.generation, keys.key_count, keys.last_error) == ("https://login.example", 3, 2, "")
    assert keys.age is not None
    assert keys.age.total_seconds() == 1.5


def test_the_serving_status_of_a_sidecar_that_says_nothing(client: SessionClient, sidecar: FakeSidecar) -> None:
    answer = verification_pb2.GetServingStatusResponse(key_sets=[verification_pb2.KeySetStatus()])
    sidecar.script("GetServingStatus", answer)
    status = client.serving_status()
    assert status == ServingStatus("", status.key_sets, None, None, StoreState.UNRECOGNIZED)
    assert status.key_sets[0].age is None


def test_nothing_shows_a_token_or_claims(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    session = client.verify(TOKEN)
    assert CLAIMS not in repr(session)
    assert "admin" not in repr(session)
    assert TOKEN not in repr(client)
    assert repr(client).endswith(f"({sidecar.target!r})")


def test_a_session_can_be_pickled(client: SessionClient, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    session: Session = client.verify(TOKEN)
    assert pickle.loads(pickle.dumps(session)) == session  # noqa: S301 # our own bytes
