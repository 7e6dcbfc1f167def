"""The kinds of databases that the contract suite runs against. Each has a clock that the test moves."""

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Protocol, Self

from sidegate_sidecar.store.postgres import PostgresStore
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import FakeClock
from tests.fakes.postgres import Database, PostgresServer

_TABLES = ("store", "sessions", "revocation_log", "requests")


class Backend(Protocol):
    """A database, and how to reach it."""

    clock: FakeClock

    def new_store(self) -> SessionStore:
        """One more store on the database, not open yet, as another process would have it."""
        ...

    async def back_up(self) -> None:
        """Keep what it holds now."""
        ...

    async def restore(self) -> None:
        """Put back what it held then, under the stores that are open."""
        ...


class Backends(Protocol):
    """Fresh databases of one kind, one at a time.

    Attributes:
        examples: As many as a test that looks for counterexamples can have of them in the same time.
    """

    examples: int

    def fresh(self) -> AbstractAsyncContextManager[Backend]:
        """One without rows."""
        ...


class SqliteBackend:
    """A file."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self._path = path
        self._backup = path.with_name("backup.db")

    def new_store(self) -> SessionStore:
        return SqliteStore(self._path, clock=self.clock)

    async def back_up(self) -> None:
        """To a file beside it."""
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(self._backup)) as target:
            source.backup(target)

    async def restore(self) -> None:
        """By a copy of that file."""
        self._put_back()

    def _put_back(self) -> None:
        copy = Path(shutil.copy(self._backup, self._path.with_name("copy.db")))
        for leftover in ("-wal", "-shm"):
            self._path.with_name(self._path.name + leftover).unlink(missing_ok=True)
        copy.replace(self._path)


class SqliteBackends:
    """Files."""

    examples = 40

    @asynccontextmanager
    async def fresh(self) -> AsyncGenerator[Backend]:
        """A file of its own, not made yet."""
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteBackend(Path(folder) / "sessions.db")


class PostgresBackend:
    """A database of a real server."""

    def __init__(self, database: Database, clock_file: Path) -> None:
        self.clock: FakeClock = _ClockInFile(clock_file)
        self._database = database

    @classmethod
    async def on(cls, database: Database) -> Self:
        """With the database's own clock replaced."""
        return cls(database, await database.read_clock_from_file())

    def new_store(self) -> SessionStore:
        return PostgresStore(self._database.url)

    async def back_up(self) -> None:
        """To tables beside its own."""
        await self._database.execute(
            "DROP SCHEMA IF EXISTS backup CASCADE; CREATE SCHEMA backup;"
            + "".join(f"CREATE TABLE backup.{table} AS TABLE sidegate.{table};" for table in _TABLES)
        )

    async def restore(self) -> None:
        """From those, in one transaction."""
        await self._database.execute(
            "".join(
                f"DELETE FROM sidegate.{table}; INSERT INTO sidegate.{table} TABLE backup.{table};"  # noqa: S608 - our own names
                for table in _TABLES
            )
        )


class PostgresBackends:
    """Databases of a real server."""

    examples = 20

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    @asynccontextmanager
    async def fresh(self) -> AsyncGenerator[Backend]:
        """The one that tests share, emptied."""
        async with self._server.emptied_database() as database:
            yield await PostgresBackend.on(database)


class _ClockInFile(FakeClock):
    """Tells the server too what time it is, each time it is given one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        super().__init__()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "now":
            # At once, for a statement may be reading it.
            fresh = self._file.with_suffix(".new")
            fresh.write_text(str(value))
            fresh.chmod(0o644)
            fresh.replace(self._file)
