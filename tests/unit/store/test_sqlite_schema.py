"""Migrations, and which stores are opened at all."""

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sidegate_sidecar.errors import StartupError, StoreUnavailable
from sidegate_sidecar.model import Removed, StoreLimits
from sidegate_sidecar.store import sql, sqlite, sqlite_schema
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import ISSUER, LIMITS, OPS


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """An empty store."""
    file = tmp_path / "sessions.db"
    await SqliteStore(file).migrate(LIMITS)
    return file


def change(path: Path, statement: str) -> None:
    """Do to the file what no release of ours does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def damage(path: Path, offset: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * size)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_new_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "sessions.db"

    applied = await SqliteStore(path).migrate(LIMITS)

    assert applied == ["0001_sessions_and_revocation_log", "0002_tenants_keys_and_compaction"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_migrating_again_changes_nothing(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    before = await store.read_log(1, 1)

    assert await store.migrate(StoreLimits(1, 1, 1)) == []

    assert await store.read_log(1, 1) == before
    assert await store.limits() == LIMITS
    await store.close()


async def test_a_store_without_a_file_is_told_to_be_migrated(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "absent.db")

    with pytest.raises(StartupError, match="sidegate migrate"):
        await store.open()

    assert files_in(tmp_path) == []


async def test_a_database_of_somebody_else_is_no_store(tmp_path: Path) -> None:
    change(tmp_path / "theirs.db", "CREATE TABLE theirs (x)")

    with pytest.raises(StartupError, match="no session store yet"):
        await SqliteStore(tmp_path / "theirs.db").open()


async def test_a_schema_newer_than_the_release_is_refused(path: Path) -> None:
    change(path, "INSERT INTO migrations VALUES (9999, '9999_from_the_future', 0, false)")

    with pytest.raises(StartupError, match="newer release"):
        await SqliteStore(path).open()
    with pytest.raises(StartupError, match="newer release"):
        await SqliteStore(path).migrate(LIMITS)


async def test_a_newer_schema_that_was_safe_before_its_deploy_is_worked_with(path: Path) -> None:
    change(path, "INSERT INTO migrations VALUES (9999, '9999_from_the_future', 0, true)")
    store = SqliteStore(path)

    assert await store.migrate(LIMITS) == []
    await store.open()

    await store.close()


async def test_a_store_of_the_first_schema_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    first = sql.migrations("sqlite")[0]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(sql.query("sqlite", "create_migrations") + ";" + first.script)
        connection.execute("INSERT INTO migrations VALUES (1, ?, 0)", [first.name])
        connection.execute("INSERT INTO store VALUES (1, 'a-store', randomblob(16), 2, 1, 2, 3)")
        connection.executemany(
            "INSERT INTO revocation_log (sequence, entry_id, kind, issuer, subject, revoke_time, forget_time, actor,"
            " reason) VALUES (?, randomblob(16), 's', ?, ?, 0, 0, 'ops', '')",
            [(1, ISSUER, "s1"), (2, ISSUER, "s2")],
        )
    store = SqliteStore(path)
    with pytest.raises(StartupError, match="lacks 0002_tenants_keys_and_compaction"):
        await store.open()

    assert await store.migrate(LIMITS) == ["0002_tenants_keys_and_compaction"]
    await store.open()

    page = await store.read_log(1, 10)
    assert (page.store_id, page.head, page.horizon, page.removed) == ("a-store", 2, 0, 0)
    assert [entry.subject for entry in page.entries] == ["s1", "s2"]
    assert await store.limits() == StoreLimits(1, 2, 3)
    assert await store.compact(10) == Removed(log_entries=1, sessions=0)
    await store.close()


async def test_what_is_safe_only_after_a_deploy_waits_for_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = sql.migrations("sqlite")
    after = sql.Migration(len(known) + 1, "later", safe_before=False, script="DROP INDEX requests_by_expiry;\n")
    monkeypatch.setattr(sqlite_schema, "_MIGRATIONS", (*known, after))
    store = SqliteStore(path)

    assert await store.migrate(LIMITS) == []
    await store.open()  # it does without
    await store.close()
    assert await store.migrate(LIMITS, after_deploy=True) == ["later"]

    monkeypatch.undo()  # the release before, which does not know it
    with pytest.raises(StartupError, match="newer release"):
        await store.open()


async def test_a_schema_older_than_the_release_is_refused(path: Path) -> None:
    change(path, "DELETE FROM migrations WHERE number = 1")

    with pytest.raises(StartupError, match="lacks 0001_sessions_and_revocation_log"):
        await SqliteStore(path).open()


async def test_a_migration_that_fails_leaves_nothing_behind(path: Path) -> None:
    change(path, "DELETE FROM migrations WHERE number = 1")  # its tables are there: applying it again fails

    with pytest.raises(StoreUnavailable):
        await SqliteStore(path).migrate(LIMITS)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM migrations").fetchone() == (1,)


async def test_a_store_out_of_wal_mode_is_refused_and_mended(path: Path) -> None:
    change(path, "PRAGMA journal_mode = DELETE")

    with pytest.raises(StartupError, match="journal mode delete"):
        await SqliteStore(path).open()
    await SqliteStore(path).migrate(LIMITS)

    store = SqliteStore(path)
    await store.open()
    await store.close()


@pytest.mark.parametrize(("offset", "size"), [(0, 16), (4096, 4096)], ids=["header", "a page"])
async def test_a_damaged_file_is_not_opened(path: Path, offset: int, size: int) -> None:
    damage(path, offset, size)

    with pytest.raises(StoreUnavailable) as raised:
        await SqliteStore(path).open()

    assert isinstance(raised.value.__cause__, sqlite3.DatabaseError)


async def test_damage_within_an_index_that_reading_does_not_notice_is_not_opened(path: Path) -> None:
    """One byte of the root page: how many stray free bytes the page has, in byte 7 of its header (SQLite file format
    §1.6). Every row is still read, and a write into the page would go where it should not.
    """
    store = SqliteStore(path)
    await store.open()
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        [[page_size]] = connection.execute("PRAGMA page_size")
        [[page]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'revoked_sessions'")
    with path.open("r+b") as file:
        file.seek((page - 1) * page_size + 7)
        file.write(b"\x01")
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT subject FROM revocation_log INDEXED BY revoked_sessions WHERE kind = 's'")
        assert list(found) == [("s1",)]

    with pytest.raises(StoreUnavailable) as raised:
        await store.open()

    assert "quick_check" in str(raised.value.__cause__)


async def test_a_network_filesystem_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_network(_: Path) -> str:
        return "nfs4"

    monkeypatch.setattr(sqlite, "network_file_system", on_a_network)

    with pytest.raises(StartupError, match="nfs4"):
        await SqliteStore(path).open()
    with pytest.raises(StartupError, match="nfs4"):
        await SqliteStore(path).migrate(LIMITS)


async def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable) as raised:
        await SqliteStore(tmp_path / "file" / "sessions.db").migrate(LIMITS)

    assert isinstance(raised.value.__cause__, OSError)


async def test_stores_of_one_process_may_migrate_at_once(tmp_path: Path) -> None:
    applied = await asyncio.gather(*(SqliteStore(tmp_path / "sessions.db").migrate(LIMITS) for _ in range(4)))

    assert sorted(map(bool, applied)) == [False, False, False, True]


def test_migrations_are_numbered_without_a_gap_and_say_when_they_are_safe() -> None:
    numbers = [migration.number for migration in sql.migrations("sqlite")]  # it refuses one that says nothing

    assert numbers == list(range(1, len(numbers) + 1))


async def test_an_sqlite_too_old_for_the_schema_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    with pytest.raises(StartupError, match=r"3\.37\.0 or later"):
        await SqliteStore(path).open()
