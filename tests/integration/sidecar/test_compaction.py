"""The sidecar that has the admin listener removes from its store what matters to nobody any more."""

import asyncio
from pathlib import Path

from sidegate_sidecar.model import SECOND, Attribution, Registration, StoreLimits, wall_clock
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar

DAY = 24 * 3600 * SECOND
LONG_AGO = wall_clock() - 100 * DAY


async def fill(path: Path, issuer: FakeIssuer) -> None:
    """Leave two revocations and a session of a hundred days ago."""
    store = SqliteStore(path, clock=lambda: LONG_AGO)
    await store.migrate(StoreLimits(DAY, 60 * SECOND, 30 * DAY))
    await store.open()
    await store.register([Registration(issuer.name, "old", "ada", "", None, LONG_AGO + DAY)])
    await store.revoke_sessions(issuer.name, ["old", "newest"], Attribution("ops"))
    await store.close()


def test_what_matters_to_nobody_any_more_is_removed(folder: Path, issuer: FakeIssuer) -> None:
    asyncio.run(fill(folder / "sessions.db", issuer))
    entry = issuers_setting(file_issuer(issuer, folder))

    with running_sidecar(folder, issuers=entry, compaction_interval="50ms") as sidecar:
        removed = sidecar.wait_for_event("store_compacted")
        with sidecar.administration() as admin:
            left = [each.session_handle for each in admin.list_revocations()]
            sessions = list(admin.list_sessions("ada"))

    assert (removed["log_entries"], removed["sessions"]) == (1, 1)
    assert (left, sessions) == (["newest"], [])
