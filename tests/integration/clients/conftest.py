"""What every module here starts from."""

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
    """The issuer that the sidecars trust."""
    return FakeIssuer()
