"""The fake of `sidegate.testing` and a real sidecar, asked the same questions: they must give the same answers."""

import hashlib
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from sidegate import (
    CallFailed,
    EvidenceSource,
    NextAction,
    Registration,
    RejectionReason,
    Revision,
    RevocationClient,
    RevocationKind,
    Session,
    SessionClient,
    SessionRejected,
    SessionState,
    SignOutScope,
)
from sidegate.failures import failure_of
from sidegate.testing import FakeSidecar
from sidegate.v1 import feed_pb2, feed_pb2_grpc, session_pb2

from tests.fakes.issuer import FakeIssuer, with_another_signature
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar

REFRESH, REAUTHENTICATE = NextAction.REFRESH, NextAction.REAUTHENTICATE
STRICT = {"audiences": ["api"], "unknown_sessions": "reject", "anti_csrf_required": True}
AN_HOUR = timedelta(hours=1)
OLD = -60  # seconds: long enough ago to be told from any revocation of now
LONG = 10.0  # seconds; only what never comes takes this long

Mint: TypeAlias = Callable[..., str]


@dataclass(frozen=True)
class World:
    """A sidecar, fake or real, its clients, and a way to make tokens for it that nobody has registered.

    Attributes:
        mint: (user, handle, **claims) to a token.
        key_id: The `kid` of the key that signs them.
    """

    name: str
    target: str
    admin_target: str
    client: SessionClient
    admin: RevocationClient
    issuer: str
    key_id: str
    mint: Mint


@contextmanager
def fake_world(**options: Any) -> Generator[World, None, None]:
    with FakeSidecar(issuer="https://issuer.example", **options) as sidecar, ExitStack() as clients:

        def mint(user: str, handle: str, **claims: object) -> str:
            return sidecar.issue_token(user, handle, claims=claims, registered=False)

        yield World(
            "fake",
            sidecar.target,
            sidecar.admin_target,
            clients.enter_context(SessionClient(sidecar.target, timeout=LONG, near_cache=False)),
            clients.enter_context(RevocationClient(sidecar.admin_target, timeout=LONG)),
            sidecar.issuer,
            "sidegate-testing",
            mint,
        )


@contextmanager
def real_world(folder: Path, issuer: FakeIssuer, **entry: Any) -> Generator[World, None, None]:
    entry = {"tenant_claim": "tid", "anti_csrf_claim": "antiCsrfToken", **entry}
    issuers = issuers_setting(file_issuer(issuer, folder, **entry))
    with running_sidecar(folder, issuers=issuers) as sidecar, ExitStack() as clients:
        yield World(
            "sidecar",
            sidecar.target,
            sidecar.admin_target,
            clients.enter_context(SessionClient(sidecar.target, timeout=LONG, near_cache=False)),
            clients.enter_context(sidecar.administration()),
            issuer.name,
            issuer.key_id("ES256"),
            issuer.mint,
        )


@pytest.fixture(scope="module", params=["fake", "sidecar"])
def world(request: pytest.FixtureRequest, module_folder: Path, issuer: FakeIssuer) -> Iterator[World]:
    """One that accepts sessions that nobody registered."""
    folder = module_folder / "w"
    folder.mkdir(exist_ok=True)
    with fake_world() if request.param == "fake" else real_world(folder, issuer) as world:
        yield world


@pytest.fixture(scope="module", params=["fake", "sidecar"])
def strict(request: pytest.FixtureRequest, module_folder: Path, issuer: FakeIssuer) -> Iterator[World]:
    """One that asks for all that there is to ask for."""
    folder = module_folder / "s"
    folder.mkdir(exist_ok=True)
    with fake_world(**STRICT) if request.param == "fake" else real_world(folder, issuer, **STRICT) as world:
        yield world


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid.uuid4().hex}"


def now() -> datetime:
    return datetime.now(UTC)


def at(seconds: float) -> int:
    """So many seconds from now, as a claim has it."""
    return int(time.time() + seconds)


def answer(call: Callable[[], object]) -> object:
    """What a call comes to: None, a reason with what to do about it, or an error with all that may be matched on."""
    try:
        call()
    except SessionRejected as refusal:
        return refusal.reason, refusal.next_action
    except CallFailed as failure:
        return type(failure).__name__, failure.code, failure.reason, failure.field
    return None


@dataclass(frozen=True)
class Question:
    """One token and what it is to be good for. `change` is done to the token's text."""

    expected: tuple[RejectionReason, NextAction] | None
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    demand: dict[str, Any] = field(default_factory=dict[str, Any])
    change: Callable[[str], str] = str


def refused(reason: RejectionReason) -> tuple[RejectionReason, NextAction]:
    return reason, REFRESH if reason is RejectionReason.EXPIRED else REAUTHENTICATE


QUESTIONS = {
    "a good token": Question(None),
    "of a session that nobody registered, asked of the database": Question(None, demand={"check_database": True}),
    "expired": Question(refused(RejectionReason.EXPIRED), {"iat": at(-100), "exp": at(-1)}),
    "expired and for another audience": Question(
        refused(RejectionReason.EXPIRED), {"iat": at(-100), "exp": at(-1)}, {"audiences": ["api"]}
    ),
    "issued in the future": Question(refused(RejectionReason.NOT_YET_VALID), {"iat": at(500), "exp": at(900)}),
    "issued in the future, within the leeway": Question(None, {"iat": at(7), "nbf": at(7)}),
    "not valid before the future": Question(refused(RejectionReason.NOT_YET_VALID), {"nbf": at(500)}),
    "living for two days": Question(refused(RejectionReason.LIFETIME_TOO_LONG), {"exp": at(2 * 86400)}),
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
    began, ends = at(-5), at(300)
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


def test_an_unknown_exception_is_refused_alike_where_unknown_sessions_are(strict: World, user: str) -> None:
    assert answer(lambda: strict.admin.revoke_user_sessions(user, except_session_handle=user)) == (
        "InvalidRequest",
        "INVALID_ARGUMENT",
        "NOT_A_SESSION_OF_USER",
        "except_session_handle",
    )


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


def test_a_revoked_session_is_refused_alike_and_revoking_it_again_changes_nothing(world: World, user: str) -> None:
    token = world.mint(user, user)

    assert world.admin.revoke_session(user, validate_only=True).newly_revoked
    assert answer(lambda: world.client.verify(token)) is None
    first = world.admin.revoke_session(user)
    again = world.admin.revoke_session(user)

    assert (first.newly_revoked, again.newly_revoked) == (True, False)
    assert first.revision == again.revision
    for check_database in (False, True):
        assert answer(
            lambda check_database=check_database: world.client.verify(token, check_database=check_database)
        ) == refused(RejectionReason.SESSION_REVOKED)
    assert answer(lambda: world.client.verify(token, at_least_as_fresh=first.revision)) == refused(
        RejectionReason.SESSION_REVOKED
    )


def test_several_sessions_are_revoked_alike(world: World, user: str) -> None:
    world.admin.revoke_session(f"{user}-2")

    outcome = world.admin.revoke_sessions([f"{user}-3", f"{user}-2", f"{user}-1", f"{user}-3"])

    assert outcome.newly_revoked_handles == (f"{user}-3", f"{user}-1")


def test_the_sessions_of_a_user_are_refused_alike(world: World, user: str) -> None:
    old = world.mint(user, f"{user}-1", iat=at(OLD))
    spared = world.mint(user, f"{user}-2", iat=at(OLD))
    unclear = world.mint(user, f"{user}-3")
    ahead = world.mint(user, f"{user}-7", iat=at(7))
    just_before = world.mint(user, f"{user}-8", iat=at(-4))
    somebody_elses = world.mint("somebody else", f"{user}-4", iat=at(OLD))
    world.admin.register_session(f"{user}-5", user, session_expire_time=now() + AN_HOUR)
    registered = world.mint(user, f"{user}-5")

    outcome = world.admin.revoke_user_sessions(user, except_session_handle=f"{user}-2")
    world.admin.register_session(f"{user}-6", user, session_expire_time=now() + AN_HOUR)
    later = world.mint(user, f"{user}-6")

    assert outcome.revoked_count == 1
    assert answer(lambda: world.client.verify(old)) == (RejectionReason.USER_REVOKED, REAUTHENTICATE)
    assert answer(lambda: world.client.verify(spared)) is None
    assert answer(lambda: world.client.verify(unclear)) == (RejectionReason.USER_REVOKED, REFRESH)
    assert answer(lambda: world.client.verify(ahead)) == (RejectionReason.USER_REVOKED, REFRESH)
    assert answer(lambda: world.client.verify(just_before)) == (RejectionReason.USER_REVOKED, REAUTHENTICATE)
    assert answer(lambda: world.client.verify(somebody_elses)) is None
    assert answer(lambda: world.client.verify(registered)) == refused(RejectionReason.SESSION_REVOKED)
    assert answer(lambda: world.client.verify(later)) is None
    assert (
        world.client.check(later).evidence.source is EvidenceSource.DATABASE
    )  # it was dated too near to the watermark


def test_a_user_is_revoked_alike_in_one_tenant(world: World, user: str) -> None:
    here = world.mint(user, f"{user}-1", iat=at(OLD), tid="acme")
    there = world.mint(user, f"{user}-2", iat=at(OLD), tid="other")

    world.admin.revoke_user_sessions(user, tenant_id="acme")

    assert answer(lambda: world.client.verify(here)) == refused(RejectionReason.USER_REVOKED)
    assert answer(lambda: world.client.verify(there)) is None


def test_the_sessions_of_a_tenant_are_refused_alike(world: World, user: str) -> None:
    tenant = f"tenant-of-{user}"
    inside = world.mint(user, f"{user}-1", iat=at(OLD), tid=tenant)
    unclear = world.mint(user, f"{user}-2", tid=tenant)
    outside = world.mint(user, f"{user}-3", iat=at(OLD))
    world.admin.register_session(f"{user}-4", user, tenant_id=tenant, session_expire_time=now() + AN_HOUR)

    outcome = world.admin.revoke_tenant_sessions(tenant)

    assert outcome.revoked_count == 1
    assert answer(lambda: world.client.verify(inside)) == (RejectionReason.TENANT_REVOKED, REAUTHENTICATE)
    assert answer(lambda: world.client.verify(unclear)) == (RejectionReason.TENANT_REVOKED, REFRESH)
    assert answer(lambda: world.client.verify(outside)) is None


def test_a_request_id_stands_for_one_request_alike(world: World, user: str) -> None:
    request_id = str(uuid.uuid4())
    first = world.admin.revoke_session(user, request_id=request_id)

    assert world.admin.revoke_session(user, request_id=request_id.upper()) == first
    assert answer(lambda: world.admin.revoke_session("another", request_id=request_id)) == (
        "InvalidRequest",
        "INVALID_ARGUMENT",
        "REQUEST_ID_REUSED",
        "request_id",
    )


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


def test_the_register_reads_alike(world: World, user: str) -> None:
    began, ends = now() - AN_HOUR, now() + AN_HOUR
    world.admin.register_session(f"{user}-2", user, tenant_id="acme", create_time=began, session_expire_time=ends)
    world.admin.register_session(f"{user}-1", user, create_time=began, session_expire_time=now() - timedelta(minutes=1))
    world.admin.register_session(f"{user}-3", user, session_expire_time=ends)
    world.admin.revoke_session(f"{user}-3")

    sessions = list(world.admin.list_sessions(user))

    assert [(session.session_handle, session.state) for session in sessions] == [
        (f"{user}-1", SessionState.EXPIRED),
        (f"{user}-2", SessionState.ACTIVE),
        (f"{user}-3", SessionState.REVOKED),
    ]
    assert world.admin.get_session(f"{user}-2") == sessions[1]
    assert (sessions[1].issuer, sessions[1].tenant_id, sessions[1].create_time) == (world.issuer, "acme", began)
    assert sessions[1].session_expire_time == ends
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


@pytest.mark.parametrize(
    ("scope", "count", "refused_handles"),
    [
        (SignOutScope.THIS_SESSION, 1, {"1"}),
        (SignOutScope.ALL_SESSIONS, 2, {"1", "2"}),
        (SignOutScope.OTHER_SESSIONS, 1, {"2"}),
    ],
)
def test_a_holder_signs_out_alike(
    world: World, user: str, scope: SignOutScope, count: int, refused_handles: set[str]
) -> None:
    for number in ("1", "2"):
        world.admin.register_session(f"{user}-{number}", user, session_expire_time=now() + AN_HOUR)
    tokens = {number: world.mint(user, f"{user}-{number}") for number in ("1", "2")}

    outcome = world.client.sign_out(tokens["1"], scope)

    assert outcome.revoked_count == count
    refused_now = {number for number, token in tokens.items() if answer(lambda token=token: world.client.verify(token))}
    assert refused_now == refused_handles
    entries = list(world.admin.list_revocations(user_id=user))
    assert {(entry.actor, entry.reason) for entry in entries} == {
        ("self-sign-out", "signed out by the session's holder")
    }
    assert entries[0].revision == outcome.revision


def test_who_is_not_signed_in_cannot_sign_out_alike(world: World, user: str) -> None:
    expired = world.mint(user, user, iat=at(-100), exp=at(-1))
    revoked = world.mint(user, user)
    world.admin.revoke_session(user)

    assert answer(lambda: world.client.sign_out(expired)) == refused(RejectionReason.EXPIRED)
    assert answer(lambda: world.client.sign_out(revoked)) == refused(RejectionReason.SESSION_REVOKED)


def test_a_holder_signs_out_alike_where_more_is_asked_for(strict: World, user: str) -> None:
    token = strict.mint(user, user, aud="api", antiCsrfToken="x")
    foreign = strict.mint(user, f"{user}-2", aud="api", antiCsrfToken="x")
    strict.admin.register_session(f"{user}-2", "somebody else", session_expire_time=now() + AN_HOUR)

    def ask(text: str, scope: SignOutScope) -> object:
        return answer(lambda: strict.client.sign_out(text, scope, anti_csrf_token="x"))

    assert answer(lambda: strict.client.sign_out(token)) == refused(RejectionReason.ANTI_CSRF_MISMATCH)
    assert ask(token, SignOutScope.OTHER_SESSIONS) == refused(RejectionReason.SESSION_NOT_FOUND)
    assert ask(foreign, SignOutScope.OTHER_SESSIONS) == refused(RejectionReason.SESSION_NOT_FOUND)
    assert list(strict.admin.list_revocations(user_id=user)) == []
    assert ask(token, SignOutScope.THIS_SESSION) is None
    assert ask(token, SignOutScope.THIS_SESSION) == refused(RejectionReason.SESSION_REVOKED)


def test_a_service_is_missing_alike_on_the_other_listener(world: World) -> None:
    with SessionClient(world.admin_target) as misled, RevocationClient(world.target) as misled_admin:
        for call in (lambda: misled.verify("a.b.c"), lambda: misled_admin.revoke_session("a")):
            with pytest.raises(CallFailed) as failed:
                call()
            assert (failed.value.code, failed.value.reason) == ("UNIMPLEMENTED", None)


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


class Watch:
    """One open feed."""

    def __init__(self, target: str, **request: Any) -> None:
        self._channel = grpc.insecure_channel(target)
        stub = feed_pb2_grpc.RevocationFeedServiceStub(self._channel)
        self._messages = iter(stub.WatchRevocations(feed_pb2.WatchRevocationsRequest(**request), timeout=LONG))

    def next(self) -> feed_pb2.WatchRevocationsResponse:
        return next(self._messages)

    def next_but_checkpoints(self) -> feed_pb2.WatchRevocationsResponse:
        return next(message for message in self._messages if message.WhichOneof("event") != "checkpoint")

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._channel.close()


def digest(world: World, salt: bytes, kind: bytes, subject: str) -> bytes:
    """As feed.proto says."""
    content = kind + b"".join(len(name.encode()).to_bytes(4, "big") + name.encode() for name in (world.issuer, subject))
    return hashlib.blake2b(content, key=salt, digest_size=16).digest()


def message_from(revision: Revision) -> session_pb2.Revision:
    return session_pb2.Revision(store_id=revision.store_id, sequence=revision.sequence)


def test_the_feed_tells_what_is_revoked_alike(world: World, user: str) -> None:
    before = world.admin.revoke_session(f"{user}-0").revision
    with Watch(world.target) as feed:
        hello = feed.next().hello
        first = feed.next()

        world.admin.register_session(f"{user}-1", user, session_expire_time=now() + AN_HOUR)
        outcome = world.admin.revoke_user_sessions(user)
        revocations = feed_pb2.FeedRevocations()
        while len(revocations.revocations) < 2:
            revocations.MergeFrom(feed.next_but_checkpoints().revocations)
        tenant = world.admin.revoke_tenant_sessions(f"{user}-t").revision
        last = feed.next_but_checkpoints().revocations

    assert hello.revision == message_from(before)
    assert len(hello.digest_salt) == 16
    assert first.checkpoint.revision == message_from(before)
    assert abs(first.checkpoint.sent_time.ToDatetime(UTC) - now()) < timedelta(minutes=1)
    assert first.checkpoint.HasField("last_read_age")
    assert list(revocations.revocations) == [
        feed_pb2.FeedRevocation(user_digest=digest(world, hello.digest_salt, b"u", user)),
        feed_pb2.FeedRevocation(session_digest=digest(world, hello.digest_salt, b"s", f"{user}-1")),
    ]
    assert revocations.revision == message_from(outcome.revision)
    assert list(last.revocations) == [
        feed_pb2.FeedRevocation(tenant_digest=digest(world, hello.digest_salt, b"t", f"{user}-t"))
    ]
    assert last.revision == message_from(tenant)


def test_the_feed_gives_signs_of_life_alike(world: World) -> None:
    with Watch(world.target) as feed:
        feed.next()
        sent = [feed.next().checkpoint.sent_time.ToDatetime(UTC) for _ in range(3)]

    assert sent == sorted(set(sent))


def test_the_feed_goes_on_where_it_was_left_alike(world: World, user: str) -> None:
    seen = world.admin.revoke_session(f"{user}-0").revision
    missed = world.admin.revoke_session(f"{user}-1").revision

    with Watch(world.target, after=message_from(seen)) as feed:
        hello = feed.next().hello
        revocations = feed.next_but_checkpoints().revocations
    assert hello.revision == message_from(seen)
    assert [each.session_digest for each in revocations.revocations] == [
        digest(world, hello.digest_salt, b"s", f"{user}-1")
    ]
    assert revocations.revision == message_from(missed)

    for elsewhere in (Revision("another", 1), Revision(seen.store_id, missed.sequence + 1000)):
        with Watch(world.target, after=message_from(elsewhere)) as feed:
            assert feed.next().hello.revision == message_from(missed)


def test_a_snapshot_is_for_administrators_alike(world: World, user: str) -> None:
    revision = world.admin.revoke_session(user).revision

    with Watch(world.admin_target, with_snapshot=True) as feed:
        hello = feed.next().hello
        digests: set[bytes] = set()
        while (message := feed.next()).HasField("snapshot_chunk"):
            digests.update(each.session_digest for each in message.snapshot_chunk.revocations)
    with Watch(world.target, with_snapshot=True) as feed, pytest.raises(grpc.RpcError) as refused_to:
        feed.next()

    assert hello.revision == message_from(revision)
    assert digest(world, hello.digest_salt, b"s", user) in digests
    assert message.checkpoint.revision == message_from(revision)
    failure = failure_of(refused_to.value)
    assert (failure.code, failure.reason, failure.metadata) == (
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
        {"field": "with_snapshot"},
    )


def test_a_revoked_key_ends_its_tokens_alike(module_folder: Path) -> None:
    """A world of its own: a key is revoked for good."""
    folder = module_folder / "k"
    folder.mkdir()
    outcomes: list[object] = []
    for opened in (fake_world(), real_world(folder, FakeIssuer())):
        with opened as world:
            token = world.mint("ada", "s-1")
            rehearsed = world.admin.revoke_signing_key(key_id=world.key_id, validate_only=True)
            before = answer(lambda world=world, token=token: world.client.verify(token))
            first = world.admin.revoke_signing_key(key_id=world.key_id, reason="leaked")
            again = world.admin.revoke_signing_key(key_id=world.key_id)
            (entry,) = world.admin.list_revocations()
            assert world.admin.revoke_signing_key(key_thumbprint=entry.key_thumbprint).revision == first.revision
            assert entry.key_id == world.key_id
            outcomes.append(
                (
                    rehearsed.revision.sequence,
                    first.revision.sequence,
                    again.revision.sequence,
                    before,
                    answer(lambda world=world, token=token: world.client.verify(token)),
                    (entry.kind, entry.reason, entry.actor, entry.user_id, entry.session_handle),
                )
            )

    fake, real = outcomes
    assert fake == real
