"""Sequences are in commit order, whoever is stopped in the middle of a revocation."""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sidegate import RevocationClient

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database
from tests.history.operations import Answer
from tests.integration.faults.gate import gate_before
from tests.integration.faults.scene import Scene

HELD_SECONDS = 20.0  # what a client waits for a revocation that the test holds up
TAKE_LOG_LOCK = "SELECT head_sequence FROM sidegate.take_log_lock()"


@pytest.fixture
def scene(folder: Path, issuer: FakeIssuer, database: Database) -> Iterator[Scene]:
    with Scene(folder, issuer) as running:
        running.add_sidecar("a", database.url)
        running.add_sidecar("b", database.url)
        yield running


def revoker(scene: Scene, name: str) -> RevocationClient:
    """A client of that sidecar that has the time. To be closed."""
    return RevocationClient(scene.sidecar(name).admin_target, timeout=HELD_SECONDS)


async def head_of(database: Database) -> int:
    """The last sequence that is committed."""
    async with database.connect() as connection:
        head: int = await connection.fetchval("SELECT head_sequence FROM sidegate.current_store")
        return head


async def test_who_wants_the_next_sequence_waits_for_the_commit_of_the_one_before(database: Database) -> None:
    """On bare connections, without a sidecar."""
    async with database.connect() as first, database.connect() as second, database.connect() as watcher:
        await first.execute("BEGIN")
        assert await first.fetchval(TAKE_LOG_LOCK) == 0
        await second.execute("BEGIN")
        waiting = asyncio.create_task(second.fetchval(TAKE_LOG_LOCK))
        blocked = "SELECT cardinality(pg_blocking_pids($1))"
        while not await watcher.fetchval(blocked, second.get_server_pid()):
            assert not waiting.done()
            await asyncio.sleep(0.005)
        await first.execute("UPDATE sidegate.store SET head_sequence = 7")
        assert not waiting.done()
        await first.execute("COMMIT")
        assert await waiting == 7, "it reads what the first has committed, though it asked before"


async def test_the_second_of_two_revocations_is_not_seen_before_the_first(scene: Scene, database: Database) -> None:
    with revoker(scene, "a") as one, revoker(scene, "b") as other:
        async with gate_before(database, "first") as gate:
            first = asyncio.create_task(asyncio.to_thread(one.revoke_session, "first"))
            await gate.wait_until_reached()
            second = asyncio.create_task(asyncio.to_thread(other.revoke_session, "second"))
            await gate.wait_until_log_is_awaited()

            assert await head_of(database) == 0
            for recorder in scene.recorders.values():
                for handle in ("first", "second"):
                    for check_database in (False, True):
                        login = scene.log_in(handle)
                        assert recorder.verify(login, check_database=check_database).answer is Answer.VALID
            await gate.open()
            assert [(await each).revision.sequence for each in (first, second)] == [1, 2]


async def test_the_second_takes_the_place_of_a_first_that_is_rolled_back(scene: Scene, database: Database) -> None:
    with revoker(scene, "a") as one, revoker(scene, "b") as other:
        async with gate_before(database, "first") as gate:
            first = asyncio.create_task(asyncio.to_thread(one.revoke_session, "first"))
            await gate.wait_until_reached()
            second = asyncio.create_task(asyncio.to_thread(other.revoke_session, "second"))
            await gate.wait_until_log_is_awaited()

            await gate.end_who_waits()
            assert (await second).revision.sequence == 1
            await gate.open()
            assert (await first).revision.sequence == 2, "the client repeats what failed"


async def test_a_sidecar_that_freezes_in_its_transaction_holds_up_nobody_for_long(
    scene: Scene, database: Database
) -> None:
    frozen = scene.sidecar("a").process
    with revoker(scene, "a") as one, revoker(scene, "b") as other:
        async with gate_before(database, "first") as gate:
            first = asyncio.create_task(asyncio.to_thread(one.revoke_session, "first"))
            await gate.wait_until_reached()
            frozen.send_signal(signal.SIGSTOP)
            try:
                await gate.open()  # it holds the log lock, and will not commit
                began = time.monotonic()
                second = await asyncio.to_thread(other.revoke_session, "second")
                took = time.monotonic() - began
            finally:
                frozen.send_signal(signal.SIGCONT)
            print(f"it held up another's revocation for {took:.2f} s")  # noqa: T201 - the figure is asked for
            assert second.revision.sequence == 1, "what was frozen has been rolled back"
            assert (await first).revision.sequence == 2, "and its client repeats it"
    for recorder in scene.recorders.values():
        for handle in ("first", "second"):
            assert recorder.verify(scene.log_in(handle), check_database=True).answer is Answer.REVOKED
