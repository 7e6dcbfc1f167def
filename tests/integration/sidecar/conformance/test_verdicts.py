"""Verify and GetServingStatus, of the fake and of a real sidecar: the same questions, the same answers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sidegate import EvidenceSource, NextAction, RejectionReason, Revision, Session

from tests.fakes.issuer import with_another_signature
from tests.integration.sidecar.conformance.worlds import AN_HOUR, In, World, answer, now, refused


@dataclass(frozen=True)
class Question:
    """One token and what it is to be good for. `change` is done to the token's text."""

    expected: tuple[RejectionReason, NextAction] | None
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    demand: dict[str, Any] = field(default_factory=dict[str, Any])
    change: Callable[[str], str] = str


QUESTIONS = {
    "a good token": Question(None),
    "of a session that nobody registered, asked of the database": Question(None, demand={"check_database": True}),
    "expired": Question(refused(RejectionReason.EXPIRED), {"iat": In(-100), "exp": In(-1)}),
    "expired and for another audience": Question(
        refused(RejectionReason.EXPIRED), {"iat": In(-100), "exp": In(-1)}, {"audiences": ["api"]}
    ),
    "issued in the future": Question(refused(RejectionReason.NOT_YET_VALID), {"iat": In(500), "exp": In(900)}),
    "issued in the future, within the leeway": Question(None, {"iat": In(1), "nbf": In(1)}),
    "not valid before the future": Question(refused(RejectionReason.NOT_YET_VALID), {"nbf": In(500)}),
    "living for two days": Question(refused(RejectionReason.LIFETIME_TOO_LONG), {"exp": In(2 * 86400)}),
    "without an end": Question(refused(RejectionReason.MISSING_CLAIM), {"exp": None}),
    "without a beginning": Question(refused(RejectionReason.MISSING_CLAIM), {"iat": None}),
    "without a user": Question(refused(RejectionReason.MISSING_CLAIM), {"sub": None}),
    "with an empty session": Question(refused(RejectionReason.MISSING_CLAIM), {"sid": ""}),
    "without an issuer": Question(refused(RejectionReason.MISSING_CLAIM), {"iss": None}),
    "of another issuer": Question(refused(RejectionReason.WRONG_ISSUER), {"iss": "https://elsewhere.example"}),
    "with a number for a user": Question(refused(RejectionReason.MALFORMED), {"sub": 7}),
    "with text for an end": Question(refused(RejectionReason.MALFORMED), {"exp": "soon"}),
    "with truth for an end": Question(refused(RejectionReason.MALFORMED), {"exp": True}),
    "with a number for an audience": Question(refused(RejectionReason.MALFORMED), {"aud": 7}),
    "with a fraction of a second": Question(None, {"iat": time.time() - 0.25}),
    "for the audience asked for": Question(None, {"aud": ["a", "api"]}, {"audiences": ["api"]}),
    "for another audience": Question(refused(RejectionReason.WRONG_AUDIENCE), {"aud": "api-2"}, {"audiences": ["api"]}),
    "for no audience, when one is asked for": Question(
        refused(RejectionReason.WRONG_AUDIENCE), {}, {"audiences": ["api"]}
    ),
    "of the tenant asked for": Question(None, {"tid": "acme"}, {"tenant_id": "acme"}),
    "of another tenant": Question(refused(RejectionReason.WRONG_TENANT), {"tid": "acme"}, {"tenant_id": "evil"}),
    "of no tenant, when one is asked for": Question(refused(RejectionReason.WRONG_TENANT), {}, {"tenant_id": "acme"}),
    "with its anti-CSRF token": Question(None, {"antiCsrfToken": "x"}, {"anti_csrf_token": "x"}),
    "with another anti-CSRF token": Question(
        refused(RejectionReason.ANTI_CSRF_MISMATCH), {"antiCsrfToken": "x"}, {"anti_csrf_token": "y"}
    ),
    "with an anti-CSRF token for one that has none": Question(
        refused(RejectionReason.ANTI_CSRF_MISMATCH), {}, {"anti_csrf_token": "y"}
    ),
    "its signature changed": Question(refused(RejectionReason.BAD_SIGNATURE), change=with_another_signature),
    "in two parts": Question(refused(RejectionReason.MALFORMED), change=lambda text: text.rpartition(".")[0]),
    "no token at all": Question(refused(RejectionReason.MALFORMED), change=lambda text: "hello"),
    "padded": Question(refused(RejectionReason.MALFORMED), change=lambda text: f"{text}="),
    "unsigned": Question(
        refused(RejectionReason.UNSUPPORTED_ALGORITHM),
        change=lambda text: "eyJhbGciOiJub25lIn0." + text.split(".")[1] + ".",
    ),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_a_token_is_judged_alike(world: World, user: str, question: Question) -> None:
    token = question.change(world.mint(user, user, **question.claims))

    assert answer(lambda: world.client.verify(token, **question.demand)) == question.expected


def test_a_good_token_is_described_alike(world: World, user: str) -> None:
    began, ends = int(time.time()) - 5, int(time.time()) + 300
    token = world.mint(user, f"{user}-1", iat=began, exp=ends, tid="acme", roles=["admin"])

    verdict = world.client.check(token)

    session = verdict.outcome
    assert isinstance(session, Session)
    assert (session.issuer, session.session_handle, session.user_id, session.tenant_id) == (
        world.issuer,
        f"{user}-1",
        user,
        "acme",
    )
    assert session.token_issue_time.timestamp() == began
    assert session.token_expire_time.timestamp() == ends
    assert session.claims["roles"] == ["admin"]
    assert (verdict.evidence.source, verdict.evidence.key_id) == (EvidenceSource.LOCAL, world.key_id)
    assert verdict.evidence.revision is not None
    assert verdict.evidence.revocation_lag is not None


def test_what_a_verdict_rests_on_is_told_alike(world: World, user: str) -> None:
    token = world.mint(user, user)
    foreign = world.mint(user, user, iss="https://elsewhere.example")

    assert world.client.check(token, check_database=True).evidence.source is EvidenceSource.DATABASE
    assert world.client.check(foreign).evidence.source is EvidenceSource.LOCAL
    assert world.client.check(foreign).evidence.key_id is None
    assert world.client.check(foreign).evidence.revision is not None


STRICT_QUESTIONS = {
    "all in order": Question(None, {"aud": "api", "antiCsrfToken": "x"}, {"anti_csrf_token": "x"}),
    "no audience": Question(refused(RejectionReason.WRONG_AUDIENCE), {"antiCsrfToken": "x"}, {"anti_csrf_token": "x"}),
    "the issuer's audience, and not the demand's": Question(
        refused(RejectionReason.WRONG_AUDIENCE),
        {"aud": "api", "antiCsrfToken": "x"},
        {"anti_csrf_token": "x", "audiences": ["admin"]},
    ),
    "no anti-CSRF token brought": Question(
        refused(RejectionReason.ANTI_CSRF_MISMATCH), {"aud": "api", "antiCsrfToken": "x"}
    ),
    "a session that nobody registered, asked of the database": Question(
        refused(RejectionReason.SESSION_NOT_FOUND),
        {"aud": "api", "antiCsrfToken": "x"},
        {"anti_csrf_token": "x", "check_database": True},
    ),
}


@pytest.mark.parametrize("question", STRICT_QUESTIONS.values(), ids=STRICT_QUESTIONS)
def test_a_token_is_judged_alike_where_more_is_asked_for(strict: World, user: str, question: Question) -> None:
    token = strict.mint(user, user, **question.claims)

    assert answer(lambda: strict.client.verify(token, **question.demand)) == question.expected


def test_a_register_is_compared_with_the_token_alike(world: World, user: str) -> None:
    world.admin.register_session(f"{user}-1", user, tenant_id="acme", session_expire_time=now() + AN_HOUR)
    world.admin.register_session(
        f"{user}-2", user, create_time=now() - 2 * AN_HOUR, session_expire_time=now() - AN_HOUR
    )

    def ask(handle: str, **claims: object) -> object:
        token = world.mint(user, handle, **claims)
        return answer(lambda: world.client.verify(token, check_database=True))

    assert ask(f"{user}-1", tid="acme") is None
    assert ask(f"{user}-1") == refused(RejectionReason.WRONG_TENANT)
    assert ask(f"{user}-1", tid="acme", sub="mallory") == refused(RejectionReason.SESSION_NOT_FOUND)
    assert ask(f"{user}-2") == refused(RejectionReason.SESSION_EXPIRED)


def test_a_revision_that_cannot_be_had_is_told_alike(world: World, user: str) -> None:
    token = world.mint(user, user)
    here = world.admin.revoke_session(f"{user}-2").revision

    def ask(wanted: Revision) -> object:
        return answer(lambda: world.client.verify(token, at_least_as_fresh=wanted))

    assert ask(here) is None
    assert ask(Revision(here.store_id, here.sequence + 1000)) == (
        "VerificationUnavailable",
        "UNAVAILABLE",
        "REVISION_NOT_REACHED",
        None,
    )
    assert ask(Revision("another", 1)) == ("VerificationUnavailable", "UNAVAILABLE", "FOREIGN_REVISION", None)


def test_the_status_reads_alike(world: World) -> None:
    status = world.client.serving_status()

    assert [(keys.issuer, keys.generation, keys.last_error) for keys in status.key_sets] == [(world.issuer, 1, "")]
    assert status.key_sets[0].key_count > 0
    assert status.key_sets[0].age is not None
    assert status.index_revision is not None
    assert status.index_lag is not None
    assert status.store_state == "AVAILABLE"
    world.client.wait_until_ready()
    world.admin.wait_until_ready()
