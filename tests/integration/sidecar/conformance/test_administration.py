"""The register, the audit trail and what is refused, of the fake and of a real sidecar: alike."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sidegate import CallFailed, Registration, RevocationClient, RevocationKind, SessionClient, SessionState

from tests.integration.sidecar.conformance.worlds import AN_HOUR, World, answer, now


def test_registering_is_refused_alike(world: World, user: str) -> None:
    ends = now() + AN_HOUR
    world.admin.register_session(f"{user}-1", user, session_expire_time=ends)
    world.admin.revoke_session(f"{user}-2")

    def ask(
        handle: str, whose: str = user, create_time: datetime | None = None, session_expire_time: datetime = ends
    ) -> object:
        return answer(
            lambda: world.admin.register_session(
                handle, whose, create_time=create_time, session_expire_time=session_expire_time
            )
        )

    assert ask(f"{user}-1", "mallory") == (
        "PreconditionFailed",
        "FAILED_PRECONDITION",
        "SESSION_OF_ANOTHER",
        "session_handle",
    )
    assert ask(f"{user}-2") == ("PreconditionFailed", "FAILED_PRECONDITION", "SESSION_REVOKED", "session_handle")
    world.admin.revoke_user_sessions(user)
    assert ask(f"{user}-3", create_time=now() - AN_HOUR) == (
        "PreconditionFailed",
        "FAILED_PRECONDITION",
        "CREATE_TIME_REVOKED",
        "create_time",
    )
    assert ask(f"{user}-4", session_expire_time=now() - AN_HOUR) == (
        "InvalidRequest",
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
        "session_expire_time",
    )
    assert answer(
        lambda: world.admin.register_sessions(
            [Registration(f"{user}-5", user, ends), Registration(f"{user}-2", user, ends)]
        )
    ) == ("PreconditionFailed", "FAILED_PRECONDITION", "SESSION_REVOKED", "requests[1].session_handle")
    assert answer(lambda: world.admin.get_session(f"{user}-5")) == (
        "SessionNotRegistered",
        "NOT_FOUND",
        "SESSION_NOT_REGISTERED",
        None,
    )


BAD_CALLS: dict[str, tuple[Callable[[World], object], tuple[str, str | None]]] = {
    "an empty handle": (lambda world: world.admin.revoke_session(""), ("INVALID_FIELD", "session_handle")),
    "a long handle": (lambda world: world.admin.revoke_session("x" * 513), ("INVALID_FIELD", "session_handle")),
    "a handle with NUL": (lambda world: world.admin.revoke_session("a\0b"), ("INVALID_FIELD", "session_handle")),
    "an empty handle among others": (
        lambda world: world.admin.revoke_sessions(["a", ""]),
        ("INVALID_FIELD", "session_handles[1]"),
    ),
    "no handles": (lambda world: world.admin.revoke_sessions([]), ("BATCH_SIZE", "session_handles")),
    "1,001 handles": (
        lambda world: world.admin.revoke_sessions([str(number) for number in range(1001)]),
        ("BATCH_SIZE", "session_handles"),
    ),
    "an empty user": (lambda world: world.admin.revoke_user_sessions(""), ("INVALID_FIELD", "user_id")),
    "an empty tenant": (lambda world: world.admin.revoke_tenant_sessions(""), ("INVALID_FIELD", "tenant_id")),
    "an empty tenant of a user": (
        lambda world: world.admin.revoke_user_sessions("u", tenant_id=""),
        ("INVALID_FIELD", "tenant_id"),
    ),
    "an empty exception": (
        lambda world: world.admin.revoke_user_sessions("u", except_session_handle=""),
        ("INVALID_FIELD", "except_session_handle"),
    ),
    "a request id that is no UUID": (
        lambda world: world.admin.revoke_session("a", request_id="7"),
        ("INVALID_FIELD", "request_id"),
    ),
    "a long reason": (lambda world: world.admin.revoke_session("a", reason="x" * 1025), ("INVALID_FIELD", "reason")),
    "an issuer that nobody configured": (
        lambda world: world.admin.revoke_session("a", issuer="https://elsewhere.example"),
        ("UNKNOWN_ISSUER", "issuer"),
    ),
    "a key that is not in the set": (
        lambda world: world.admin.revoke_signing_key(key_id="no such key"),
        ("INVALID_FIELD", "key_id"),
    ),
    "a thumbprint that is none": (
        lambda world: world.admin.revoke_signing_key(key_thumbprint="short"),
        ("INVALID_FIELD", "key_thumbprint"),
    ),
    "too many audiences": (
        lambda world: world.client.verify("a.b.c", audiences=[str(number) for number in range(65)]),
        ("INVALID_FIELD", "accepted_audiences"),
    ),
    "an empty audience": (
        lambda world: world.client.verify("a.b.c", audiences=[""]),
        ("INVALID_FIELD", "accepted_audiences"),
    ),
    "an empty tenant to verify for": (
        lambda world: world.client.verify("a.b.c", tenant_id=""),
        ("INVALID_FIELD", "tenant_id"),
    ),
}


@pytest.mark.parametrize(("call", "expected"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_a_request_that_makes_no_sense_is_refused_alike(
    world: World, call: Callable[[World], object], expected: tuple[str, str | None]
) -> None:
    reason, field_path = expected

    assert answer(lambda: call(world)) == ("InvalidRequest", "INVALID_ARGUMENT", reason, field_path)


def test_the_register_reads_alike(world: World, user: str) -> None:
    began, ends = now() - AN_HOUR, now() + AN_HOUR
    world.admin.register_session(f"{user}-2", user, tenant_id="acme", create_time=began, session_expire_time=ends)
    world.admin.register_session(f"{user}-1", user, create_time=began, session_expire_time=now() - timedelta(minutes=1))
    world.admin.register_session(f"{user}-3", user, session_expire_time=ends)
    world.admin.revoke_session(f"{user}-3")

    world.admin.register_session(f"{user}-2", user, tenant_id="acme", session_expire_time=ends + AN_HOUR)
    sessions = list(world.admin.list_sessions(user))

    assert [(session.session_handle, session.state) for session in sessions] == [
        (f"{user}-1", SessionState.EXPIRED),
        (f"{user}-2", SessionState.ACTIVE),
        (f"{user}-3", SessionState.REVOKED),
    ]
    assert world.admin.get_session(f"{user}-2") == sessions[1]
    assert (sessions[1].issuer, sessions[1].tenant_id, sessions[1].create_time) == (world.issuer, "acme", began)
    assert sessions[1].session_expire_time == ends + AN_HOUR
    assert sessions[1].revoke_time is None
    assert sessions[2].revoke_time is not None


def test_the_audit_trail_reads_alike(world: World, user: str) -> None:
    tenant = f"tenant-of-{user}"
    world.admin.register_session(f"{user}-1", user, tenant_id=tenant, session_expire_time=now() + AN_HOUR)
    world.admin.register_session(f"{user}-2", user, tenant_id=tenant, session_expire_time=now() + AN_HOUR)
    request_id = str(uuid.uuid4())
    before = world.admin.revoke_session(f"{user}-3", reason="unknown").revision.sequence

    world.admin.revoke_user_sessions(
        user, tenant_id=tenant, except_session_handle=f"{user}-2", reason="moved", request_id=request_id
    )
    world.admin.revoke_tenant_sessions(tenant, reason="closed")

    def trail(**filters: Any) -> list[tuple[object, ...]]:
        return [
            (
                entry.revision.sequence - before,
                entry.kind,
                entry.session_handle,
                entry.user_id,
                entry.tenant_id,
                entry.except_session_handle,
                entry.cause_sequence and entry.cause_sequence - before,
                entry.actor,
                entry.reason,
            )
            for entry in world.admin.list_revocations(**filters)
        ]

    by, session = "local-socket", RevocationKind.SESSION
    closed = (3, RevocationKind.TENANT, "", "", tenant, "", None, by, "closed")
    with_tenant = (4, session, f"{user}-2", user, "", "", 3, by, "closed")
    moved = (1, RevocationKind.USER, "", user, tenant, f"{user}-2", None, by, "moved")
    with_user = (2, session, f"{user}-1", user, "", "", 1, by, "moved")
    assert trail(user_id=user) == [with_tenant, with_user, moved]
    assert trail(tenant_id=tenant) == [closed, moved]
    assert trail(session_handle=f"{user}-3") == [(0, session, f"{user}-3", "", "", "", None, by, "unknown")]
    assert trail(user_id=user, actor="nobody") == []
    assert {entry.request_id for entry in world.admin.list_revocations(session_handle=f"{user}-1")} == {request_id}


def test_long_listings_come_whole_alike(world: World, user: str) -> None:
    handles = [f"{user}-{number:03}" for number in range(130)]
    world.admin.register_sessions([Registration(handle, user, now() + AN_HOUR) for handle in handles])
    world.admin.revoke_user_sessions(user)

    assert [session.session_handle for session in world.admin.list_sessions(user)] == handles
    assert [entry.session_handle for entry in world.admin.list_revocations(user_id=user)] == [*reversed(handles), ""]


def test_a_service_is_missing_alike_on_the_other_listener(world: World) -> None:
    with SessionClient(world.admin_target) as misled, RevocationClient(world.target) as misled_admin:
        for call in (lambda: misled.verify("a.b.c"), lambda: misled_admin.revoke_session("a")):
            with pytest.raises(CallFailed) as failed:
                call()
            assert (failed.value.code, failed.value.reason) == ("UNIMPLEMENTED", None)
