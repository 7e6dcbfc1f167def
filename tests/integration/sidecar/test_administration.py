"""The admin services through the Python client: what is registered, what is revoked, and what the audit trail says."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
from sidegate import (
    EvidenceSource,
    InvalidRequest,
    NextAction,
    NotSupported,
    PreconditionFailed,
    Registration,
    RejectionReason,
    RevocationClient,
    RevocationKind,
    SessionClient,
    SessionNotRegistered,
    SessionRejected,
    SessionState,
)

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

AN_HOUR = timedelta(hours=1)
AdminCall: TypeAlias = Callable[[RevocationClient], object]


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    with running_sidecar(module_folder, issuers=issuers_setting(file_issuer(issuer, module_folder))) as running:
        yield running


@pytest.fixture(scope="module")
def admin(sidecar: Sidecar) -> Iterator[RevocationClient]:
    with sidecar.administration() as connected:
        yield connected


@pytest.fixture(scope="module")
def client(sidecar: Sidecar) -> Iterator[SessionClient]:
    with sidecar.verification() as connected:
        yield connected


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid.uuid4().hex}"


def in_an_hour() -> datetime:
    return datetime.now(UTC) + AN_HOUR


def reason_for(client: SessionClient, token: str, *, check_database: bool = False) -> RejectionReason:
    """Why a token is refused; it is a failure if it is not."""
    with pytest.raises(SessionRejected) as refused:
        client.verify(token, check_database=check_database)
    return refused.value.reason


def test_a_session_is_registered_read_listed_and_revoked(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    ends = in_an_hour()
    token = issuer.mint(user, f"{user}-1")

    registered = admin.register_session(f"{user}-1", user, session_expire_time=ends)
    admin.register_session(f"{user}-2", user, session_expire_time=ends)

    assert registered.state is SessionState.ACTIVE
    assert registered.session_expire_time == ends
    assert admin.get_session(f"{user}-1") == registered
    assert client.verify(token, check_database=True).evidence.source is EvidenceSource.DATABASE

    outcome = admin.revoke_session(f"{user}-1", reason="stolen laptop")

    assert outcome.newly_revoked
    revoked = admin.get_session(f"{user}-1")
    assert revoked.state is SessionState.REVOKED
    assert revoked.revoke_time is not None
    assert [session.state for session in admin.list_sessions(user)] == [SessionState.REVOKED, SessionState.ACTIVE]
    assert reason_for(client, token) is RejectionReason.SESSION_REVOKED
    assert reason_for(client, token, check_database=True) is RejectionReason.SESSION_REVOKED
    assert not admin.revoke_session(f"{user}-1").newly_revoked
    with pytest.raises(PreconditionFailed) as refused:
        admin.register_session(f"{user}-1", user, session_expire_time=in_an_hour())
    assert refused.value.reason == "SESSION_REVOKED"


def test_registering_again_moves_the_end_and_nothing_else(admin: RevocationClient, user: str) -> None:
    first = admin.register_session(user, user, session_expire_time=in_an_hour())
    later = first.session_expire_time + AN_HOUR

    again = admin.register_session(user, user, session_expire_time=later)

    assert again.session_expire_time == later
    assert again.create_time == first.create_time
    with pytest.raises(PreconditionFailed) as refused:
        admin.register_session(user, "somebody else", session_expire_time=later)
    assert (refused.value.reason, refused.value.field) == ("SESSION_OF_ANOTHER", "session_handle")


def test_a_handle_that_nobody_registered_is_revoked_all_the_same(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    assert admin.revoke_session(user).newly_revoked
    assert not admin.revoke_session(user).newly_revoked
    assert reason_for(client, issuer.mint("alice", user)) is RejectionReason.SESSION_REVOKED
    with pytest.raises(PreconditionFailed) as refused:
        admin.register_session(user, "alice", session_expire_time=in_an_hour())
    assert refused.value.reason == "SESSION_REVOKED"


def test_the_audit_trail_says_what_who_when_and_why(admin: RevocationClient, issuer: FakeIssuer, user: str) -> None:
    began = datetime.now(UTC)
    admin.register_session(f"{user}-1", user, session_expire_time=in_an_hour())
    request_id = str(uuid.uuid4())

    outcome = admin.revoke_user_sessions(user, reason="password changed", request_id=request_id)

    entries = list(admin.list_revocations(user_id=user))
    assert [entry.kind for entry in entries] == [RevocationKind.SESSION, RevocationKind.USER]
    session, watermark = entries
    assert session.session_handle == f"{user}-1"
    assert session.cause_sequence == watermark.revision.sequence
    assert watermark.user_id == user
    assert {entry.reason for entry in entries} == {"password changed"}
    assert {entry.request_id for entry in entries} == {request_id}
    assert {entry.actor for entry in entries} == {"local-socket"}
    assert {entry.issuer for entry in entries} == {issuer.name}
    assert all(began <= entry.revoke_time <= datetime.now(UTC) for entry in entries)
    assert entries[0].revision == outcome.revision
    assert list(admin.list_revocations(session_handle=f"{user}-1")) == [session]
    assert list(admin.list_revocations(user_id=user, actor="nobody")) == []


def test_a_long_trail_comes_in_pages(admin: RevocationClient, user: str) -> None:
    handles = [f"{user}-{number:03}" for number in range(230)]
    outcome = admin.revoke_sessions(handles, reason=user)
    assert outcome.newly_revoked_handles == tuple(handles)

    mine = [entry.session_handle for entry in admin.list_revocations() if entry.reason == user]

    assert mine == handles[::-1]


def test_a_batch_is_registered_whole_or_not_at_all(admin: RevocationClient, user: str) -> None:
    admin.revoke_session(f"{user}-2")
    registrations = [Registration(f"{user}-{number}", user, in_an_hour()) for number in range(4)]

    with pytest.raises(PreconditionFailed) as refused:
        admin.register_sessions(registrations)

    assert refused.value.reason == "SESSION_REVOKED"
    assert (refused.value.field or "").startswith("requests[2]")
    assert list(admin.list_sessions(user)) == []
    kept = [registration for number, registration in enumerate(registrations) if number != 2]
    assert len(admin.register_sessions(kept)) == 3


def test_logging_out_other_devices_spares_this_one_and_counts_the_rest(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    handles = [f"{user}-{device}" for device in ("here", "phone", "tablet")]
    past = datetime.now(UTC) - AN_HOUR
    for handle in handles:
        admin.register_session(handle, user, create_time=past, session_expire_time=in_an_hour())
    admin.register_session(
        f"{user}-over", user, create_time=past, session_expire_time=datetime.now(UTC) - timedelta(minutes=1)
    )
    minted = int(past.timestamp())
    tokens = {handle: issuer.mint(user, handle, iat=minted) for handle in [*handles, f"{user}-unregistered"]}

    outcome = admin.revoke_user_sessions(user, except_session_handle=handles[0])

    assert outcome.revoked_count == 2
    for check_database in (False, True):
        assert client.verify(tokens[handles[0]], check_database=check_database).user_id == user
        for handle in handles[1:]:
            assert reason_for(client, tokens[handle], check_database=check_database) is RejectionReason.SESSION_REVOKED
        unregistered = tokens[f"{user}-unregistered"]
        assert reason_for(client, unregistered, check_database=check_database) is RejectionReason.USER_REVOKED
    assert admin.revoke_user_sessions(user).revoked_count == 1
    assert reason_for(client, tokens[handles[0]]) is RejectionReason.SESSION_REVOKED


def test_a_login_after_logging_out_everywhere_is_good(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    """Its token's iat, of whole seconds, lies at or before the revocation: the register tells that it came after."""
    admin.register_session(f"{user}-old", user, session_expire_time=in_an_hour())
    old = issuer.mint(user, f"{user}-old")

    admin.revoke_user_sessions(user)
    admin.register_session(f"{user}-new", user, session_expire_time=in_an_hour())
    new = issuer.mint(user, f"{user}-new")

    assert client.verify(new).session_handle == f"{user}-new"
    assert client.verify(new, check_database=True).session_handle == f"{user}-new"
    assert reason_for(client, old) is RejectionReason.SESSION_REVOKED


def test_an_unregistered_session_near_a_revocation_is_told_to_refresh(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    admin.revoke_user_sessions(user)

    with pytest.raises(SessionRejected) as refused:
        client.verify(issuer.mint(user, f"{user}-unregistered"))

    assert refused.value.reason is RejectionReason.USER_REVOKED
    assert refused.value.next_action is NextAction.REFRESH


def test_a_revocation_within_a_tenant_leaves_the_others_alone(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    past = datetime.now(UTC) - AN_HOUR
    for tenant in ("acme", "globex"):
        admin.register_session(
            f"{user}-{tenant}", user, tenant_id=tenant, create_time=past, session_expire_time=in_an_hour()
        )

    assert admin.revoke_user_sessions(user, tenant_id="acme").revoked_count == 1

    states = {session.tenant_id: session.state for session in admin.list_sessions(user)}
    assert states == {"acme": SessionState.REVOKED, "globex": SessionState.ACTIVE}


def test_a_replayed_request_gets_the_first_answer(admin: RevocationClient, user: str) -> None:
    request_id = str(uuid.uuid4())
    first = admin.revoke_session(user, request_id=request_id)
    for_users = str(uuid.uuid4())
    admin.register_session(f"{user}-1", user, session_expire_time=in_an_hour())
    users = admin.revoke_user_sessions(user, request_id=for_users)
    admin.revoke_session(f"{user}-moving-the-log-on")

    assert first.newly_revoked
    assert admin.revoke_session(user, request_id=request_id) == first
    assert admin.revoke_user_sessions(user, request_id=for_users) == users
    assert users.revoked_count == 1
    with pytest.raises(InvalidRequest) as reused:
        admin.revoke_session(f"{user}-another", request_id=request_id)
    assert reused.value.reason == "REQUEST_ID_REUSED"


UNUSABLE: dict[str, tuple[AdminCall, str]] = {
    "no handle": (lambda admin: admin.revoke_session(""), "session_handle"),
    "a handle of 514 bytes": (lambda admin: admin.revoke_session("é" * 257), "session_handle"),
    "a handle with NUL": (lambda admin: admin.revoke_session("a\0b"), "session_handle"),
    "unknown issuer": (lambda admin: admin.revoke_session("a", issuer="https://x"), "issuer"),
    "a reason too long": (lambda admin: admin.revoke_session("a", reason="x" * 1025), "reason"),
    "no UUID": (lambda admin: admin.revoke_session("a", request_id="x"), "request_id"),
    "no handles": (lambda admin: admin.revoke_sessions([]), "session_handles"),
    "1,001 handles": (lambda admin: admin.revoke_sessions(["a"] * 1001), "session_handles"),
    "the second is empty": (lambda admin: admin.revoke_sessions(["a", ""]), "session_handles[1]"),
    "no user": (lambda admin: admin.revoke_user_sessions(""), "user_id"),
    "over before it began": (
        lambda admin: admin.register_session("late", "u", session_expire_time=datetime(2020, 1, 1, tzinfo=UTC)),
        "session_expire_time",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_field_that_cannot_be_used_is_named(admin: RevocationClient, name: str) -> None:
    call, field = UNUSABLE[name]

    with pytest.raises(InvalidRequest) as refused:
        call(admin)

    assert refused.value.field == field
    assert refused.value.message.startswith(f"{field}: ")


def test_an_exception_must_be_a_session_of_that_user(admin: RevocationClient, user: str) -> None:
    admin.register_session(f"{user}-1", "somebody else", session_expire_time=in_an_hour())

    with pytest.raises(InvalidRequest) as refused:
        admin.revoke_user_sessions(user, except_session_handle=f"{user}-1")

    assert refused.value.reason == "NOT_A_SESSION_OF_USER"


def test_a_session_that_nobody_registered_is_not_found(admin: RevocationClient, user: str) -> None:
    with pytest.raises(SessionNotRegistered):
        admin.get_session(user)


def test_what_is_only_validated_is_answered_and_not_done(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, user: str
) -> None:
    token = issuer.mint(user, f"{user}-1")
    admin.register_session(f"{user}-1", user, session_expire_time=in_an_hour())
    admin.register_session(f"{user}-2", f"{user}-2", tenant_id=user, session_expire_time=in_an_hour())
    trail = list(admin.list_revocations())

    assert admin.revoke_session(f"{user}-1", validate_only=True).newly_revoked
    assert admin.revoke_sessions([f"{user}-1", user], validate_only=True).newly_revoked_handles == (f"{user}-1", user)
    assert admin.revoke_user_sessions(user, validate_only=True).revoked_count == 1
    assert admin.revoke_tenant_sessions(user, validate_only=True).revoked_count == 1
    revision = admin.revoke_signing_key(key_id=issuer.key_id("ES256"), validate_only=True).revision

    assert revision.sequence == max((each.revision.sequence for each in trail), default=0)
    assert list(admin.list_revocations()) == trail
    assert client.verify(token, check_database=True).user_id == user


def test_the_data_plane_can_neither_revoke_nor_register(sidecar: Sidecar, user: str) -> None:
    with RevocationClient(sidecar.target, timeout=10) as misplaced:
        with pytest.raises(NotSupported):
            misplaced.revoke_session(user)
        with pytest.raises(NotSupported):
            misplaced.register_session(user, user, session_expire_time=in_an_hour())
