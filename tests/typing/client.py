"""What the type checkers see of the client. Checked by mypy --strict and pyright strict; never run.

Every ignore below is a mistake that the types must catch: without it the checkers fail, and if the types went slack
they would report the ignore as unused.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, assert_type

from sidegate import (
    AsyncRevocationClient,
    AsyncSessionClient,
    ClientClosed,
    Evidence,
    EvidenceSource,
    InvalidRequest,
    NearCacheStatistics,
    NextAction,
    RegisteredSession,
    Registration,
    Rejection,
    RejectionReason,
    Revision,
    Revocation,
    RevocationClient,
    RevocationKind,
    RevocationUnavailable,
    ServingStatus,
    Session,
    SessionClient,
    SessionEnded,
    SessionEndReason,
    SessionRejected,
    SessionRevoked,
    SessionsEnded,
    SessionsRevoked,
    SessionState,
    SessionWatch,
    SigningKeyRevoked,
    SignOutScope,
    Verdict,
    VerificationUnavailable,
)


def verifying(client: SessionClient, revision: Revision) -> None:
    session = client.verify(
        "token",
        check_database=True,
        at_least_as_fresh=revision,
        audiences=["api"],
        tenant_id="acme",
        anti_csrf_token=None,
        timeout=0.5,
    )
    assert_type(session, Session)
    assert_type(session.user_id, str)
    assert_type(session.token_expire_time, datetime)
    assert_type(session.claims, Mapping[str, Any])
    assert_type(session.evidence, Evidence)
    assert_type(session.evidence.source, EvidenceSource)
    assert_type(session.evidence.revision, Revision | None)
    assert_type(session.evidence.revocation_lag, timedelta | None)
    assert_type(client.check("token"), Verdict)
    assert_type(client.sign_out("token", SignOutScope.ALL_SESSIONS), SessionsEnded)
    assert_type(client.serving_status(), ServingStatus)
    assert_type(client.near_cache_statistics(), NearCacheStatistics)
    assert_type(client.near_cache_statistics().dropped_by_revocation, int)
    assert_type(client.wait_until_ready(5), None)
    assert_type(client.close(), None)
    assert_type(client.watch_session(session, on_end=ended), SessionWatch)
    with client.watch_session(session, "token", on_end=ended, anti_csrf_token="x", outlive_token=True) as watch:
        assert_type(watch.stop(), None)
    with client as entered:
        assert_type(entered, SessionClient)


def ended(end: SessionEnded | ClientClosed) -> None:
    if isinstance(end, SessionEnded):
        assert_type(end.reason, SessionEndReason)
        assert_type(end.next_action, NextAction)
        assert_type(end.rejection, Rejection | None)


def judging(verdict: Verdict) -> None:
    match verdict.outcome:
        case Session() as session:
            assert_type(session, Session)
        case rejection:
            assert_type(rejection, Rejection)
            assert_type(rejection.reason, RejectionReason)
            assert_type(rejection.next_action, NextAction)


def catching(client: SessionClient, admin: RevocationClient) -> None:
    try:
        client.verify("token")
    except SessionRejected as error:
        assert_type(error.reason, RejectionReason)
        assert_type(error.next_action, NextAction)
        assert_type(error.message, str)
        assert_type(error.evidence, Evidence | None)
    except VerificationUnavailable as error:
        assert_type(error.code, str)
        assert_type(error.reason, str | None)
        assert_type(error.retryable, bool)
    except InvalidRequest as error:
        assert_type(error.field, str | None)
    try:
        admin.revoke_session("s-1")
    except RevocationUnavailable as error:
        assert_type(error.request_id, str | None)


def administering(admin: RevocationClient, end: datetime) -> None:
    assert_type(
        admin.revoke_session("s-1", issuer="https://a", reason="x", request_id="r", validate_only=True), SessionRevoked
    )
    assert_type(admin.revoke_sessions(("s-1", "s-2")), SessionsRevoked)
    assert_type(
        admin.revoke_user_sessions("anna", tenant_id="acme", except_session_handle="s-1").revoked_count,
        int,
    )
    assert_type(admin.revoke_tenant_sessions("acme"), SessionsEnded)
    assert_type(admin.revoke_signing_key(key_id="k1"), SigningKeyRevoked)
    assert_type(admin.register_session("s-1", "anna", session_expire_time=end), RegisteredSession)
    assert_type(admin.register_sessions([Registration("s-1", "anna", end)]), tuple[RegisteredSession, ...])
    assert_type(admin.get_session("s-1").state, SessionState)
    assert_type(admin.list_sessions("anna"), Iterator[RegisteredSession])
    assert_type(admin.list_revocations(actor="support"), Iterator[Revocation])
    with admin as entered:
        assert_type(entered, RevocationClient)


async def on_a_loop(client: AsyncSessionClient, admin: AsyncRevocationClient, end: datetime) -> None:
    assert_type(await client.verify("token", check_database=True), Session)
    assert_type(await client.check("token"), Verdict)
    assert_type(await client.sign_out("token"), SessionsEnded)
    assert_type(await client.serving_status(), ServingStatus)
    assert_type(client.near_cache_statistics(), NearCacheStatistics)
    async for told in client.watch_session(await client.verify("token"), "token", outlive_token=True):
        assert_type(told, SessionEnded)
    assert_type(await admin.revoke_session("s-1"), SessionRevoked)
    assert_type(await admin.revoke_sessions(["s-1"]), SessionsRevoked)
    assert_type(await admin.revoke_user_sessions("anna"), SessionsEnded)
    assert_type(await admin.revoke_tenant_sessions("acme"), SessionsEnded)
    assert_type(await admin.revoke_signing_key(key_thumbprint="t"), SigningKeyRevoked)
    assert_type(await admin.register_session("s-1", "anna", session_expire_time=end), RegisteredSession)
    assert_type(await admin.register_sessions([]), tuple[RegisteredSession, ...])
    assert_type(await admin.get_session("s-1"), RegisteredSession)
    assert_type(admin.list_sessions("anna"), AsyncIterator[RegisteredSession])
    async for revocation in admin.list_revocations():
        assert_type(revocation.kind, RevocationKind)
    async with client as entered, admin as entered_admin:
        assert_type(entered, AsyncSessionClient)
        assert_type(entered_admin, AsyncRevocationClient)


def mistakes(client: SessionClient, admin: RevocationClient, end: datetime) -> None:
    client.verify(b"token")  # type: ignore[arg-type]  # a token is text
    client.verify("token", True)  # type: ignore[call-arg]  # what a caller means by True must be named
    client.verify("token", at_least_as_fresh=7)  # type: ignore[arg-type]  # a sequence says nothing without its store
    client.verify("token", audience="api")  # type: ignore[call-arg]  # the name is audiences
    client.sign_out("token", "EVERYTHING")  # type: ignore[arg-type]  # scopes are an enum
    SessionClient("127.0.0.1:7311", False)  # type: ignore[call-arg]  # what a caller means must be named
    client.near_cache_statistics().hits = 0  # type: ignore[misc]  # statistics are immutable
    admin.register_session("s-1", "anna")  # type: ignore[call-arg]  # a session has an end
    admin.register_session("s-1", "anna", end)  # type: ignore[call-arg]  # times must be named
    client.verify("token").user_id = "mallory"  # type: ignore[misc]  # sessions are immutable
