"""Revoking and signing out, of the fake and of a real sidecar: the same questions, the same answers."""

import uuid
from pathlib import Path

import pytest
from sidegate import EvidenceSource, RejectionReason, SignOutScope

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.conformance.worlds import (
    AN_HOUR,
    OLD,
    REAUTHENTICATE,
    REFRESH,
    In,
    World,
    answer,
    fake_world,
    now,
    real_world,
    refused,
)


def test_an_unknown_exception_is_refused_alike_where_unknown_sessions_are(strict: World, user: str) -> None:
    assert answer(lambda: strict.admin.revoke_user_sessions(user, except_session_handle=user)) == (
        "InvalidRequest",
        "INVALID_ARGUMENT",
        "NOT_A_SESSION_OF_USER",
        "except_session_handle",
    )


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
    old = world.mint(user, f"{user}-1", iat=OLD)
    spared = world.mint(user, f"{user}-2", iat=OLD)
    unclear = world.mint(user, f"{user}-3")
    ahead = world.mint(user, f"{user}-7", iat=In(1))
    just_before = world.mint(user, f"{user}-8", iat=In(-4))
    somebody_elses = world.mint("somebody else", f"{user}-4", iat=OLD)
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
    here = world.mint(user, f"{user}-1", iat=OLD, tid="acme")
    there = world.mint(user, f"{user}-2", iat=OLD, tid="other")

    world.admin.revoke_user_sessions(user, tenant_id="acme")

    assert answer(lambda: world.client.verify(here)) == refused(RejectionReason.USER_REVOKED)
    assert answer(lambda: world.client.verify(there)) is None


def test_the_sessions_of_a_tenant_are_refused_alike(world: World, user: str) -> None:
    tenant = f"tenant-of-{user}"
    inside = world.mint(user, f"{user}-1", iat=OLD, tid=tenant)
    unclear = world.mint(user, f"{user}-2", tid=tenant)
    outside = world.mint(user, f"{user}-3", iat=OLD)
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
    expired = world.mint(user, user, iat=In(-100), exp=In(-1))
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
