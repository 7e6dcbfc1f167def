"""Whether size matters: 10^3, 10^5 and 10^7 sessions in SQLite and in a real PostgreSQL.

`check_database` is one look-up of a random session, taking turns over the three sizes, in milliseconds: median and 10th
to 90th percentile. On PostgreSQL it touches as many pages at every size, give or take a level of the index. The rest of
its growth is reading one of them from outside the server's own cache, which holds all of a small table: a test server's
has 64 MB. `revoke user` ends 10,000 sessions of one user by the store, and `bare SQL` copies as many rows into
a table like the log by one statement in one transaction, taking turns too. Then a real sidecar starts on a PostgreSQL
whose log holds 10^4, 10^5 and 10^6 live revocations: from reading the first page to a loaded index by its own log, and
what the whole process then holds in memory.

Asserts nothing. Takes about ten minutes, nearly all of it to fill the tables; SIZES=1000,100000 is over sooner.
"""

import asyncio
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sidegate_sidecar.model import SECOND, Attribution, Subject, wall_clock
from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import LIMITS, Database, PostgresServer
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar

SIZES = tuple(int(size) for size in os.environ.get("SIZES", "1000,100000,10000000").split(","))
LOGS = (10_000, 100_000, 1_000_000)
LOOK_UPS = 1000
REVOKED_USERS = 5
SESSIONS_OF_USER = 10_000
ISSUER = "https://issuer.example"
DAY = 86400 * SECOND

# The same rows in both: sessions of ten a user, and some users with very many.
FILL = """
INSERT INTO {sessions} (issuer, session_handle, user_id, tenant_id, create_time, session_expire_time)
SELECT '{issuer}', 'session-' || n, 'user-' || (n / 10), '', {now}, {now} + {day} FROM {numbers}
"""
FILL_USER = """
INSERT INTO {sessions} (issuer, session_handle, user_id, tenant_id, create_time, session_expire_time)
SELECT '{issuer}', '{user}-' || n, '{user}', '', {now}, {now} + {day} FROM {numbers}
"""
BARE = """
INSERT INTO {copy} (sequence, entry_id, kind, issuer, subject, revoke_time, forget_time, actor, reason, user_id)
SELECT {base} + row_number() OVER (ORDER BY session_handle), {entry_id}, 's', issuer, session_handle, {now},
    session_expire_time, 'bench', '', user_id
FROM {sessions} WHERE issuer = '{issuer}' AND user_id = '{user}'
"""
SQLITE_NUMBERS = "(WITH RECURSIVE k (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < {count}) SELECT n FROM k)"
POSTGRES_NUMBERS = "generate_series(1, {count}) AS k (n)"


@dataclass(frozen=True, slots=True)
class Filled:
    """A store of one size, and the bare statement beside it."""

    size: int
    store: SessionStore
    copy_sessions: Callable[[str, int], Awaitable[None]]


@asynccontextmanager
async def sqlite_store(folder: Path, size: int) -> AsyncGenerator[Filled, None]:
    """A file with that many sessions."""
    path = folder / f"{size}.db"
    store = SqliteStore(path, write_timeout=60)
    await store.migrate(LIMITS)
    known = {"issuer": ISSUER, "now": wall_clock(), "day": DAY, "sessions": "sessions"}
    bare = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(bare):
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute(FILL.format(numbers=SQLITE_NUMBERS.format(count=size), **known))
        for user in range(2 * REVOKED_USERS):
            numbers = SQLITE_NUMBERS.format(count=SESSIONS_OF_USER)
            bare.execute(FILL_USER.format(numbers=numbers, user=f"many-{user}", **known))
        [[script]] = bare.execute("SELECT sql FROM sqlite_schema WHERE name = 'revocation_log'")
        bare.execute(script.replace("revocation_log", "copy_of_log", 1))
        indexes = bare.execute(
            "SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'revocation_log' AND type = 'index'"
        )
        for name, definition in indexes.fetchall():
            if definition:
                bare.execute(definition.replace(name, f"copy_{name}", 1).replace("revocation_log", "copy_of_log", 1))
        bare.execute("ANALYZE")

        async def copy_sessions(user: str, base: int) -> None:
            statement = BARE.format(copy="copy_of_log", entry_id="randomblob(16)", user=user, base=base, **known)
            await asyncio.to_thread(bare.execute, statement)

        await store.open()
        try:
            yield Filled(size, store, copy_sessions)
        finally:
            await store.close()


@asynccontextmanager
async def postgres_store(server: PostgresServer, size: int) -> AsyncGenerator[Filled, None]:
    """A database with that many sessions."""
    known = {"issuer": ISSUER, "now": wall_clock(), "day": DAY, "sessions": "sidegate.sessions"}
    async with server.database() as database, database.connect() as bare:
        await bare.execute(FILL.format(numbers=POSTGRES_NUMBERS.format(count=size), **known))
        for user in range(2 * REVOKED_USERS):
            numbers = POSTGRES_NUMBERS.format(count=SESSIONS_OF_USER)
            await bare.execute(FILL_USER.format(numbers=numbers, user=f"many-{user}", **known))
        await bare.execute("CREATE TABLE sidegate.copy_of_log (LIKE sidegate.revocation_log INCLUDING ALL)")
        await bare.execute("VACUUM ANALYZE")

        async def copy_sessions(user: str, base: int) -> None:
            statement = BARE.format(
                copy="sidegate.copy_of_log", entry_id="gen_random_uuid()", user=user, base=base, **known
            )
            await bare.execute(statement)

        store = PostgresStore(database.url, admin_timeout=60)
        await store.open()
        try:
            yield Filled(size, store, copy_sessions)
        finally:
            await store.close()


async def look_ups(stores: Sequence[Filled]) -> dict[int, list[float]]:
    """Milliseconds of single look-ups, the stores taking turns."""
    figures: dict[int, list[float]] = {each.size: [] for each in stores}
    chance = random.Random(1)  # noqa: S311  # not for secrets
    for number in range(LOOK_UPS + 50):
        for each in stores:
            one = chance.randint(1, each.size)
            subject = Subject(ISSUER, f"session-{one}", f"user-{one // 10}", "", "thumbprint")
            began = time.perf_counter()
            [facts] = await each.store.look_up([subject])
            took = (time.perf_counter() - began) * 1e3
            if facts.record is None:
                raise RuntimeError("a session is missing")
            if number >= 50:  # the first ones connect and fill caches
                figures[each.size].append(took)
    return figures


async def revocations(stores: Sequence[Filled]) -> dict[int, tuple[list[float], list[float]]]:
    """Milliseconds of ending SESSIONS_OF_USER sessions, by the store and by the bare statement, in turns."""
    figures: dict[int, tuple[list[float], list[float]]] = {each.size: ([], []) for each in stores}
    for number in range(REVOKED_USERS):
        for each in stores:
            began = time.perf_counter()
            outcome = await each.store.revoke_user(
                ISSUER,
                f"many-{number}",
                tenant_id=None,
                except_session_handle=None,
                accept_unknown_exception=False,
                attribution=Attribution("bench"),
            )
            between = time.perf_counter()
            await each.copy_sessions(f"many-{REVOKED_USERS + number}", number * SESSIONS_OF_USER)
            end = time.perf_counter()
            if outcome.revoked_count != SESSIONS_OF_USER:
                raise RuntimeError("not all sessions were revoked")
            figures[each.size][0].append((between - began) * 1e3)
            figures[each.size][1].append((end - between) * 1e3)
    return figures


def spread(figures: Sequence[float]) -> str:
    """Median and 10th to 90th percentile."""
    tenths = statistics.quantiles(figures, n=10)
    return f"{statistics.median(figures):.2f} ({tenths[0]:.2f}-{tenths[-1]:.2f})"


async def compare(backend: str, stores: Sequence[Filled]) -> list[str]:
    """The lines of one backend."""
    looked, revoked = await look_ups(stores), await revocations(stores)
    smallest = statistics.median(looked[stores[0].size])
    lines: list[str] = []
    for each in stores:
        growth = statistics.median(looked[each.size]) / smallest
        ours, bare = revoked[each.size]
        ratio = statistics.median(mine / plain for mine, plain in zip(ours, bare, strict=True))
        lines.append(
            f"{backend:10} {each.size:9} {spread(looked[each.size]):>20} {growth:8.2f}"
            f" {statistics.median(ours):12.0f} {statistics.median(bare):9.0f} {ratio:7.2f}"
        )
    return lines


async def fill_log(database: Database, count: int) -> None:
    """That many live revocations of sessions, by plain SQL."""
    async with database.connect() as connection:
        await connection.execute(
            "INSERT INTO sidegate.revocation_log"
            " (sequence, kind, issuer, subject, revoke_time, forget_time, actor, reason)"
            " SELECT n, 's', $1, 'session-' || n, $2, $3, 'bench', '' FROM generate_series(1, $4::bigint) AS k (n)",
            ISSUER,
            wall_clock(),
            wall_clock() + DAY,
            count,
        )
        await connection.execute("UPDATE sidegate.store SET head_sequence = $1", count)


async def load(server: PostgresServer, folder: Path, count: int) -> str:
    """One line on a sidecar that starts with that many revocations."""
    async with server.database() as database:
        await fill_log(database, count)
        settings = {"issuers": issuers_setting(file_issuer(FakeIssuer(), folder)), "store_url": database.url}

        def start() -> str:
            with running_sidecar(folder, admin_listen="", **settings) as sidecar:
                began, ended = (
                    datetime.fromisoformat(sidecar.wait_for_event(name)["timestamp"])
                    for name in ("listening", "revocation_index_loaded")
                )
                status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
                [resident] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
                return f"{count:11} {(ended - began).total_seconds():10.2f} {int(resident) / 1024:9.0f}"

        return await asyncio.to_thread(start)


async def main() -> None:
    """Every table."""
    server = PostgresServer()
    try:
        print(  # noqa: T201  # the tables are what a benchmark is run for
            "backend     sessions     check_database ms  x least  revoke user  bare SQL   ratio"
        )
        with tempfile.TemporaryDirectory(prefix="sg-") as folder:
            async with AsyncExitStack() as opened:
                stores = [await opened.enter_async_context(sqlite_store(Path(folder), size)) for size in SIZES]
                print("\n".join(await compare("sqlite", stores)), flush=True)  # noqa: T201  # as above
        async with AsyncExitStack() as opened:
            stores = [await opened.enter_async_context(postgres_store(server, size)) for size in SIZES]
            print("\n".join(await compare("postgresql", stores)), flush=True)  # noqa: T201  # as above
        print("revocations     load s    RSS MB")  # noqa: T201  # as above
        for count in LOGS:
            with tempfile.TemporaryDirectory(prefix="sg-") as folder:
                print(await load(server, Path(folder), count), flush=True)  # noqa: T201  # as above
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
