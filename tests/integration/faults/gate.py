"""Stops a revocation in the middle of its transaction, and says when it is there. For faults at a given moment."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from tests.fakes.postgres import Database
from tests.integration.sidecar.processes import PATIENCE_SECONDS

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

_LOCK = 404  # any advisory lock of one key; sidegate's have two

_FUNCTION = f"""
CREATE FUNCTION public.pass_gate() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN PERFORM pg_advisory_xact_lock({_LOCK}); RETURN NEW; END$$;
CREATE {{kind}} TRIGGER gate {{moment}} INSERT ON sidegate.revocation_log {{deferred}}
FOR EACH ROW WHEN (NEW.subject = '{{subject}}') EXECUTE FUNCTION public.pass_gate()
"""


class Gate:
    """Shut until it is opened. See `gate_before` and `gate_at_commit`."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    async def wait_until_reached(self) -> None:
        """Return once a transaction stands before it."""
        await self._wait_for(
            "a transaction at the gate",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted",
            _LOCK,
        )

    async def wait_until_log_is_awaited(self) -> None:
        """Return once another transaction waits for the log lock."""
        await self._wait_for(
            "a transaction that waits for the log lock",
            """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event IN ('tuple', 'transactionid')
            """,
        )

    async def end_who_waits(self) -> None:
        """Terminate the session of the transaction that stands before it."""
        await self._connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted",
            _LOCK,
        )

    async def open(self) -> None:
        """Let pass who waits, and who comes."""
        await self._connection.fetchval("SELECT pg_advisory_unlock($1)", _LOCK)

    async def _wait_for(self, what: str, count: str, *arguments: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await self._connection.fetchval(count, *arguments):
            assert time.monotonic() < deadline, f"there is never {what}"
            await asyncio.sleep(0.005)


@asynccontextmanager
async def gate_before(database: Database, subject: str) -> AsyncGenerator[Gate]:
    """Stands before the entry of that handle or user, those before it being logged by the same statement."""
    async with _gate(database, kind="", moment="BEFORE", deferred="", subject=subject) as gate:
        yield gate


@asynccontextmanager
async def gate_at_commit(database: Database, subject: str) -> AsyncGenerator[Gate]:
    """Stands before the commit of the transaction that logs that handle or user; the server has been told to commit."""
    deferred = "DEFERRABLE INITIALLY DEFERRED"
    async with _gate(database, kind="CONSTRAINT", moment="AFTER", deferred=deferred, subject=subject) as gate:
        yield gate


@asynccontextmanager
async def _gate(database: Database, **trigger: str) -> AsyncGenerator[Gate]:
    await database.execute(_FUNCTION.format(**trigger))
    async with database.connect() as connection:
        await connection.fetchval("SELECT pg_advisory_lock($1)", _LOCK)
        yield Gate(connection)
