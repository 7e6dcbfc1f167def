from collections.abc import AsyncIterator

import pytest

from tests.integration.keys.issuer_server import IssuerServer, running, silence


@pytest.fixture
async def issuer() -> AsyncIterator[IssuerServer]:
    """A real issuer on loopback; silent until a test says what it answers."""
    async with running(IssuerServer(silence)) as server:
        yield server
