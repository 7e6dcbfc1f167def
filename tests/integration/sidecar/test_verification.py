"""Verify and BatchVerify as services call them: the Python client, a real sidecar, a real key set over HTTP."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from sidegate import (
    EvidenceSource,
    InvalidRequest,
    NextAction,
    Rejection,
    RejectionReason,
    Session,
    SessionClient,
    SessionRejected,
    StoreState,
    Verdict,
    VerificationUnavailable,
)
from sidegate.v1 import session_pb2, verification_pb2, verification_pb2_grpc

from tests.fakes.issuer import ALGORITHMS, FakeIssuer, with_another_signature
from tests.fakes.jwks_server import JwksServer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

ENTERPRISE = FakeIssuer("https://enterprise.example")
STRANGER = FakeIssuer("https://stranger.example")
AN_HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    """Trusts two issuers: one by URL, and one by a file, with every demand that an entry can make."""
    with JwksServer(issuer.jwks) as keys:
        keys.open()
        demanding = file_issuer(
            ENTERPRISE,
            module_folder,
            audiences=["orders"],
            algorithms=["ES256"],
            token_type="at+jwt",
            tenant_claim="tid",
            anti_csrf_claim="csrf",
            anti_csrf_required=True,
            unknown_sessions="reject",
        )
        plain = {"issuer": issuer.name, "jwks_url": keys.url, "tenant_claim": "tid"}
        with running_sidecar(module_folder, issuers=issuers_setting(plain, demanding)) as running:
            yield running


@pytest.fixture(scope="module", params=["unix", "tcp"])
def client(sidecar: Sidecar, request: pytest.FixtureRequest) -> Iterator[SessionClient]:
    with SessionClient(
        sidecar.target if request.param == "unix" else sidecar.tcp_target, timeout=10, near_cache=False
    ) as connected:
        yield connected


@pytest.fixture(scope="module")
def stub(sidecar: Sidecar) -> Iterator[verification_pb2_grpc.VerificationServiceStub]:
    """For what the client does not offer, or would not send."""
    with grpc.insecure_channel(sidecar.target, [("grpc.max_send_message_length", -1)]) as channel:
        yield verification_pb2_grpc.VerificationServiceStub(channel)


def refusal(verdict: Verdict) -> RejectionReason:
    """Why a token was refused; it is a failure if it was not."""
    assert isinstance(verdict.outcome, Rejection), verdict
    expected = NextAction.REFRESH if verdict.outcome.reason is RejectionReason.EXPIRED else NextAction.REAUTHENTICATE
    assert verdict.outcome.next_action is expected
    return verdict.outcome.reason


def enterprise_token(**changes: Any) -> str:
    """A token that meets every demand of the second entry, but for the changes."""
    claims: dict[str, Any] = {"aud": "orders", "tid": "acme", "csrf": "c-1", **changes}
    headers = {"typ": claims.pop("typ", "at+jwt")}
    return ENTERPRISE.mint(headers=headers, **claims)


@pytest.mark.parametrize("check_database", [False, True], ids=["local", "check_database"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_is_a_session(
    client: SessionClient, issuer: FakeIssuer, algorithm: str, check_database: bool
) -> None:
    now = int(time.time())
    token = issuer.mint("alice", "session-1", algorithm=algorithm, iat=now - 5, exp=now + 500, tid="acme", big=2**60)

    session = client.verify(token, check_database=check_database)

    assert (session.issuer, session.user_id, session.session_handle) == (issuer.name, "alice", "session-1")
    assert session.tenant_id == "acme"
    assert session.token_issue_time == datetime.fromtimestamp(now - 5, UTC)
    assert session.token_expire_time == datetime.fromtimestamp(now + 500, UTC)
    assert session.claims["big"] == 2**60
    evidence = session.evidence
    assert evidence.source is (EvidenceSource.DATABASE if check_database else EvidenceSource.LOCAL)
    assert evidence.key_id == issuer.key_id(algorithm)
    assert evidence.revision is not None
    assert evidence.revision.store_id
    assert evidence.revocation_lag is not None
    assert timedelta() <= evidence.revocation_lag < timedelta(minutes=1)


# Of the time at which the test runs: between the reading of this module and then a long suite may lie.
REFUSED: dict[str, tuple[RejectionReason, Callable[[int], dict[str, Any]]]] = {
    "expired": (RejectionReason.EXPIRED, lambda now: {"iat": now - 900, "exp": now - 300}),
    "not before": (RejectionReason.NOT_YET_VALID, lambda now: {"nbf": now + 300}),
    "issued in the future": (RejectionReason.NOT_YET_VALID, lambda now: {"iat": now + 300}),
    "good for a week": (RejectionReason.LIFETIME_TOO_LONG, lambda now: {"exp": now + 7 * 86400}),
    "no expiry": (RejectionReason.MISSING_CLAIM, lambda _: {"exp": None}),
    "no issue time": (RejectionReason.MISSING_CLAIM, lambda _: {"iat": None}),
    "no user": (RejectionReason.MISSING_CLAIM, lambda _: {"sub": None}),
    "empty user": (RejectionReason.MISSING_CLAIM, lambda _: {"sub": ""}),
    "no session handle": (RejectionReason.MISSING_CLAIM, lambda _: {"sid": None}),
    "no issuer": (RejectionReason.MISSING_CLAIM, lambda _: {"iss": None}),
    "issuer with a slash added": (RejectionReason.WRONG_ISSUER, lambda _: {"iss": "https://issuer.example/"}),
    "another issuer's key of the same kid": (RejectionReason.BAD_SIGNATURE, lambda _: {"iss": ENTERPRISE.name}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_token_with_wrong_claims_is_refused(client: SessionClient, issuer: FakeIssuer, name: str) -> None:
    reason, claims_at = REFUSED[name]
    headers = {"typ": "at+jwt"}

    assert refusal(client.check(issuer.mint(headers=headers, **claims_at(int(time.time()))))) is reason


def test_an_unknown_issuers_token_is_refused(client: SessionClient) -> None:
    verdict = client.check(STRANGER.mint())

    assert refusal(verdict) is RejectionReason.WRONG_ISSUER
    assert verdict.evidence.key_id is None


def test_a_changed_signature_is_refused(client: SessionClient, issuer: FakeIssuer) -> None:
    assert refusal(client.check(with_another_signature(issuer.mint()))) is RejectionReason.BAD_SIGNATURE


def test_an_unknown_key_is_refused_once_the_issuer_was_asked(client: SessionClient, issuer: FakeIssuer) -> None:
    token = issuer.mint(headers={"kid": "nobody-has-it"})

    assert refusal(client.check(token)) is RejectionReason.UNKNOWN_KEY


@pytest.mark.parametrize("text", ["rubbish", "a.b.c", "..", "......", "e30.e30."])
def test_what_is_no_token_is_malformed(client: SessionClient, text: str) -> None:
    assert refusal(client.check(text)) in {RejectionReason.MALFORMED, RejectionReason.UNSUPPORTED_ALGORITHM}


def test_a_token_meets_every_demand_of_its_issuer_entry(sidecar: Sidecar, client: SessionClient) -> None:
    with sidecar.administration() as admin:
        admin.register_session(
            "session-1",
            "alice",
            tenant_id="acme",
            issuer=ENTERPRISE.name,
            session_expire_time=datetime.now(UTC) + AN_HOUR,
        )

    session = client.verify(enterprise_token(), anti_csrf_token="c-1", tenant_id="acme", check_database=True)

    assert session.issuer == ENTERPRISE.name
    assert session.tenant_id == "acme"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"aud": "billing"}, RejectionReason.WRONG_AUDIENCE, id="another audience"),
        pytest.param({"aud": ["Orders"]}, RejectionReason.WRONG_AUDIENCE, id="the audience in another case"),
        pytest.param({"aud": None}, RejectionReason.WRONG_AUDIENCE, id="no audience"),
        pytest.param({"typ": "JWT"}, RejectionReason.WRONG_TYPE, id="another type"),
        pytest.param({"csrf": "c-2"}, RejectionReason.ANTI_CSRF_MISMATCH, id="another anti-CSRF token"),
        pytest.param({"csrf": None}, RejectionReason.ANTI_CSRF_MISMATCH, id="no anti-CSRF claim"),
        pytest.param({"tid": "globex"}, RejectionReason.WRONG_TENANT, id="another tenant"),
        pytest.param({"tid": None}, RejectionReason.WRONG_TENANT, id="no tenant"),
        pytest.param({"algorithm": "RS256"}, RejectionReason.UNSUPPORTED_ALGORITHM, id="an algorithm not allowed"),
    ],
)
def test_a_token_that_misses_one_demand_is_refused(
    client: SessionClient, changes: dict[str, Any], reason: RejectionReason
) -> None:
    verdict = client.check(enterprise_token(**changes), anti_csrf_token="c-1", tenant_id="acme")

    assert refusal(verdict) is reason


def test_an_anti_csrf_token_that_is_demanded_must_be_sent(client: SessionClient) -> None:
    assert refusal(client.check(enterprise_token())) is RejectionReason.ANTI_CSRF_MISMATCH


def test_the_callers_audiences_are_demanded_too(client: SessionClient, issuer: FakeIssuer) -> None:
    token = issuer.mint(aud=["orders", "billing"])

    assert client.verify(token, audiences=["shipping", "billing"]).user_id == "alice"
    assert refusal(client.check(token, audiences=["shipping"])) is RejectionReason.WRONG_AUDIENCE


@pytest.fixture(scope="module")
def _registered(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    """Sessions that are not what tokens of alice, without a tenant, say."""
    with sidecar.administration() as admin:
        past, future = datetime.now(UTC) - AN_HOUR, datetime.now(UTC) + AN_HOUR
        for handle, user, tenant, ends in (
            ("of-bob", "bob", "", future),
            ("of-globex", "alice", "globex", future),
            ("over", "alice", "", past),
        ):
            admin.register_session(
                handle,
                user,
                tenant_id=tenant,
                issuer=issuer.name,
                create_time=past - AN_HOUR,
                session_expire_time=ends,
            )


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        ("of-bob", RejectionReason.SESSION_NOT_FOUND),
        ("of-globex", RejectionReason.WRONG_TENANT),
        ("over", RejectionReason.SESSION_EXPIRED),
    ],
)
def test_a_session_that_is_not_as_registered_is_refused(
    client: SessionClient, issuer: FakeIssuer, handle: str, reason: RejectionReason
) -> None:
    token = issuer.mint("alice", handle)

    verdict = client.check(token, check_database=True)

    assert refusal(verdict) is reason
    assert verdict.evidence.source is EvidenceSource.DATABASE
    assert client.verify(token).session_handle == handle


def test_an_unknown_session_is_accepted_or_rejected_as_its_issuer_entry_says(
    client: SessionClient, issuer: FakeIssuer
) -> None:
    accepted = client.check(issuer.mint("alice", "never-registered"), check_database=True)
    rejected = client.check(
        enterprise_token(sid="never-registered"), anti_csrf_token="c-1", tenant_id="acme", check_database=True
    )

    assert isinstance(accepted.outcome, Session)
    assert refusal(rejected) is RejectionReason.SESSION_NOT_FOUND


def test_a_batch_answers_each_item_in_its_place(
    sidecar: Sidecar, stub: verification_pb2_grpc.VerificationServiceStub, issuer: FakeIssuer
) -> None:
    with sidecar.administration() as admin:
        admin.revoke_session("batch-revoked", issuer=issuer.name)
    requests = [
        verification_pb2.VerifyRequest(access_token=issuer.mint("alice", "batch-1")),
        verification_pb2.VerifyRequest(access_token=with_another_signature(issuer.mint())),
        verification_pb2.VerifyRequest(access_token=""),
        verification_pb2.VerifyRequest(access_token=issuer.mint("bob", "batch-2"), check_database=True),
        verification_pb2.VerifyRequest(access_token=issuer.mint("bob", "batch-revoked"), check_database=True),
        verification_pb2.VerifyRequest(access_token=issuer.mint("carol", "batch-3"), accepted_audiences=[""]),
        verification_pb2.VerifyRequest(access_token="rubbish"),
        verification_pb2.VerifyRequest(access_token=issuer.mint("dave", "batch-4", algorithm="RS256")),
    ]

    answer = stub.BatchVerify(verification_pb2.BatchVerifyRequest(requests=requests), timeout=10)

    assert [_of_batch(result) for result in answer.results] == [
        "alice batch-1",
        "REJECTION_REASON_BAD_SIGNATURE",
        "access_token: must not be empty",
        "bob batch-2",
        "REJECTION_REASON_SESSION_REVOKED",
        "accepted_audiences: must not hold an empty item",
        "REJECTION_REASON_MALFORMED",
        "dave batch-4",
    ]
    assert [result.error.code for result in answer.results if result.HasField("error")] == [3, 3]
    sources = [result.response.evidence.source for result in answer.results]
    assert (sources[0], sources[3]) == (1, 2)


def _of_batch(result: verification_pb2.BatchVerifyResult) -> str:
    if result.HasField("error"):
        return str(result.error.message)
    if result.response.HasField("session"):
        return f"{result.response.session.user_id} {result.response.session.session_handle}"
    name: str = session_pb2.RejectionReason.Name(result.response.rejection.reason)
    return name


def test_a_full_batch_is_answered(stub: verification_pb2_grpc.VerificationServiceStub, issuer: FakeIssuer) -> None:
    tokens = [issuer.mint("alice", f"full-{number}", algorithm="RS256") for number in range(256)]

    answer = stub.BatchVerify(
        verification_pb2.BatchVerifyRequest(
            requests=[verification_pb2.VerifyRequest(access_token=token) for token in tokens]
        ),
        timeout=30,
    )

    handles = [result.response.session.session_handle for result in answer.results if result.HasField("response")]
    assert len(answer.results) == 256
    # A machine busy enough may spend the batch's CPU budget before its end; what is answered is answered in order.
    assert handles == [f"full-{number}" for number in range(len(handles))]
    assert handles


def test_the_status_says_what_the_sidecar_knows(client: SessionClient, issuer: FakeIssuer) -> None:
    status = client.serving_status()

    assert [keys.issuer for keys in status.key_sets] == [issuer.name, ENTERPRISE.name]
    assert [keys.key_count for keys in status.key_sets] == [3, 3]
    assert [keys.last_error for keys in status.key_sets] == ["", ""]
    assert status.store_state is StoreState.AVAILABLE
    assert status.index_revision is not None


def test_without_a_store_the_sidecar_is_stateless(issuer: FakeIssuer, folder: Path) -> None:
    settings = {"store_url": "", "admin_listen": "", "issuers": issuers_setting(file_issuer(issuer, folder))}
    with running_sidecar(folder, **settings) as sidecar, sidecar.verification() as client:
        session = client.verify(issuer.mint())
        assert session.evidence.source is EvidenceSource.LOCAL
        assert session.evidence.revision is None
        assert client.serving_status().store_state is StoreState.NOT_CONFIGURED
        with pytest.raises(VerificationUnavailable) as failed:
            client.verify(issuer.mint(), check_database=True)
        assert (failed.value.code, failed.value.reason) == ("FAILED_PRECONDITION", "STORE_NOT_CONFIGURED")
        assert not failed.value.retryable


def test_a_wrong_question_is_an_error_and_a_wrong_token_is_not(client: SessionClient, issuer: FakeIssuer) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        client.verify(issuer.mint(), tenant_id="")
    assert wrong.value.field == "tenant_id"
    with pytest.raises(SessionRejected):
        client.verify("rubbish")
