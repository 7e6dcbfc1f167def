"""What every module here starts from."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def module_folder() -> Iterator[Path]:
    """A folder with a short path, for the sockets of one module: the name of one has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder:
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for the sockets of one test."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder:
        yield Path(folder)
