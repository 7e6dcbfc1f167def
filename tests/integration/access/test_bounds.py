"""Grants that are bound to issuers and tenants: what they reach, what they do not, and that neither tells the other."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from sidegate.v1 import feed_pb2
from sidegate.v1 import revocation_pb2 as v1

from tests.fakes.certificate_authority import Pair
from tests.integration.access.scene import REVOCATION, REVOKE, SESSIONS, Outcome, Running, Scene, a_handle

ISSUER = "https://issuer.example"
SECOND = "https://second.example"
ALL_ROLES = ["revoker", "registrar", "auditor", "breaker"]
TENANT_BOUND = "tenant.internal"
ISSUER_BOUND = "issuer.internal"
UNBOUND = "unbound.internal"
GRANTS = [
    {"subject": f"mtls:{TENANT_BOUND}", "roles": ALL_ROLES, "tenants": ["acme", "umbrella"]},
    {"subject": f"mtls:{ISSUER_BOUND}", "roles": ALL_ROLES, "issuers": [ISSUER]},
    {"subject": f"mtls:{UNBOUND}", "roles": ALL_ROLES},
    # Neither of the two covers tenant "b" of the first issuer, and together they do not either.
    {"subject": "mtls:crossed.internal", "roles": ["breaker"], "issuers": [ISSUER], "tenants": ["a"]},
    {"subject": "mtls:crossed.internal", "roles": ["breaker"], "issuers": [SECOND], "tenants": ["b"]},
    {"subject": "mtls:crossed.internal", "roles": ["revoker"]},
]


@pytest.fixture(scope="module")
def running(module_folder: Path) -> Iterator[Running]:
    with Scene(module_folder, GRANTS).running() as running:
        yield running


class Caller:
    """Calls with one certificate."""

    def __init__(self, running: Running, name: str) -> None:
        self._running = running
        self._pair: Pair = running.scene.authority.issue(dns=[name])

    def __call__(self, method: str, request: Message) -> Outcome:
        return self._running.call(method, request, pair=self._pair)


@pytest.fixture(scope="module")
def unbound(running: Running) -> Caller:
    return Caller(running, UNBOUND)


@pytest.fixture(scope="module")
def tenant_bound(running: Running) -> Caller:
    return Caller(running, TENANT_BOUND)


@pytest.fixture(scope="module")
def issuer_bound(running: Running) -> Caller:
    return Caller(running, ISSUER_BOUND)


def registering(handle: str, tenant: str, *, issuer: str = ISSUER, user: str = "alice") -> v1.RegisterSessionRequest:
    ends = Timestamp(seconds=int(time.time()) + 3600)
    return v1.RegisterSessionRequest(
        issuer=issuer, session_handle=handle, user_id=user, tenant_id=tenant, session_expire_time=ends
    )


def registered(unbound: Caller, tenant: str, issuer: str = ISSUER) -> str:
    """A session of that tenant, registered by somebody else."""
    handle = a_handle()
    assert unbound(f"{SESSIONS}/RegisterSession", registering(handle, tenant, issuer=issuer)).code == "OK"
    return handle


def user_sessions(*, tenant: str | None = None, spared: str | None = None) -> v1.RevokeUserSessionsRequest:
    return v1.RevokeUserSessionsRequest(
        issuer=ISSUER, user_id="alice", tenant_id=tenant, except_session_handle=spared, validate_only=True
    )


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("RevocationService/RevokeUserSessions", user_sessions(tenant="acme")),
        ("RevocationService/RevokeTenantSessions", v1.RevokeTenantSessionsRequest(issuer=ISSUER, tenant_id="umbrella")),
        ("RevocationService/ListRevocations", v1.ListRevocationsRequest(tenant_id="acme")),
        ("SessionService/RegisterSession", registering("by-acme", "acme")),
        (
            "SessionService/BatchRegisterSessions",
            v1.BatchRegisterSessionsRequest(requests=[registering("b-1", "acme"), registering("b-2", "umbrella")]),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_grant_of_a_tenant_reaches_what_names_the_tenant(
    tenant_bound: Caller, method: str, request_: Message
) -> None:
    assert tenant_bound(f"/sidegate.v1.{method}", request_).code == "OK"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        pytest.param(f"{REVOCATION}/RevokeUserSessions", user_sessions(), id="a user in all tenants"),
        pytest.param(f"{REVOCATION}/RevokeUserSessions", user_sessions(tenant="other"), id="a user in another tenant"),
        pytest.param(f"{REVOCATION}/RevokeUserSessions", user_sessions(tenant=""), id="a user in an empty tenant"),
        pytest.param(
            f"{REVOCATION}/RevokeTenantSessions",
            v1.RevokeTenantSessionsRequest(issuer=ISSUER, tenant_id="other"),
            id="another tenant",
        ),
        pytest.param(
            f"{REVOCATION}/RevokeTenantSessions",
            v1.RevokeTenantSessionsRequest(issuer=ISSUER, tenant_id="Acme"),
            id="the tenant in another spelling",
        ),
        pytest.param(
            f"{REVOCATION}/RevokeSigningKey",
            v1.RevokeSigningKeyRequest(issuer=ISSUER, key_id="ES256-2", validate_only=True),
            id="a key, which all tenants share",
        ),
        pytest.param(f"{REVOCATION}/ListRevocations", v1.ListRevocationsRequest(), id="the audit trail of all"),
        pytest.param(
            f"{REVOCATION}/ListRevocations",
            v1.ListRevocationsRequest(tenant_id="other"),
            id="the audit trail of another tenant",
        ),
        pytest.param(f"{SESSIONS}/RegisterSession", registering("r-1", "other"), id="a session of another tenant"),
        pytest.param(f"{SESSIONS}/RegisterSession", registering("r-2", ""), id="a session of no tenant"),
        pytest.param(
            f"{SESSIONS}/BatchRegisterSessions",
            v1.BatchRegisterSessionsRequest(requests=[registering("r-3", "acme"), registering("r-4", "other")]),
            id="sessions of which one is another tenant's",
        ),
        pytest.param(
            f"{SESSIONS}/ListSessions", v1.ListSessionsRequest(issuer=ISSUER, user_id="alice"), id="all of a user's"
        ),
        pytest.param(
            "/sidegate.v1.RevocationFeedService/WatchRevocations", feed_pb2.WatchRevocationsRequest(), id="the feed"
        ),
    ],
)
def test_a_grant_of_a_tenant_reaches_nothing_else(
    running: Running, tenant_bound: Caller, method: str, request_: Message
) -> None:
    before = len(running.refusals())

    assert tenant_bound(method, request_).code == "PERMISSION_DENIED"
    refusal = running.next_refusal(before)
    assert (refusal["actor"], refusal["method"]) == (f"mtls:{TENANT_BOUND}", method)
    assert refusal["cause"] == "no role on this issuer and tenant"


def test_a_session_of_the_tenant_can_be_revoked_by_its_handle(unbound: Caller, tenant_bound: Caller) -> None:
    own = [registered(unbound, "acme"), registered(unbound, "umbrella"), registered(unbound, "acme")]

    assert (
        tenant_bound(f"{SESSIONS}/GetSession", v1.GetSessionRequest(issuer=ISSUER, session_handle=own[0])).code == "OK"
    )
    outcome = tenant_bound(REVOKE, v1.RevokeSessionRequest(issuer=ISSUER, session_handle=own[0]))
    assert v1.RevokeSessionResponse.FromString(outcome.answer).newly_revoked
    outcome = tenant_bound(
        f"{REVOCATION}/BatchRevokeSessions", v1.BatchRevokeSessionsRequest(issuer=ISSUER, session_handles=own)
    )
    assert v1.BatchRevokeSessionsResponse.FromString(outcome.answer).newly_revoked_handles == own[1:]


@pytest.mark.parametrize("whose", ["another tenant", "no tenant", "nobody"])
def test_a_session_of_others_is_refused_as_one_that_nobody_registered(
    unbound: Caller, tenant_bound: Caller, whose: str
) -> None:
    handle = {
        "another tenant": lambda: registered(unbound, "other"),
        "no tenant": lambda: registered(unbound, ""),
        "nobody": a_handle,
    }[whose]()
    own = registered(unbound, "acme")

    outcomes = [
        tenant_bound(REVOKE, v1.RevokeSessionRequest(issuer=ISSUER, session_handle=handle)),
        tenant_bound(
            f"{REVOCATION}/BatchRevokeSessions",
            v1.BatchRevokeSessionsRequest(issuer=ISSUER, session_handles=[own, handle]),
        ),
        tenant_bound(f"{SESSIONS}/GetSession", v1.GetSessionRequest(issuer=ISSUER, session_handle=handle)),
        tenant_bound(f"{REVOCATION}/RevokeUserSessions", user_sessions(tenant="acme", spared=handle)),
    ]

    message = "the caller has no role for this RPC on this issuer and tenant"
    assert set(map(repr, outcomes)) == {repr(Outcome("PERMISSION_DENIED", "PERMISSION_DENIED", {}, message=message))}
    # Nor was anything done.
    found = unbound(f"{SESSIONS}/GetSession", v1.GetSessionRequest(issuer=ISSUER, session_handle=own))
    assert not v1.GetSessionResponse.FromString(found.answer).session.HasField("revoke_time")


@pytest.mark.parametrize("handle", ["", "x" * 513, "a\x00b"])
def test_a_handle_that_cannot_be_registered_is_refused_without_asking_the_store(
    tenant_bound: Caller, handle: str
) -> None:
    outcome = tenant_bound(REVOKE, v1.RevokeSessionRequest(issuer=ISSUER, session_handle=handle))
    assert outcome.code == "PERMISSION_DENIED"


def test_a_grant_of_an_issuer_reaches_all_its_tenants_and_no_other_issuer(
    unbound: Caller, issuer_bound: Caller
) -> None:
    theirs = registered(unbound, "acme", SECOND)

    def revoke(issuer: str, handle: str) -> str:
        return issuer_bound(REVOKE, v1.RevokeSessionRequest(issuer=issuer, session_handle=handle)).code

    assert revoke(ISSUER, a_handle()) == "OK"
    assert revoke(SECOND, theirs) == "PERMISSION_DENIED"
    assert revoke("https://admin.example", a_handle()) == "PERMISSION_DENIED"
    assert revoke("https://nobody.example", a_handle()) == "PERMISSION_DENIED", "which issuers there are is not told"
    assert revoke("", a_handle()) == "PERMISSION_DENIED", "an absent issuer is none of theirs"


def test_the_audit_trail_of_a_grant_of_an_issuer_names_that_issuer(issuer_bound: Caller) -> None:
    listing = f"{REVOCATION}/ListRevocations"

    assert issuer_bound(listing, v1.ListRevocationsRequest(issuer=ISSUER)).code == "OK"
    assert issuer_bound(listing, v1.ListRevocationsRequest(issuer=SECOND)).code == "PERMISSION_DENIED"
    assert issuer_bound(listing, v1.ListRevocationsRequest()).code == "PERMISSION_DENIED", "that would be all issuers"


def test_two_grants_do_not_add_up_to_a_third(running: Running) -> None:
    crossed = Caller(running, "crossed.internal")

    def revoke_tenant(issuer: str, tenant: str) -> str:
        request = v1.RevokeTenantSessionsRequest(issuer=issuer, tenant_id=tenant, validate_only=True)
        return crossed(f"{REVOCATION}/RevokeTenantSessions", request).code

    assert [revoke_tenant(ISSUER, "a"), revoke_tenant(SECOND, "b")] == ["OK", "OK"]
    assert [revoke_tenant(ISSUER, "b"), revoke_tenant(SECOND, "a")] == ["PERMISSION_DENIED"] * 2
    assert crossed(REVOKE, v1.RevokeSessionRequest(issuer=SECOND, session_handle=a_handle())).code == "OK"
