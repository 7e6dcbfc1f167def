from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.conformance.worlds import World, fake_world, real_world

STRICT: dict[str, Any] = {"audiences": ["api"], "unknown_sessions": "reject", "anti_csrf_required": True}


@pytest.fixture(scope="module", params=["fake", "sidecar"])
def world(request: pytest.FixtureRequest, module_folder: Path, issuer: FakeIssuer) -> Iterator[World]:
    """One that accepts sessions that nobody registered."""
    folder = module_folder / "w"
    folder.mkdir(exist_ok=True)
    with fake_world() if request.param == "fake" else real_world(folder, issuer) as world:
        yield world


@pytest.fixture(scope="module", params=["fake", "sidecar"])
def strict(request: pytest.FixtureRequest, module_folder: Path, issuer: FakeIssuer) -> Iterator[World]:
    """One that asks for all that there is to ask for."""
    folder = module_folder / "s"
    folder.mkdir(exist_ok=True)
    with fake_world(**STRICT) if request.param == "fake" else real_world(folder, issuer, **STRICT) as world:
        yield world


@pytest.fixture
def user() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid4().hex}"
