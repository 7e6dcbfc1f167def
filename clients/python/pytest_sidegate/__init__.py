"""Fixtures for services that use sidegate's client. pytest loads this by itself, in every run; see docs/testing.md.

A package beside `sidegate`: importing anything of that imports gRPC, and runs that use no fixture of ours should not
wait for it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sidegate import RevocationClient, SessionClient
    from sidegate.testing import FakeSidecar


@pytest.fixture
def sidegate_sidecar() -> "Iterator[FakeSidecar]":
    """A fake sidecar, started; with an issuer, a store and no faults of its own for each test."""
    from sidegate.testing import FakeSidecar

    with FakeSidecar() as sidecar:
        yield sidecar


@pytest.fixture
def sidegate_target(sidegate_sidecar: "FakeSidecar", monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the fake sidecar listens, and for this test where clients connect that are given no target: SIDEGATE_TARGET
    and SIDEGATE_ADMIN_TARGET are set.
    """
    monkeypatch.setenv("SIDEGATE_TARGET", sidegate_sidecar.target)
    monkeypatch.setenv("SIDEGATE_ADMIN_TARGET", sidegate_sidecar.admin_target)
    return sidegate_sidecar.target


@pytest.fixture
def sidegate_client(sidegate_sidecar: "FakeSidecar") -> "Iterator[SessionClient]":
    """A client of the fake sidecar, for threads. Without a near cache: what a test revokes is refused at once."""
    from sidegate import SessionClient

    with SessionClient(sidegate_sidecar.target, near_cache=False) as client:
        yield client


@pytest.fixture
def sidegate_admin(sidegate_sidecar: "FakeSidecar") -> "Iterator[RevocationClient]":
    """An admin client of the fake sidecar, for threads."""
    from sidegate import RevocationClient

    with RevocationClient(sidegate_sidecar.admin_target) as client:
        yield client
