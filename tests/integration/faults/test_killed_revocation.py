"""A sidecar is killed while it revokes a user of very many sessions: all of them end, or none."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from sidegate import ClientClosed, RevocationClient, RevocationUnavailable, SessionState

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database
from tests.integration.faults.gate import Gate, gate_at_commit, gate_before
from tests.integration.faults.scene import Scene

SESSIONS = 10_000
LONG_SECONDS = 30.0
# By hand: ten thousand registrations through the sidecar take seconds, and are not what is tried here.
REGISTER = """
INSERT INTO sidegate.sessions (issuer, session_handle, user_id, tenant_id, create_time, session_expire_time)
SELECT '{issuer}', 'session-' || to_char(number, 'FM00000'), 'alice', '', now.time, now.time + 3600000000
FROM generate_series(1, {sessions}) AS number, sidegate.store_now() AS now (time)
"""


@pytest.mark.parametrize(
    ("gate_at", "subject", "happens"),
    [
        pytest.param(gate_before, "alice", False, id="before the watermark"),
        pytest.param(gate_before, "session-05000", False, id="in the middle of the sessions"),
        pytest.param(gate_at_commit, "alice", True, id="at the commit"),
    ],
)
async def test_all_sessions_end_or_none(
    folder: Path,
    issuer: FakeIssuer,
    database: Database,
    gate_at: Callable[[Database, str], AbstractAsyncContextManager[Gate]],
    subject: str,
    happens: bool,
) -> None:
    request_id = str(uuid.uuid4())
    with Scene(folder, issuer) as scene:
        scene.add_sidecar("a", database.url)
        admin_target = scene.sidecar("a").admin_target
        await database.execute(REGISTER.format(issuer=issuer.name, sessions=SESSIONS))
        with RevocationClient(admin_target, timeout=LONG_SECONDS) as admin:
            async with gate_at(database, subject) as gate:
                revoking = asyncio.create_task(
                    asyncio.to_thread(admin.revoke_user_sessions, "alice", request_id=request_id)
                )
                await gate.wait_until_reached()
                with scene.downtime("a"):
                    scene.kill_sidecar("a")
                    admin.close()  # else it goes on trying
                    with pytest.raises((RevocationUnavailable, ClientClosed)):
                        await revoking
                    await gate.open()

        with RevocationClient(admin_target, timeout=LONG_SECONDS) as admin:
            assert await count_ended(database) in {SESSIONS, 0}
            ended = [session.state is SessionState.REVOKED for session in admin.list_sessions("alice")]
            assert ended == [happens] * SESSIONS

            repeated = admin.revoke_user_sessions("alice", request_id=request_id)
            assert repeated.revoked_count == SESSIONS
            assert repeated.revision.sequence == SESSIONS + 1
            assert admin.revoke_user_sessions("alice", request_id=request_id) == repeated
            assert await count_ended(database) == SESSIONS


async def count_ended(database: Database) -> int:
    """How many sessions the log has as ended."""
    async with database.connect() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM sidegate.revocation_log WHERE kind = 's'")
        return count
