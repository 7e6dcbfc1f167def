"""The issuer's clock and the database's are seconds apart, within the skew that the settings allow for."""

from pathlib import Path

import pytest

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database
from tests.history.operations import Answer, Outcome
from tests.history.recording import Login, Recorder
from tests.integration.faults.scene import Scene
from tests.integration.sidecar.processes import file_issuer, issuers_setting

SHIFT = """
CREATE OR REPLACE FUNCTION sidegate.store_now() RETURNS bigint LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 1000000 * ({seconds}) $$
"""


@pytest.mark.parametrize("seconds", [-5, 5], ids=["the database is behind", "the database is ahead"])
async def test_a_revoked_session_is_refused_and_a_new_one_is_not(
    folder: Path, issuer: FakeIssuer, database: Database, seconds: int
) -> None:
    await database.execute(SHIFT.format(seconds=seconds))
    entry = file_issuer(issuer, folder, issuer_clock_skew="10s")
    with Scene(folder, issuer, issuers=issuers_setting(entry), leeway="10s") as scene:
        taker, neighbour = scene.add_sidecar("a", database.url), scene.add_sidecar("b", database.url)
        for number in range(10):
            check_user(scene, taker, neighbour, f"user-{number}")
            taker, neighbour = neighbour, taker
        scene.check()


def check_user(scene: Scene, taker: Recorder, neighbour: Recorder, user_id: str) -> None:
    """One user, who logs in, logs out everywhere but on one device, and logs in again."""

    def log_in(device: str, *, registered: bool = True) -> Login:
        login = scene.log_in(f"{user_id}-{device}", user_id)
        if registered:
            assert taker.register(login).outcome is Outcome.ACKNOWLEDGED
        return login

    old, unregistered, spared = log_in("old"), log_in("unregistered", registered=False), log_in("spared")
    revocation = taker.revoke_user(user_id, spared=spared.handle)
    assert revocation.outcome is Outcome.ACKNOWLEDGED
    new = log_in("new")
    for login, expected in (
        (old, Answer.REVOKED),
        (unregistered, Answer.REVOKED),
        (spared, Answer.VALID),
        (new, Answer.VALID),
    ):
        for recorder in (taker, neighbour):
            local = recorder.verify(login, at_least_as_fresh=revocation.revision)
            asked = recorder.verify(login, check_database=True)
            assert (local.answer, asked.answer) == (expected, expected), login.handle
