"""A fake sidecar for all tests here, and each framework in turn."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sidegate.integrations.policy import WebPolicy
from sidegate.testing import FakeSidecar

from tests.integration.web.faces import FACES, Face, Send

Serve = Callable[[WebPolicy], AbstractContextManager[Send]]


@pytest.fixture(scope="module")
def shared_sidecar() -> Iterator[FakeSidecar]:
    with FakeSidecar() as running:
        yield running


@pytest.fixture
def sidecar(shared_sidecar: FakeSidecar) -> Iterator[FakeSidecar]:
    """The module's sidecar, without a fault."""
    yield shared_sidecar
    shared_sidecar.faults.clear()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for the sockets of one test."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as name:
        yield Path(name)


@pytest.fixture(params=FACES)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def face(framework: str) -> Face:
    return FACES[framework]


@pytest.fixture
def serve(face: Face, sidecar: FakeSidecar) -> Serve:
    """Start the framework's application with a policy. One at a time."""
    return lambda policy: face(policy, sidecar.target)
