"""What the fake is for beyond what it has in common with a real sidecar: its own tokens, its life, its revokes."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sidegate import (
    AsyncRevocationClient,
    AsyncSessionClient,
    EvidenceSource,
    NextAction,
    RejectionReason,
    RevocationClient,
    SessionClient,
    SessionNotRegistered,
    SessionRejected,
    VerificationUnavailable,
)
from sidegate.testing import FakeSidecar


def reason_for(client: SessionClient, token: str) -> RejectionReason:
    with pytest.raises(SessionRejected) as refused:
        client.verify(token)
    return refused.value.reason


def test_a_token_says_what_it_was_asked_to(sidecar: FakeSidecar, client: SessionClient) -> None:
    token = sidecar.issue_token(
        "grace", "s-1", tenant_id="navy", anti_csrf_token="x", claims={"role": "admiral", "big": 2**60}
    )

    session = client.verify(token, tenant_id="navy", anti_csrf_token="x", check_database=True)

    assert (session.user_id, session.session_handle, session.tenant_id) == ("grace", "s-1", "navy")
    assert session.claims["role"] == "admiral"
    assert session.claims["big"] == 2**60
    assert session.issuer == sidecar.issuer


def test_claims_win_and_none_leaves_one_out(sidecar: FakeSidecar, client: SessionClient) -> None:
    assert client.verify(sidecar.issue_token("ada", claims={"sub": "grace"})).user_id == "grace"
    assert reason_for(client, sidecar.issue_token("ada", claims={"sub": None})) is RejectionReason.MISSING_CLAIM


@pytest.mark.parametrize("expires_in", [0, -1, -3600, -86400 * 30])
def test_a_token_can_have_expired_before_it_is_issued(
    sidecar: FakeSidecar, client: SessionClient, expires_in: float
) -> None:
    with pytest.raises(SessionRejected) as refused:
        client.verify(sidecar.issue_token(expires_in=expires_in))

    assert (refused.value.reason, refused.value.next_action) == (RejectionReason.EXPIRED, NextAction.REFRESH)


def test_each_token_is_of_a_session_of_its_own(sidecar: FakeSidecar, client: SessionClient) -> None:
    first, second = (client.verify(sidecar.issue_token()).session_handle for _ in range(2))

    assert first != second


def test_issuing_registers_the_session_unless_told_not_to(
    sidecar: FakeSidecar, client: SessionClient, admin: RevocationClient
) -> None:
    client.verify(sidecar.issue_token("ada", "s-1", tenant_id="acme"), check_database=True)
    client.verify(sidecar.issue_token("ada", "s-2", registered=False), check_database=True)

    assert admin.get_session("s-1").tenant_id == "acme"
    with pytest.raises(SessionNotRegistered):
        admin.get_session("s-2")


def test_another_token_of_a_session_changes_nothing_about_it(sidecar: FakeSidecar, admin: RevocationClient) -> None:
    sidecar.issue_token("ada", "s-1")
    before = admin.get_session("s-1")

    sidecar.issue_token("mallory", "s-1")

    assert admin.get_session("s-1") == before


def test_a_token_of_a_revoked_session_can_be_issued_and_is_refused(sidecar: FakeSidecar, client: SessionClient) -> None:
    sidecar.revoke_session("s-1")

    assert reason_for(client, sidecar.issue_token("ada", "s-1")) is RejectionReason.SESSION_REVOKED


def test_no_fake_takes_the_tokens_of_another(client: SessionClient) -> None:
    assert reason_for(client, FakeSidecar().issue_token()) is RejectionReason.BAD_SIGNATURE
    assert reason_for(client, FakeSidecar(issuer="https://a.test").issue_token()) is RejectionReason.WRONG_ISSUER


def test_a_test_revokes_sessions_users_and_tenants(sidecar: FakeSidecar, client: SessionClient) -> None:
    one, other = sidecar.issue_token("ada", "s-1"), sidecar.issue_token("ada", "s-2")
    old = {"iat": 1_700_000_000, "exp": 1_700_000_600}
    inside = sidecar.issue_token("grace", tenant_id="navy", registered=False)

    first = sidecar.revoke_session("s-1")
    assert reason_for(client, one) is RejectionReason.SESSION_REVOKED
    second = sidecar.revoke_user_sessions("ada", except_session_handle="s-2")
    assert client.verify(other, at_least_as_fresh=second).session_handle == "s-2"
    sidecar.revoke_tenant_sessions("navy")
    assert reason_for(client, inside) is RejectionReason.TENANT_REVOKED

    assert first.sequence == 1
    assert sidecar.revision.sequence == 3
    assert reason_for(client, sidecar.issue_token(claims=old)) is RejectionReason.EXPIRED


def test_who_signs_in_after_everything_was_revoked_is_signed_in(sidecar: FakeSidecar, client: SessionClient) -> None:
    sidecar.revoke_user_sessions("ada")

    session = client.verify(sidecar.issue_token("ada"))

    assert session.evidence.source is EvidenceSource.DATABASE  # the register decided: the token is dated too near to it


def test_constructing_one_opens_nothing() -> None:
    sidecar = FakeSidecar()

    with pytest.raises(RuntimeError, match="not started"):
        _ = sidecar.target
    sidecar.close()


def test_it_comes_back_on_its_address_and_has_forgotten_nothing() -> None:
    for tcp in (False, True):
        with FakeSidecar(tcp=tcp) as sidecar, SessionClient(sidecar.target, timeout=5.0, near_cache=False) as client:
            target, kept, revoked = sidecar.target, sidecar.issue_token(), sidecar.issue_token("ada", "s-1")
            client.verify(revoked)

            sidecar.stop()
            sidecar.stop()
            sidecar.revoke_session("s-1")
            with pytest.raises(VerificationUnavailable):
                client.verify(kept, timeout=0.2)
            sidecar.start()
            sidecar.start()

            assert sidecar.target == target
            client.wait_until_ready()
            client.verify(kept)
            assert reason_for(client, revoked) is RejectionReason.SESSION_REVOKED


def test_nothing_of_it_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with FakeSidecar() as sidecar:
        assert Path(sidecar.target.removeprefix("unix://")).is_socket()
        assert any(tmp_path.iterdir())

    assert not any(tmp_path.iterdir())


def test_two_do_not_get_into_each_others_way(sidecar: FakeSidecar, client: SessionClient) -> None:
    with FakeSidecar() as other, SessionClient(other.target) as its_client:
        other.revoke_user_sessions("ada")

        assert client.verify(sidecar.issue_token("ada")).evidence.revision == sidecar.revision
        assert its_client.verify(other.issue_token("ada")).evidence.revision == other.revision
    assert sidecar.revision.sequence == 0


async def test_it_serves_coroutines_of_its_own_loop() -> None:
    async with (
        FakeSidecar() as sidecar,
        AsyncSessionClient(sidecar.target, timeout=20.0) as client,
        AsyncRevocationClient(sidecar.admin_target, timeout=20.0) as admin,
    ):
        tokens = [sidecar.issue_token("ada", f"s-{number}") for number in range(8)]
        sessions = await asyncio.gather(*(client.verify(token) for token in tokens))
        assert [session.session_handle for session in sessions] == [f"s-{number}" for number in range(8)]

        assert (await admin.revoke_user_sessions("ada")).revoked_count == 8

        with pytest.raises(SessionRejected):
            await client.verify(tokens[0])


def test_a_near_cache_lives_by_its_feed(sidecar: FakeSidecar) -> None:
    with SessionClient(sidecar.target, timeout=20.0) as client:

        def is_refused(token: str) -> bool:
            try:
                client.verify(token)
            except SessionRejected:
                return True
            return False

        tokens = [
            sidecar.issue_token("ada", "s-1"),
            sidecar.issue_token("grace"),
            sidecar.issue_token(tenant_id="navy"),
        ]
        for token in tokens:
            hits = client.near_cache_statistics().hits
            eventually(
                lambda token=token, hits=hits: not is_refused(token) and client.near_cache_statistics().hits > hits
            )
        sidecar.revoke_session("s-1")
        sidecar.revoke_user_sessions("grace")
        sidecar.revoke_tenant_sessions("navy")

        for token in tokens:
            eventually(lambda token=token: is_refused(token))
        assert client.near_cache_statistics().dropped_by_revocation == 3


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_many_threads_may_revoke_at_once(sidecar: FakeSidecar, admin: RevocationClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(admin.revoke_session, [f"s-{number}" for number in range(64)]))

    assert sorted(outcome.revision.sequence for outcome in outcomes) == list(range(1, 65))
    assert sidecar.revision.sequence == 64
