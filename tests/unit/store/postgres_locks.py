"""Holding a PostgreSQL store's transactions at a given point, by the locks that they are about to take."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.fakes.postgres import Database

LOG_LOCK = "SELECT sidegate.take_log_lock()"
REGISTERING = "LOCK TABLE sidegate.sessions IN SHARE MODE"
"""Registrations get as far as their INSERT: they have their locks and have read what they rest on."""

_WAITING = """
SELECT wait_event FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' ORDER BY 1
"""


@asynccontextmanager
async def held(database: Database, statement: str) -> AsyncGenerator[None]:
    """While a transaction of somebody else holds the locks that the statement takes; rolled back in the end."""
    async with database.connect() as connection:
        await connection.execute(f"BEGIN; {statement}")
        try:
            yield
        finally:
            await connection.execute("ROLLBACK")


async def until_waiting(database: Database, *events: str) -> None:
    """Return once these, and no others, are what transactions of the database wait for: "advisory", "relation", …"""
    async with asyncio.timeout(20), database.connect() as connection:
        while [row["wait_event"] for row in await connection.fetch(_WAITING)] != sorted(events):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
