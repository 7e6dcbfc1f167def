"""A backup has the limits of its time: restored under a sidecar, they may keep revocations too briefly."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.model import Attribution
from sidegate_sidecar.settings import StoreSettings
from sidegate_sidecar.stores import StoreSide, open_store, store_limits

from tests.contract.backends import SqliteBackend

ISSUER = "https://issuer.example"
ATTRIBUTION = Attribution("test")


def settings(path: Path, max_token_lifetime: str) -> StoreSettings:
    return StoreSettings.model_validate({"store_url": f"sqlite://{path}", "max_token_lifetime": max_token_lifetime})


@asynccontextmanager
async def followed(settings: StoreSettings) -> AsyncGenerator[tuple[StoreSide, asyncio.Task[None]]]:
    """The store as a sidecar has it, once the index stands at its head; and what follows it."""
    async with open_store(settings) as side:
        revoked = await side.store.revoke_sessions(ISSUER, ["session-1"], ATTRIBUTION)
        following = asyncio.create_task(side.follow())
        await side.follower.reach(revoked.revision, 30)
        yield side, following
        following.cancel()
        await asyncio.wait([following])


async def backed_up(path: Path) -> SqliteBackend:
    """With tokens of an hour."""
    backend = SqliteBackend(path)
    await backend.new_store().migrate(store_limits(settings(path, "1h")))
    await backend.back_up()
    return backend


async def test_a_restored_backup_with_limits_below_the_settings_ends_the_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    backend = await backed_up(path)
    store = backend.new_store()
    await store.open()
    await store.raise_limits(store_limits(settings(path, "2h")))
    await store.close()

    async with followed(settings(path, "2h")) as (_, following):
        await backend.restore()

        with pytest.raises(StartupError, match="max_token_lifetime is 2h, above the 1h of the store"):
            await asyncio.wait_for(following, 30)


async def test_a_restored_backup_with_limits_that_will_do_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    backend = await backed_up(path)

    async with followed(settings(path, "1h")) as (side, following):
        before, loaded_anew = side.follower.index, side.follower.journal.changed
        await backend.restore()
        await asyncio.wait_for(loaded_anew.wait(), 30)
        assert side.follower.index is not before
        revoked = await side.store.revoke_sessions(ISSUER, ["session-2"], ATTRIBUTION)
        await side.follower.reach(revoked.revision, 30)

        assert not following.done()
