"""A revocation reaches the near cache of every service process, and none accepts the session again."""

from functools import partial
from pathlib import Path

from tests.fakes.issuer import FakeIssuer
from tests.integration.clients.near_cache_crowd import near_cache_crowd
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar

PROCESSES = 8
REVOCATIONS = 5


def test_every_near_cache_refuses_what_was_revoked(issuer: FakeIssuer, folder: Path) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder))}
    with (
        running_sidecar(folder, **settings) as sidecar,
        sidecar.administration() as admin,
        near_cache_crowd(sidecar.target, PROCESSES) as crowd,
    ):
        for number in range(REVOCATIONS):
            handle = f"session-{number}"
            # Each process checks by itself that it accepts nothing once its feed has told it.
            refusals = crowd.revoke(issuer.mint("alice", handle), partial(admin.revoke_session, handle))
            assert len(refusals) == PROCESSES
