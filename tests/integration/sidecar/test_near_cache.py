"""The clients' near caches beside a real sidecar."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sidegate import RejectionReason, Session, SessionClient, Verdict, VerificationUnavailable

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar
from tests.unit.client.twins import Twins

PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    with running_sidecar(module_folder, issuers=issuers_setting(file_issuer(issuer, module_folder))) as running:
        yield running


@pytest.fixture(params=["threads", "asyncio"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    if request.param == "threads":
        yield Twins(None)
    else:
        with asyncio.Runner() as runner:
            yield Twins(runner)


def check_until(client: SessionClient, token: str, done: Callable[[Verdict], bool]) -> Verdict:
    """The first verdict for which that holds. An outage on the way is none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            verdict = client.check(token)
        except VerificationUnavailable:
            assert time.monotonic() < deadline
            continue
        if done(verdict):
            return verdict
        assert time.monotonic() < deadline


def fill(client: SessionClient, token: str) -> None:
    """Return once the near cache has answered."""
    hits = client.near_cache_statistics().hits
    check_until(client, token, lambda _: client.near_cache_statistics().hits > hits)


@pytest.mark.parametrize("what", ["session", "user"])
def test_a_kept_verdict_ends_with_its_revocation(twins: Twins, sidecar: Sidecar, issuer: FakeIssuer, what: str) -> None:
    handle, user = f"near-{what}-{twins.runner is None}", f"user-{what}-{twins.runner is None}"
    token = issuer.mint(user, handle)
    with twins.session_client(sidecar.target, timeout=10) as client, sidecar.administration() as admin:
        fill(client, token)
        if what == "session":
            admin.revoke_session(handle)
        else:
            admin.revoke_user_sessions(user)
        verdict = check_until(client, token, lambda verdict: not isinstance(verdict.outcome, Session))
        assert not isinstance(verdict.outcome, Session)
        assert verdict.outcome.reason in {RejectionReason.SESSION_REVOKED, RejectionReason.USER_REVOKED}
        assert client.near_cache_statistics().dropped_by_revocation == 1
        assert not isinstance(client.check(token).outcome, Session)


def test_a_sidecar_that_was_killed_and_comes_back_feeds_again(twins: Twins, issuer: FakeIssuer, folder: Path) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder))}
    token = issuer.mint("anna", "near-restart")
    with running_sidecar(folder, **settings) as sidecar:
        client = twins.session_client(sidecar.target, timeout=10)
        fill(client, token)
        sidecar.kill()
    with client, running_sidecar(folder, **settings) as again, again.administration() as admin:
        fill(client, token)
        admin.revoke_session("near-restart")
        check_until(client, token, lambda verdict: not isinstance(verdict.outcome, Session))


def test_a_sidecar_without_a_store_is_asked_every_time(twins: Twins, issuer: FakeIssuer, folder: Path) -> None:
    stateless = {"issuers": issuers_setting(file_issuer(issuer, folder)), "store_url": "", "admin_listen": ""}
    with running_sidecar(folder, **stateless) as sidecar, twins.session_client(sidecar.target, timeout=10) as client:
        for _ in range(50):
            assert client.verify(issuer.mint("anna", "near-stateless")).user_id == "anna"
        statistics = client.near_cache_statistics()
        assert (statistics.hits, statistics.entries, statistics.bypassed_without_feed) == (0, 0, 50)
