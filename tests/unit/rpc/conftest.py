"""What modules here start from."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.rpc.tls_bench import Bench


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets: the name of one has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        yield Path(folder)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Where files lie, and where temporary ones are made: by a short path, for a socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sg-") as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        yield tmp_path, Path(temporary)


@pytest.fixture
async def bench(folders: tuple[Path, Path]) -> AsyncIterator[Bench]:
    bench = Bench(folders[0])  # grpc wants the loop to run already
    yield bench
    await bench.endpoint.stop(0)
