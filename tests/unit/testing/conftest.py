from collections.abc import Iterator

import pytest
from sidegate import RevocationClient, SessionClient
from sidegate.testing import FakeSidecar


@pytest.fixture
def sidecar() -> Iterator[FakeSidecar]:
    with FakeSidecar() as started:
        yield started


@pytest.fixture
def client(sidecar: FakeSidecar) -> Iterator[SessionClient]:
    with SessionClient(sidecar.target, timeout=20.0, near_cache=False) as connected:
        yield connected


@pytest.fixture
def admin(sidecar: FakeSidecar) -> Iterator[RevocationClient]:
    with RevocationClient(sidecar.admin_target, timeout=20.0) as connected:
        yield connected
