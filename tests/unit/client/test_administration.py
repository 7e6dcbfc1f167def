import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from sidegate import (
    InvalidRequest,
    RegisteredSession,
    Registration,
    Revision,
    Revocation,
    RevocationClient,
    RevocationKind,
    SessionRevoked,
    SessionsEnded,
    SessionsRevoked,
    SessionState,
    SigningKeyRevoked,
)
from sidegate.v1 import revocation_pb2, session_pb2

from tests.unit.client.answers import EXPIRES, ISSUED, timestamp
from tests.unit.client.fake_sidecar import FakeSidecar

REVISION = session_pb2.Revision(store_id="store", sequence=9)
AT = Revision("store", 9)
ISSUER = "https://login.example"
REQUEST_ID = "4d1b3c1e-0a55-4d3b-9d0e-6a0d3f6d7a11"

RECORD = session_pb2.RegisteredSession(
    issuer=ISSUER,
    session_handle="s-1",
    user_id="anna",
    tenant_id="acme",
    create_time=timestamp(ISSUED),
    session_expire_time=timestamp(EXPIRES),
    state=session_pb2.SESSION_STATE_ACTIVE,
)
SESSION = RegisteredSession(ISSUER, "s-1", "anna", "acme", ISSUED, EXPIRES, SessionState.ACTIVE, None)

REVOKES: list[tuple[str, str, dict[str, Any], Message, Message, object]] = [
    (
        "RevokeSession",
        "revoke_session",
        {"session_handle": "s-1"},
        revocation_pb2.RevokeSessionRequest(session_handle="s-1"),
        revocation_pb2.RevokeSessionResponse(newly_revoked=True, revision=REVISION),
        SessionRevoked(newly_revoked=True, revision=AT),
    ),
    (
        "BatchRevokeSessions",
        "revoke_sessions",
        {"session_handles": ("s-1", "s-2")},
        revocation_pb2.BatchRevokeSessionsRequest(session_handles=["s-1", "s-2"]),
        revocation_pb2.BatchRevokeSessionsResponse(newly_revoked_handles=["s-2"], revision=REVISION),
        SessionsRevoked(("s-2",), AT),
    ),
    (
        "RevokeUserSessions",
        "revoke_user_sessions",
        {"user_id": "anna"},
        revocation_pb2.RevokeUserSessionsRequest(user_id="anna"),
        revocation_pb2.RevokeUserSessionsResponse(revoked_count=4, revision=REVISION),
        SessionsEnded(4, AT),
    ),
    (
        "RevokeUserSessions",
        "revoke_user_sessions",
        {"user_id": "anna", "tenant_id": "acme", "except_session_handle": "s-1"},
        revocation_pb2.RevokeUserSessionsRequest(user_id="anna", tenant_id="acme", except_session_handle="s-1"),
        revocation_pb2.RevokeUserSessionsResponse(revoked_count=3, revision=REVISION),
        SessionsEnded(3, AT),
    ),
    (
        "RevokeTenantSessions",
        "revoke_tenant_sessions",
        {"tenant_id": "acme"},
        revocation_pb2.RevokeTenantSessionsRequest(tenant_id="acme"),
        revocation_pb2.RevokeTenantSessionsResponse(revoked_count=5, revision=REVISION),
        SessionsEnded(5, AT),
    ),
    (
        "RevokeSigningKey",
        "revoke_signing_key",
        {"key_id": "k1"},
        revocation_pb2.RevokeSigningKeyRequest(key_id="k1"),
        revocation_pb2.RevokeSigningKeyResponse(revision=REVISION),
        SigningKeyRevoked(AT),
    ),
    (
        "RevokeSigningKey",
        "revoke_signing_key",
        {"key_thumbprint": "NzbLs"},
        revocation_pb2.RevokeSigningKeyRequest(key_thumbprint="NzbLs"),
        revocation_pb2.RevokeSigningKeyResponse(revision=REVISION),
        SigningKeyRevoked(AT),
    ),
]
for_each_revoke = pytest.mark.parametrize(
    ("rpc", "method", "subject", "request_sent", "answer", "result"), REVOKES, ids=[row[0] for row in REVOKES]
)


@for_each_revoke
def test_a_revoke_sends_what_it_is_given_and_says_what_came_of_it(
    admin: RevocationClient,
    sidecar: FakeSidecar,
    rpc: str,
    method: str,
    subject: dict[str, Any],
    request_sent: Any,
    answer: Message,
    result: object,
) -> None:
    sidecar.script(rpc, answer)
    options = {"issuer": ISSUER, "reason": "lost phone", "request_id": REQUEST_ID, "validate_only": True}
    assert getattr(admin, method)(**subject, **options) == result
    expected = type(request_sent)()
    expected.CopyFrom(request_sent)
    expected.issuer, expected.reason, expected.request_id = ISSUER, "lost phone", REQUEST_ID
    expected.validate_only = True
    assert sidecar.requests[rpc] == [expected]


@for_each_revoke
def test_a_revoke_always_goes_by_a_request_id_of_its_own(
    admin: RevocationClient,
    sidecar: FakeSidecar,
    rpc: str,
    method: str,
    subject: dict[str, Any],
    request_sent: Any,
    answer: Message,
    result: object,
) -> None:
    sidecar.script(rpc, answer)
    getattr(admin, method)(**subject)
    getattr(admin, method)(**subject)
    first, second = (uuid.UUID(request.request_id) for request in sidecar.requests[rpc])
    assert first.version == second.version == 4
    assert first != second
    assert not sidecar.requests[rpc][0].validate_only


def test_an_empty_tenant_is_sent_and_so_refused_by_the_sidecar(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("RevokeUserSessions", revocation_pb2.RevokeUserSessionsResponse())
    admin.revoke_user_sessions("anna", tenant_id="", except_session_handle="")
    (request,) = sidecar.requests["RevokeUserSessions"]
    # Dropping either would end more sessions than were meant.
    assert request.HasField("tenant_id")
    assert request.HasField("except_session_handle")


@pytest.mark.parametrize("names", [{}, {"key_id": "k1", "key_thumbprint": "NzbLs"}], ids=["none", "both"])
def test_a_key_goes_by_exactly_one_name(admin: RevocationClient, sidecar: FakeSidecar, names: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        admin.revoke_signing_key(**names)
    assert caught.value.field == "key"
    assert sidecar.requests == {}


def test_one_handle_is_not_taken_for_a_list_of_letters(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    with pytest.raises(TypeError):
        admin.revoke_sessions("s-1")
    assert sidecar.requests == {}


def test_a_request_too_large_to_send_is_the_callers_mistake(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    with pytest.raises(InvalidRequest, match="limit is 5242880"):
        admin.revoke_sessions(["s" * 512] * 11_000)
    assert sidecar.requests == {}


def test_a_session_is_registered(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("RegisterSession", revocation_pb2.RegisterSessionResponse(session=RECORD))
    given = admin.register_session(
        "s-1", "anna", session_expire_time=EXPIRES, tenant_id="acme", issuer=ISSUER, create_time=ISSUED
    )
    assert given == SESSION
    assert sidecar.requests["RegisterSession"] == [
        revocation_pb2.RegisterSessionRequest(
            issuer=ISSUER,
            session_handle="s-1",
            user_id="anna",
            tenant_id="acme",
            create_time=timestamp(ISSUED),
            session_expire_time=timestamp(EXPIRES),
        )
    ]


def test_the_store_dates_a_session_that_comes_without_a_time(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("RegisterSession", revocation_pb2.RegisterSessionResponse(session=RECORD))
    admin.register_session("s-1", "anna", session_expire_time=EXPIRES.astimezone(WEST))
    (request,) = sidecar.requests["RegisterSession"]
    assert not request.HasField("create_time")
    assert request.session_expire_time == timestamp(EXPIRES)
    assert (request.issuer, request.tenant_id) == ("", "")


def test_sessions_are_registered_together(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("BatchRegisterSessions", revocation_pb2.BatchRegisterSessionsResponse(sessions=[RECORD, RECORD]))
    registrations = [Registration("s-1", "anna", EXPIRES), Registration("s-2", "ben", EXPIRES, create_time=ISSUED)]
    assert admin.register_sessions(registrations) == (SESSION, SESSION)
    (request,) = sidecar.requests["BatchRegisterSessions"]
    assert [(each.session_handle, each.user_id) for each in request.requests] == [("s-1", "anna"), ("s-2", "ben")]
    assert [each.HasField("create_time") for each in request.requests] == [False, True]


WEST = timezone(timedelta(hours=-7))
NAIVE = datetime(2026, 11, 2)  # noqa: DTZ001 # what the client must refuse


@pytest.mark.parametrize(
    ("registration", "field"),
    [
        (Registration("s-2", "anna", NAIVE), "session_expire_time"),
        (Registration("s-2", "anna", EXPIRES, create_time=NAIVE), "create_time"),
        (Registration("s-2", "anna", datetime.max.replace(tzinfo=WEST)), "session_expire_time"),
        (Registration("s-2", "\ud800", EXPIRES), "user_id"),
        (Registration("\ud800", "anna", EXPIRES), "session_handle"),
        (Registration("s-2", "anna", EXPIRES, tenant_id="\ud800"), "tenant_id"),
        (Registration("s-2", "anna", EXPIRES, issuer="\ud800"), "issuer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_registration_that_cannot_be_sent_is_named_by_its_field(
    admin: RevocationClient, sidecar: FakeSidecar, registration: Registration, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        admin.register_sessions([Registration("s-1", "anna", EXPIRES), registration])
    assert caught.value.field == f"requests[1].{field}"
    assert sidecar.requests == {}


def test_a_time_as_a_number_is_a_type_error(admin: RevocationClient) -> None:
    with pytest.raises(TypeError, match="session_expire_time must be a datetime, not float"):
        admin.register_session("s-1", "anna", session_expire_time=cast("datetime", 1.5))


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        (session_pb2.SESSION_STATE_ACTIVE, SessionState.ACTIVE),
        (session_pb2.SESSION_STATE_REVOKED, SessionState.REVOKED),
        (session_pb2.SESSION_STATE_EXPIRED, SessionState.EXPIRED),
        (cast("session_pb2.SessionState.ValueType", 17), SessionState.UNRECOGNIZED),
    ],
    ids=lambda value: value.name if isinstance(value, SessionState) else "",
)
def test_get_session_says_what_has_become_of_it(
    admin: RevocationClient, sidecar: FakeSidecar, sent: session_pb2.SessionState.ValueType, state: SessionState
) -> None:
    answer = revocation_pb2.GetSessionResponse(session=RECORD)
    answer.session.state = sent
    answer.session.revoke_time.CopyFrom(timestamp(ISSUED))
    sidecar.script("GetSession", answer)
    session = admin.get_session("s-1", issuer=ISSUER)
    assert (session.state, session.revoke_time) == (state, ISSUED)
    assert sidecar.requests["GetSession"] == [revocation_pb2.GetSessionRequest(issuer=ISSUER, session_handle="s-1")]


def test_sessions_of_all_pages_are_listed(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    def page(token: str, *handles: str) -> revocation_pb2.ListSessionsResponse:
        sessions = [session_pb2.RegisteredSession(session_handle=handle) for handle in handles]
        return revocation_pb2.ListSessionsResponse(sessions=sessions, next_page_token=token)

    # A page may be empty and not be the last.
    sidecar.script("ListSessions", page("two", "a", "b"), page("three"), page("", "c"))
    listed = admin.list_sessions("anna", issuer=ISSUER)
    assert [session.session_handle for session in listed] == ["a", "b", "c"]
    assert sidecar.requests["ListSessions"] == [
        revocation_pb2.ListSessionsRequest(issuer=ISSUER, user_id="anna", page_token=token)
        for token in ("", "two", "three")
    ]


def test_a_page_is_not_asked_for_before_it_is_needed(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    one = revocation_pb2.ListSessionsResponse(sessions=[RECORD], next_page_token="more")
    sidecar.script("ListSessions", one)
    listed = iter(admin.list_sessions("anna"))
    assert sidecar.calls("ListSessions") == 0
    assert next(listed) == SESSION
    assert sidecar.calls("ListSessions") == 1
    assert next(listed) == SESSION
    assert sidecar.calls("ListSessions") == 2


def test_a_list_of_nothing_ends_at_once(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    sidecar.script("ListRevocations", revocation_pb2.ListRevocationsResponse())
    assert list(admin.list_revocations()) == []
    assert sidecar.requests["ListRevocations"] == [revocation_pb2.ListRevocationsRequest()]


def test_a_list_names_a_wrong_argument_before_it_is_walked(admin: RevocationClient) -> None:
    with pytest.raises(TypeError):
        admin.list_sessions(cast("str", 7))
    with pytest.raises(InvalidRequest):
        admin.list_revocations(actor="\ud800")


ENTRY = revocation_pb2.Revocation(
    revision=REVISION,
    kind=revocation_pb2.REVOCATION_KIND_USER,
    issuer=ISSUER,
    session_handle="s-1",
    user_id="anna",
    tenant_id="acme",
    except_session_handle="s-2",
    key_id="k1",
    key_thumbprint="NzbLs",
    revoke_time=timestamp(ISSUED),
    actor="support",
    reason="lost phone",
    request_id=REQUEST_ID,
    cause_sequence=3,
)


def test_the_audit_trail_is_read_whole_and_filtered(admin: RevocationClient, sidecar: FakeSidecar) -> None:
    from_the_future = revocation_pb2.Revocation(kind=cast("revocation_pb2.RevocationKind.ValueType", 50))
    sidecar.script(
        "ListRevocations",
        revocation_pb2.ListRevocationsResponse(revocations=[ENTRY], next_page_token="two"),
        revocation_pb2.ListRevocationsResponse(revocations=[from_the_future]),
    )
    filters: dict[str, Any] = {"session_handle": "s-1", "user_id": "anna", "tenant_id": "acme", "actor": "support"}
    first, second = admin.list_revocations(issuer=ISSUER, **filters)
    assert first == Revocation(
        revision=AT,
        kind=RevocationKind.USER,
        issuer=ISSUER,
        session_handle="s-1",
        user_id="anna",
        tenant_id="acme",
        except_session_handle="s-2",
        key_id="k1",
        key_thumbprint="NzbLs",
        revoke_time=ISSUED,
        actor="support",
        reason="lost phone",
        request_id=REQUEST_ID,
        cause_sequence=3,
    )
    assert (second.kind, second.cause_sequence) == (RevocationKind.UNRECOGNIZED, None)
    assert second.revoke_time == datetime(1970, 1, 1, tzinfo=UTC)
    assert sidecar.requests["ListRevocations"] == [
        revocation_pb2.ListRevocationsRequest(issuer=ISSUER, page_token=token, **filters) for token in ("", "two")
    ]
