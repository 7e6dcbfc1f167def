"""A tenant and a signing key, revoked through the admin services and seen through the verifier, over real sockets."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sidegate import (
    InvalidRequest,
    NextAction,
    RejectionReason,
    RevocationClient,
    RevocationKind,
    Session,
    SessionClient,
)

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

TOKENS = 50


@pytest.fixture
def settings(issuer: FakeIssuer, folder: Path) -> dict[str, str]:
    return {"issuers": issuers_setting(file_issuer(issuer, folder, tenant_claim="tid"))}


@pytest.fixture
def sidecar(settings: dict[str, str], folder: Path) -> Iterator[Sidecar]:
    """One of the test's own: what is revoked here ends every session of the issuer."""
    with running_sidecar(folder, **settings) as running:
        yield running


@pytest.fixture
def admin(sidecar: Sidecar) -> Iterator[RevocationClient]:
    with sidecar.administration() as connected:
        yield connected


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[SessionClient]:
    with sidecar.verification() as connected:
        yield connected


def reasons_for(client: SessionClient, tokens: list[str], *, check_database: bool) -> set[RejectionReason | None]:
    """Why they are refused, each asked for twice; None: one is good."""
    verdicts = [client.check(token, check_database=check_database).outcome for token in [*tokens, *tokens]]
    return {None if isinstance(outcome, Session) else outcome.reason for outcome in verdicts}


def thumbprint(issuer: FakeIssuer, key_id: str) -> str:
    """RFC 7638 §3: of the required members of an elliptic curve key, in their order, without spaces."""
    [key] = [each for each in json.loads(issuer.jwks())["keys"] if each["kid"] == key_id]
    members = {name: key[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.mark.parametrize("named_by", ["key id", "thumbprint"])
@pytest.mark.parametrize("check_database", [False, True], ids=["local", "check_database"])
def test_a_revoked_key_ends_every_remembered_verdict_at_once(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, check_database: bool, named_by: str
) -> None:
    tokens = [issuer.mint("alice", f"s{number}") for number in range(TOKENS)]
    others = [issuer.mint("alice", f"s{number}", algorithm="RS256") for number in range(TOKENS)]
    assert reasons_for(client, tokens + others, check_database=check_database) == {None}

    key_id = issuer.key_id("ES256")
    if named_by == "key id":
        admin.revoke_signing_key(key_id=key_id, reason="leaked")
    else:
        admin.revoke_signing_key(key_thumbprint=thumbprint(issuer, key_id), reason="leaked")

    assert reasons_for(client, tokens, check_database=check_database) == {RejectionReason.KEY_REVOKED}
    assert reasons_for(client, others, check_database=check_database) == {None}
    fresh = issuer.mint("bob", "never seen")
    assert reasons_for(client, [fresh], check_database=check_database) == {RejectionReason.KEY_REVOKED}
    [entry] = admin.list_revocations()
    assert (entry.kind, entry.key_thumbprint) == (RevocationKind.KEY, thumbprint(issuer, key_id))
    assert (entry.key_id, entry.reason) == (key_id if named_by == "key id" else "", "leaked")


def test_a_key_stays_revoked_when_the_sidecar_starts_anew(
    settings: dict[str, str], folder: Path, issuer: FakeIssuer
) -> None:
    with running_sidecar(folder, **settings) as first, first.administration() as admin:
        admin.revoke_signing_key(key_id=issuer.key_id("ES256"))

    with running_sidecar(folder, **settings) as second, second.verification() as client:
        assert reasons_for(client, [issuer.mint()], check_database=False) == {RejectionReason.KEY_REVOKED}
        assert reasons_for(client, [issuer.mint()], check_database=True) == {RejectionReason.KEY_REVOKED}


def test_revoking_a_key_again_changes_nothing(admin: RevocationClient, issuer: FakeIssuer) -> None:
    first = admin.revoke_signing_key(key_id=issuer.key_id("ES256"))

    assert admin.revoke_signing_key(key_id=issuer.key_id("ES256")) == first
    assert len(list(admin.list_revocations())) == 1


def test_a_kid_that_the_issuer_does_not_publish_is_refused(admin: RevocationClient) -> None:
    with pytest.raises(InvalidRequest) as refused:
        admin.revoke_signing_key(key_id="nobody's")

    assert refused.value.reason == "INVALID_FIELD"
    assert list(admin.list_revocations()) == []


@pytest.mark.parametrize("check_database", [False, True], ids=["local", "check_database"])
def test_a_revoked_tenant_ends_every_session_of_it_begun_before(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer, check_database: bool
) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    before = int(time.time()) - 60
    red = [issuer.mint(f"user-{number}", f"red-{number}", tid="red", iat=before) for number in range(TOKENS)]
    others = [issuer.mint("alice", "blue", tid="blue", iat=before), issuer.mint("alice", "none", iat=before)]
    admin.register_session("red-0", "user-0", tenant_id="red", session_expire_time=ends)
    admin.register_session("red-1", "user-1", tenant_id="red", session_expire_time=ends)
    admin.register_session("blue", "alice", tenant_id="blue", session_expire_time=ends)
    assert reasons_for(client, red + others, check_database=check_database) == {None}

    assert admin.revoke_tenant_sessions("red").revoked_count == 2

    assert reasons_for(client, red[:2], check_database=check_database) == {RejectionReason.SESSION_REVOKED}
    assert reasons_for(client, red[2:], check_database=check_database) == {RejectionReason.TENANT_REVOKED}
    assert reasons_for(client, others, check_database=check_database) == {None}
    login = issuer.mint("user-0", "red-again", tid="red")
    admin.register_session("red-again", "user-0", tenant_id="red", session_expire_time=ends)
    assert client.verify(login, check_database=True).tenant_id == "red"


def test_who_was_signed_out_by_a_key_signs_in_again(
    admin: RevocationClient, client: SessionClient, issuer: FakeIssuer
) -> None:
    admin.revoke_signing_key(key_id=issuer.key_id("ES256"))

    outcome = client.check(issuer.mint()).outcome

    assert not isinstance(outcome, Session)
    assert outcome.next_action is NextAction.REAUTHENTICATE
