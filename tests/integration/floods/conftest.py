"""One sidecar for all attacks: what one leaves behind, the next one finds."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.floods.scene import Fortress, fortress


@pytest.fixture
def under_its_own_attack() -> Iterator[Fortress]:
    """As below, for one test: what it leaves to be done would be taken for the next one's."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder, fortress(Path(folder)) as serving:
        yield serving


@pytest.fixture(scope="session")
def under_attack() -> Iterator[Fortress]:
    """A sidecar that serves, in a folder with a short path, for the name of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder, fortress(Path(folder)) as serving:
        yield serving
