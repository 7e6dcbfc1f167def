import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sidegate import RevocationClient, SessionClient

from tests.unit.client.fake_sidecar import FakeSidecar
from tests.unit.client.twins import Twins


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    fake = FakeSidecar(f"unix://{tmp_path / 's'}")
    yield fake
    fake.stop()


@pytest.fixture(params=["threads", "asyncio"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    if request.param == "threads":
        yield Twins(None)
    else:
        with asyncio.Runner() as runner:
            yield Twins(runner)


@pytest.fixture
def client(twins: Twins, sidecar: FakeSidecar) -> Iterator[SessionClient]:
    with twins.session_client(sidecar.target, timeout=20.0) as client:
        yield client


@pytest.fixture
def admin(twins: Twins, sidecar: FakeSidecar) -> Iterator[RevocationClient]:
    with twins.revocation_client(sidecar.target, timeout=20.0) as admin:
        yield admin
