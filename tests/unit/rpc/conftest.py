"""What modules here start from."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets: the name of one has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        yield Path(folder)
