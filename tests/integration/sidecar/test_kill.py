"""kill -9 between acknowledged revokes: none is lost, and none is done by half."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sidegate import (
    ClientClosed,
    Registration,
    RejectionReason,
    RevocationClient,
    RevocationUnavailable,
    SessionClient,
    SessionRejected,
    SessionState,
)

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

SESSIONS = 300


class Work:
    """Calls one after the other in a thread, until one fails; the acknowledged ones can be waited for."""

    def __init__(self, call: Callable[[int], object]) -> None:
        self._call = call
        self.acknowledged = 0
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        with self._progress:
            assert self._progress.wait_for(lambda: self.acknowledged >= count, 60)

    def join(self) -> int:
        """How many were acknowledged, once one has failed."""
        self._thread.join()
        return self.acknowledged

    def _run(self) -> None:
        try:
            while True:
                self._call(self.acknowledged)
                with self._progress:
                    self.acknowledged += 1
                    self._progress.notify_all()
        except (RevocationUnavailable, ClientClosed):
            pass  # killed, at last


def check_refused(client: SessionClient, token: str) -> None:
    for check_database in (False, True):
        with pytest.raises(SessionRejected) as refused:
            client.verify(token, check_database=check_database)
        assert refused.value.reason is RejectionReason.SESSION_REVOKED


def settings_of(issuer: FakeIssuer, folder: Path) -> dict[str, str]:
    return {"issuers": issuers_setting(file_issuer(issuer, folder))}


def test_no_acknowledged_revocation_is_lost(issuer: FakeIssuer, folder: Path) -> None:
    """Killed at several moments of one store's life; all that was acknowledged is looked for at the end."""
    settings = settings_of(issuer, folder)
    revoked: list[str] = []
    for life, moment in enumerate((1, 2, 7, 40)):
        with running_sidecar(folder, **settings) as sidecar, sidecar.administration() as admin:
            work = Work(partial(_revoke, admin, f"killed-{life}"))
            work.wait_for(moment)
            sidecar.kill()
            admin.close()  # else it goes on trying
            count = work.join()
        assert count >= moment
        revoked += [f"killed-{life}-{number}" for number in range(count)]

    with running_sidecar(folder, **settings) as sidecar:
        _check_all_there(sidecar, issuer, revoked)


def _revoke(admin: RevocationClient, prefix: str, number: int) -> None:
    admin.revoke_session(f"{prefix}-{number}", timeout=2)


def _check_all_there(sidecar: Sidecar, issuer: FakeIssuer, revoked: list[str]) -> None:
    with sidecar.verification() as client, sidecar.administration() as admin:
        for handle in revoked:
            check_refused(client, issuer.mint("alice", handle))
        trail = list(admin.list_revocations())
        assert set(revoked) <= {entry.session_handle for entry in trail}
        # Gap-free, in spite of the calls that were cut short.
        assert [entry.revision.sequence for entry in trail] == list(range(len(trail), 0, -1))
        assert client.verify(issuer.mint("alice", "never-revoked"), check_database=True).user_id == "alice"


@pytest.mark.parametrize("milliseconds", [0, 2, 5, 10])
def test_a_user_is_revoked_whole_or_not_at_all(issuer: FakeIssuer, folder: Path, milliseconds: int) -> None:
    settings = settings_of(issuer, folder)
    ends = datetime.now(UTC) + timedelta(hours=1)
    with running_sidecar(folder, **settings) as sidecar, sidecar.administration() as admin:
        admin.register_sessions([Registration(f"alices-{number}", "alice", ends) for number in range(SESSIONS)])
        asked = threading.Event()

        def revoke(_: int) -> None:
            asked.set()
            admin.revoke_user_sessions("alice", timeout=2)

        work = Work(revoke)
        asked.wait()
        time.sleep(milliseconds / 1000)  # another moment of the same call; the claim holds at every one
        sidecar.kill()
        admin.close()
        acknowledged = work.join()

    with running_sidecar(folder, **settings) as sidecar, sidecar.administration() as admin:
        ended = [session.state is SessionState.REVOKED for session in admin.list_sessions("alice")]
        assert len(ended) == SESSIONS
        assert all(ended) or not any(ended)
        assert all(ended) or acknowledged == 0


def test_a_revoke_cut_short_can_be_repeated_by_its_request_id(issuer: FakeIssuer, folder: Path) -> None:
    settings = settings_of(issuer, folder)
    unknown: list[str] = []

    with running_sidecar(folder, **settings) as sidecar, sidecar.administration() as admin:

        def revoke(number: int) -> None:
            try:
                admin.revoke_session(f"repeated-{number}", timeout=2)
            except RevocationUnavailable as failure:
                unknown.append(failure.request_id or "")
                raise

        work = Work(revoke)
        work.wait_for(5)
        sidecar.kill()
        number = work.join()

    with running_sidecar(folder, **settings) as sidecar, sidecar.administration() as admin:
        (request_id,) = unknown
        first = admin.revoke_session(f"repeated-{number}", request_id=request_id)
        assert first.newly_revoked
        assert admin.revoke_session(f"repeated-{number}", request_id=request_id) == first
        assert len(list(admin.list_revocations(session_handle=f"repeated-{number}"))) == 1
