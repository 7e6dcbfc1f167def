"""What every fault begins with."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.issuer import FakeIssuer


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for the sockets of one test."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def issuer() -> FakeIssuer:
    """An issuer of all tests; each has its own sessions."""
    return FakeIssuer()
