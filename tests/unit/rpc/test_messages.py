"""Between the messages of the protos and the model: nothing lost, nothing invented, absent stays absent."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st
from sidegate.v1 import revocation_pb2, session_pb2, verification_pb2
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import (
    SECOND,
    Attribution,
    AuditEntry,
    Demand,
    Evidence,
    KeySetStatus,
    LogEntry,
    Micros,
    NextAction,
    Reason,
    Registration,
    Rejection,
    Revision,
    RevocationKind,
    Session,
    SessionRecord,
    Source,
    Verdict,
)
from sidegate_sidecar.rpc import messages

LAST_INSTANT: Micros = messages.LAST_TIMESTAMP_SECOND * SECOND + SECOND - 1
instants = st.integers(0, LAST_INSTANT)
names = st.text(st.characters(codec="utf-8"))
optional_names = st.none() | names
revisions = st.builds(Revision, store_id=names, sequence=st.integers(0, 2**63 - 1))


# Time.


@given(instants)
@example(0)
@example(LAST_INSTANT)
@example(999_999)
def test_an_instant_survives_both_ways(instant: Micros) -> None:
    assert messages.micros_from(messages.timestamp_from(instant), "field") == instant


@given(instants)
def test_an_instant_is_the_one_that_others_read(instant: Micros) -> None:
    assert messages.timestamp_from(instant).ToMicroseconds() == instant


@given(st.integers(0, messages.LAST_TIMESTAMP_SECOND), st.integers(0, 999_999_999))
def test_what_is_finer_than_a_microsecond_is_cut_off(seconds: int, nanos: int) -> None:
    instant = messages.micros_from(Timestamp(seconds=seconds, nanos=nanos), "field")

    assert instant == seconds * SECOND + nanos // 1000


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (-1, 0),
        (messages.LAST_TIMESTAMP_SECOND + 1, 0),
        (2**63 - 1, 0),
        (-(2**63), 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, 2**31 - 1),
    ],
)
def test_what_is_no_instant_is_refused_by_its_field(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        messages.micros_from(Timestamp(seconds=seconds, nanos=nanos), "requests[2].create_time")
    assert refused.value.metadata == {"field": "requests[2].create_time"}


@given(st.integers(0, 10**17))
def test_a_span_is_the_one_that_others_read(span: Micros) -> None:
    assert messages.duration_from(span).ToMicroseconds() == span
    assert isinstance(messages.duration_from(span), Duration)


# Verify.


@given(
    st.builds(
        Demand,
        access_token=names,
        check_database=st.booleans(),
        at_least_as_fresh=st.none() | revisions,
        accepted_audiences=st.lists(names).map(tuple),
        tenant_id=optional_names,
        anti_csrf_token=optional_names,
    )
)
@example(Demand(""))
@example(Demand("", False, Revision("", 0), (), "", ""))
def test_a_demand_is_what_was_asked_over_the_wire(demand: Demand) -> None:
    request = verification_pb2.VerifyRequest(
        access_token=demand.access_token,
        check_database=demand.check_database,
        accepted_audiences=demand.accepted_audiences,
    )
    if demand.at_least_as_fresh is not None:
        request.at_least_as_fresh.SetInParent()
        request.at_least_as_fresh.store_id = demand.at_least_as_fresh.store_id
        request.at_least_as_fresh.sequence = demand.at_least_as_fresh.sequence
    if demand.tenant_id is not None:
        request.tenant_id = demand.tenant_id
    if demand.anti_csrf_token is not None:
        request.anti_csrf_token = demand.anti_csrf_token

    received = verification_pb2.VerifyRequest.FromString(request.SerializeToString())

    assert messages.demand_from(received) == demand


def test_a_session_is_answered_with_all_its_fields() -> None:
    session = Session("i", "h", "u", "t", 1_500_000, 2_000_001, '{"a":1}')
    evidence = Evidence(Source.DATABASE, Revision("s", 7), 1_250_000, "k")

    assert messages.response_from(Verdict(session, evidence)) == verification_pb2.VerifyResponse(
        session=session_pb2.Session(
            issuer="i",
            session_handle="h",
            user_id="u",
            tenant_id="t",
            token_issue_time=Timestamp(seconds=1, nanos=500_000_000),
            token_expire_time=Timestamp(seconds=2, nanos=1_000),
            claims_json='{"a":1}',
        ),
        evidence=session_pb2.Evidence(
            source=session_pb2.EVIDENCE_SOURCE_DATABASE,
            revision=session_pb2.Revision(store_id="s", sequence=7),
            revocation_lag=Duration(seconds=1, nanos=250_000_000),
            key_id="k",
        ),
    )


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("action", NextAction)
def test_a_rejection_is_answered_by_name(reason: Reason, action: NextAction) -> None:
    response = messages.response_from(
        Verdict(Rejection(reason, action, "why"), Evidence(Source.LOCAL, None, None, None))
    )

    assert response.WhichOneof("verdict") == "rejection"
    assert session_pb2.RejectionReason.Name(response.rejection.reason) == f"REJECTION_REASON_{reason}"
    assert session_pb2.NextAction.Name(response.rejection.next_action) == f"NEXT_ACTION_{action}"
    assert response.rejection.message == "why"


def evidence_of(evidence: Evidence) -> session_pb2.Evidence:
    rejection = Rejection(Reason.EXPIRED, NextAction.REFRESH, "why")
    return messages.response_from(Verdict(rejection, evidence)).evidence


def test_evidence_without_a_store_says_nothing_of_one() -> None:
    evidence = evidence_of(Evidence(Source.LOCAL, None, None, None))

    assert evidence == session_pb2.Evidence(source=session_pb2.EVIDENCE_SOURCE_LOCAL)
    assert not evidence.HasField("revision")
    assert not evidence.HasField("revocation_lag")


def test_evidence_at_the_beginning_of_a_log_says_so() -> None:
    evidence = evidence_of(Evidence(Source.LOCAL, Revision("s", 0), 0, None))

    assert evidence.HasField("revision")
    assert evidence.HasField("revocation_lag")


def test_keys_that_were_never_confirmed_have_no_age() -> None:
    never = messages.key_set_status_from(KeySetStatus("i", 0, 0, None, "the issuer does not answer"))
    just_now = messages.key_set_status_from(KeySetStatus("i", 3, 2, 0, ""))

    assert (never.HasField("age"), never.last_error) == (False, "the issuer does not answer")
    assert (just_now.HasField("age"), just_now.generation, just_now.key_count) == (True, 3, 2)


# Sessions.


@given(
    st.builds(
        Registration,
        issuer=names,
        session_handle=names,
        user_id=names,
        tenant_id=names,
        create_time=st.none() | instants,
        session_expire_time=instants,
    )
)
@example(Registration("", "h", "u", "", 0, 0))
def test_a_registration_is_what_was_sent_over_the_wire(registration: Registration) -> None:
    request = revocation_pb2.RegisterSessionRequest(
        issuer=registration.issuer,
        session_handle=registration.session_handle,
        user_id=registration.user_id,
        tenant_id=registration.tenant_id,
        session_expire_time=messages.timestamp_from(registration.session_expire_time),
    )
    if registration.create_time is not None:
        request.create_time.CopyFrom(messages.timestamp_from(registration.create_time))

    received = revocation_pb2.RegisterSessionRequest.FromString(request.SerializeToString())

    assert messages.registration_from(received) == registration


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        pytest.param(revocation_pb2.RegisterSessionRequest(), "session_expire_time", id="no end"),
        pytest.param(
            revocation_pb2.RegisterSessionRequest(session_expire_time=Timestamp(seconds=-1)),
            "session_expire_time",
            id="an end before 1970",
        ),
        pytest.param(
            revocation_pb2.RegisterSessionRequest(
                create_time=Timestamp(nanos=-1), session_expire_time=Timestamp(seconds=1)
            ),
            "create_time",
            id="a beginning before 1970",
        ),
    ],
)
def test_a_registration_with_a_time_that_is_none_is_refused_by_its_field(
    request_: revocation_pb2.RegisterSessionRequest, field: str
) -> None:
    for path in ("", "requests[3]."):
        with pytest.raises(InvalidRequest) as refused:
            messages.registration_from(request_, path)
        assert refused.value.metadata == {"field": f"{path}{field}"}


@pytest.mark.parametrize(
    ("expire_time", "revoke_time", "state"),
    [
        pytest.param(11, None, "ACTIVE", id="before its end"),
        pytest.param(10, None, "EXPIRED", id="at its end"),
        pytest.param(11, 5, "REVOKED", id="revoked"),
        pytest.param(10, 5, "REVOKED", id="revoked, and past its end"),
        pytest.param(11, 0, "REVOKED", id="revoked in 1970"),
    ],
)
def test_a_session_has_the_state_of_the_moment(expire_time: Micros, revoke_time: Micros | None, state: str) -> None:
    record = SessionRecord("i", "h", "u", "t", 1, expire_time, revoke_time)

    session = messages.registered_session_from(record, 10)

    assert session_pb2.SessionState.Name(session.state) == f"SESSION_STATE_{state}"
    assert session.HasField("revoke_time") == (revoke_time is not None)
    assert (session.issuer, session.session_handle, session.user_id, session.tenant_id) == ("i", "h", "u", "t")
    assert (session.create_time.ToMicroseconds(), session.session_expire_time.ToMicroseconds()) == (1, expire_time)


# Revocations.


def audit(kind: RevocationKind, tenant: str | None = None, spare: str | None = None, **of_audit: str) -> AuditEntry:
    entry = LogEntry(9, bytes(16), kind, "i", "named", tenant, spare, 1_000_001, None)
    return AuditEntry(entry, Attribution("ops", "why", "id"), "s", cause_sequence=4, **of_audit)


COMMON = {"issuer": "i", "actor": "ops", "reason": "why", "request_id": "id", "cause_sequence": 4}


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (audit(RevocationKind.SESSION, user_id="u"), {"session_handle": "named", "user_id": "u"}),
        (
            audit(RevocationKind.USER, tenant="t", spare="x"),
            {"user_id": "named", "tenant_id": "t", "except_session_handle": "x"},
        ),
        (audit(RevocationKind.USER), {"user_id": "named"}),
        (audit(RevocationKind.TENANT), {"tenant_id": "named"}),
        (audit(RevocationKind.KEY, key_id="k"), {"key_thumbprint": "named", "key_id": "k"}),
    ],
    ids=["session", "user in a tenant but one session", "user", "tenant", "key"],
)
def test_a_revocation_names_its_subject_in_the_field_of_its_kind(entry: AuditEntry, named: dict[str, str]) -> None:
    revocation = messages.revocation_from(entry)

    said = {field.name: value for field, value in revocation.ListFields()}
    assert said.pop("kind") == revocation_pb2.RevocationKind.Value(f"REVOCATION_KIND_{entry.entry.kind.name}")
    assert said.pop("revision") == session_pb2.Revision(store_id="s", sequence=9)
    assert said.pop("revoke_time") == Timestamp(seconds=1, nanos=1_000)
    assert said == COMMON | named


def test_a_revocation_without_a_request_id_has_none() -> None:
    entry = AuditEntry(audit(RevocationKind.USER).entry, Attribution("ops"), "s")

    assert messages.revocation_from(entry).request_id == ""
