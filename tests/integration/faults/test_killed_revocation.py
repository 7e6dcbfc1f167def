"""A sidecar is killed while it revokes a user of very many sessions: all of them end, or none."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sidegate import ClientClosed, Registration, RevocationClient, RevocationUnavailable, SessionState

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database
from tests.integration.faults.gate import Gate, gate_at_commit, gate_before
from tests.integration.faults.scene import Scene

SESSIONS = 10_000
BATCH = 1000
LONG_SECONDS = 30.0


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
        register_all(admin_target)
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


def register_all(admin_target: str) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    with RevocationClient(admin_target, timeout=LONG_SECONDS) as admin:
        for first in range(0, SESSIONS, BATCH):
            admin.register_sessions(
                [Registration(f"session-{number:05}", "alice", expires) for number in range(first, first + BATCH)]
            )


async def count_ended(database: Database) -> int:
    """How many sessions the log has as ended."""
    async with database.connect() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM sidegate.revocation_log WHERE kind = 's'")
        return count
