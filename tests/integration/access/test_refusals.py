"""Who the admin listener refuses, over real TLS: each refusal with its status, and with its entry in the log."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty
from sidegate.v1 import revocation_pb2 as v1
from sidegate_sidecar.access import ROLES_FOR, Role

from tests.fakes.certificate_authority import A_DAY, CertificateAuthority, Pair
from tests.fakes.issuer import FakeIssuer
from tests.integration.access.scene import (
    ADMIN_AUDIENCE,
    DNS_NAME,
    REVOCATION,
    REVOKE,
    SPIFFE_ID,
    TIMEOUT,
    Outcome,
    Running,
    Scene,
    a_handle,
    revoking,
)

GRANTS = [
    {"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker"]},
    {"subject": f"mtls:{DNS_NAME}", "roles": ["revoker"]},
    {"subject": "token:https://admin.example#machine", "roles": ["revoker"]},
    {"subject": "token:https://admin.example#leaver", "roles": ["revoker"]},
    *({"subject": f"mtls:{role}.internal", "roles": [role]} for role in Role),
]


@pytest.fixture(scope="module")
def running(module_folder: Path) -> Iterator[Running]:
    with Scene(module_folder, GRANTS, reflection="true").running() as running:
        yield running


def revoke(running: Running, *, pair: Pair | None = None, token: str | None = None) -> Outcome:
    return running.call(REVOKE, revoking(a_handle(), running.scene.issuer.name), pair=pair, token=token)


# Who is let in, so that the refusals below mean something.


@pytest.mark.parametrize(("uris", "dns"), [([SPIFFE_ID], []), ([], [DNS_NAME]), ([], ["DESK.internal", "other"])])
def test_a_certificate_with_a_granted_name_is_good(running: Running, uris: list[str], dns: list[str]) -> None:
    before = len(running.refusals())

    assert revoke(running, pair=running.scene.authority.issue(uris=uris, dns=dns)).code == "OK"
    assert len(running.refusals()) == before


def test_a_token_with_a_grant_is_good(running: Running) -> None:
    assert revoke(running, token=running.admin_token()).code == "OK"


# Connections that do not come about.


BAD_CERTIFICATES: Mapping[str, tuple[Callable[[CertificateAuthority], Pair], str]] = {
    "foreign CA of the same name": (
        lambda _: CertificateAuthority().issue(uris=[SPIFFE_ID]),
        "certificate signature failure",
    ),
    "foreign CA": (
        lambda _: CertificateAuthority("another CA").issue(uris=[SPIFFE_ID]),
        "unable to get local issuer certificate",
    ),
    "expired certificate": (
        lambda ours: ours.issue(uris=[SPIFFE_ID], begins=-2 * A_DAY, ends=-A_DAY),
        "certificate has expired",
    ),
    "certificate that is not good yet": (
        lambda ours: ours.issue(uris=[SPIFFE_ID], begins=timedelta(hours=1)),
        "certificate is not yet valid",
    ),
}


@pytest.mark.parametrize("case", BAD_CERTIFICATES)
def test_a_certificate_that_is_not_good_is_refused_with_its_connection(running: Running, case: str) -> None:
    pair_of, cause = BAD_CERTIFICATES[case]
    before = len(running.refusals())

    # gRPC has no better word for it; a retry on a new connection would be a second entry.
    assert revoke(running, pair=pair_of(running.scene.authority)).code == "UNAVAILABLE"
    refusal = running.next_refusal(before)
    assert refusal["event"] == "admin_connection_refused"
    assert refusal["peer"].startswith("127.0.0.1:")
    assert refusal["cause"].startswith("the client certificate is not good: ")
    assert cause in refusal["cause"]


# Calls that are refused.


STRANGERS: Mapping[str, tuple[Callable[[CertificateAuthority], Pair | None], str, str, str]] = {
    "no certificate": (lambda _: None, "UNAUTHENTICATED", "", "no credential"),
    "another URI": (
        lambda ours: ours.issue(uris=[f"{SPIFFE_ID}/more"]),
        "PERMISSION_DENIED",
        f"mtls:{SPIFFE_ID}/more",
        "no grant",
    ),
    "the URI in capitals": (
        lambda ours: ours.issue(uris=[SPIFFE_ID.upper()]),
        "PERMISSION_DENIED",
        f"mtls:{SPIFFE_ID.upper()}",
        "no grant",
    ),
    "a name below the granted one": (
        lambda ours: ours.issue(dns=[f"x.{DNS_NAME}"]),
        "PERMISSION_DENIED",
        f"mtls:x.{DNS_NAME}",
        "no grant",
    ),
    "a wildcard": (
        lambda ours: ours.issue(dns=["*.internal"]),
        "UNAUTHENTICATED",
        "",
        "the certificate has neither a URI nor a DNS name",
    ),
    "the name as common name alone": (
        lambda ours: ours.issue(common_name=DNS_NAME),
        "UNAUTHENTICATED",
        "",
        "the certificate has neither a URI nor a DNS name",
    ),
    "the URI spelled as a DNS name": (
        lambda ours: ours.issue(dns=[SPIFFE_ID]),
        "UNAUTHENTICATED",
        "",
        "the certificate has neither a URI nor a DNS name",
    ),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_a_caller_without_a_granted_name_is_refused(running: Running, case: str) -> None:
    pair_of, code, actor, cause = STRANGERS[case]
    before = len(running.refusals())

    outcome = revoke(running, pair=pair_of(running.scene.authority))

    assert (outcome.code, outcome.reason, outcome.metadata) == (code, code, {})
    refusal = running.next_refusal(before)
    assert (refusal["method"], refusal["actor"], refusal["cause"]) == (REVOKE, actor, cause)
    assert cause not in outcome.message


BAD_TOKENS: Mapping[str, tuple[Callable[[Running], str], str]] = {
    "expired": (lambda running: running.admin_token(exp=int(time.time()) - 1), "EXPIRED"),
    "too early": (lambda running: running.admin_token(nbf=int(time.time()) + 3600), "NOT_YET_VALID"),
    "wrong audience": (lambda running: running.admin_token(aud="another service"), "WRONG_AUDIENCE"),
    "no audience": (lambda running: running.admin_token(aud=None), "WRONG_AUDIENCE"),
    "a data-plane issuer's": (lambda running: running.scene.issuer.mint("machine", aud=ADMIN_AUDIENCE), "WRONG_ISSUER"),
    "signed by a data-plane issuer in the admin issuer's name": (
        lambda running: running.scene.issuer.mint("machine", aud=ADMIN_AUDIENCE, iss="https://admin.example"),
        "BAD_SIGNATURE",
    ),
    "signed by nobody we know": (
        lambda _: FakeIssuer("https://admin.example").mint("machine", aud=ADMIN_AUDIENCE),
        "BAD_SIGNATURE",
    ),
    "no token at all": (lambda _: "no token at all", "MALFORMED"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_a_token_that_is_not_good_is_refused(running: Running, case: str) -> None:
    token_of, rejection_reason = BAD_TOKENS[case]
    before = len(running.refusals())

    outcome = revoke(running, token=token_of(running))

    assert (outcome.code, outcome.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert outcome.metadata == {"rejection_reason": rejection_reason}
    assert running.next_refusal(before)["cause"] == f"the token is {rejection_reason}"


def test_a_token_of_a_user_without_a_grant_is_refused(running: Running) -> None:
    before = len(running.refusals())

    assert revoke(running, token=running.admin_token("Machine")).code == "PERMISSION_DENIED"
    assert running.next_refusal(before)["actor"] == "token:https://admin.example#Machine"


def test_a_good_certificate_does_not_make_up_for_a_bad_token(running: Running) -> None:
    good = running.scene.authority.issue(uris=[SPIFFE_ID])

    assert revoke(running, pair=good, token=running.admin_token(exp=int(time.time()) - 1)).code == "UNAUTHENTICATED"


def test_a_user_who_was_revoked_is_refused_on_the_admin_plane_too(running: Running) -> None:
    token = running.admin_token("leaver", iat=int(time.time()) - 60)
    admin = running.scene.authority.issue(uris=[SPIFFE_ID])
    request = v1.RevokeUserSessionsRequest(issuer="https://admin.example", user_id="leaver")
    assert revoke(running, token=token).code == "OK"

    assert running.call(f"{REVOCATION}/RevokeUserSessions", request, pair=admin).code == "OK"

    assert revoke(running, token=token).metadata == {"rejection_reason": "USER_REVOKED"}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["Basic bWFjaGluZTpzZWNyZXQ="], id="another scheme"),
        pytest.param(["Bearer "], id="an empty token"),
        pytest.param(["Bearer a", "Bearer b"], id="two"),
    ],
)
def test_an_authorization_that_is_not_one_bearer_token_is_refused(running: Running, headers: list[str]) -> None:
    before = len(running.refusals())

    outcome = running.call(
        REVOKE,
        revoking(a_handle(), running.scene.issuer.name),
        metadata=[("authorization", value) for value in headers],
    )

    assert outcome.code == "UNAUTHENTICATED"
    assert running.next_refusal(before)["cause"] == "the authorization is not one bearer token"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("method", ROLES_FOR)
def test_a_role_has_its_own_calls_and_no_others(running: Running, method: str, role: Role) -> None:
    """An empty request is INVALID_ARGUMENT to whoever may make it, and a watch or a reflection is no unary call."""
    before = len(running.refusals())

    may = role in ROLES_FOR[method]
    pair = running.scene.authority.issue(dns=[f"{role}.internal"])

    outcome = running.call(method, Empty(), pair=pair, timeout=2 if may else TIMEOUT)  # a watch has no end of its own

    if may:
        assert outcome.code != "PERMISSION_DENIED"
        assert len(running.refusals()) == before
    else:
        assert (outcome.code, outcome.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        refusal = running.next_refusal(before)
        assert (refusal["actor"], refusal["method"]) == (f"mtls:{role}.internal", method)
        assert refusal["cause"] == "no role for this RPC"


@pytest.mark.parametrize(
    "method",
    [
        "/sidegate.v1.RevocationService/revokesession",
        "/Sidegate.V1.RevocationService/RevokeSession",
        "/sidegate.v1.RevocationService/RevokeSession/",
        "/sidegate.v1.RevocationService//RevokeSession",
        "//sidegate.v1.RevocationService/RevokeSession",
        "/sidegate.v1.RevocationService/%52evokeSession",
        "/sidegate.v1.RevocationService%2FRevokeSession",
        "/sidegate.v1.RevocationService/./RevokeSession",
        "/grpc.health.v1.Health/../../sidegate.v1.RevocationService/RevokeSession",
        "/sidegate.v1.RevocationService/RevokeSession?x=1",
        "/sidegate.v1.RevocationService/RevokeSession ",
    ],
)
@pytest.mark.parametrize("has_role", [True, False])
def test_a_method_that_does_not_exist_is_refused_in_every_spelling(
    running: Running, method: str, has_role: bool
) -> None:
    before = len(running.refusals())
    pair = running.scene.authority.issue(uris=[SPIFFE_ID]) if has_role else None

    outcome = running.call(method, revoking(a_handle(), running.scene.issuer.name), pair=pair)

    assert outcome.code == "UNIMPLEMENTED"
    refusal = running.next_refusal(before)
    assert (refusal["method"], refusal["cause"]) == (method, "no such RPC")


def test_nothing_is_parsed_for_strangers(running: Running) -> None:
    assert running.call(REVOKE, v1.Revocation(issuer="\x00" * 10)).code == "UNAUTHENTICATED"


def test_health_needs_no_credential(running: Running) -> None:
    for method in ("Check", "List"):
        assert running.call(f"/grpc.health.v1.Health/{method}", Empty()).code == "OK"
