from collections.abc import AsyncIterator

import pytest

from tests.unit.keys.issuer_world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start("old")
    yield world
    await world.close()
