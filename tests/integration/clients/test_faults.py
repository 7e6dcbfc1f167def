"""The sidecar is killed, restarted or stopped under load: no wrong verdict, no hang, and recovery by itself."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from sidegate.near_cache import LATE_SECONDS

from tests.fakes.issuer import FakeIssuer
from tests.integration.clients.load import (
    TIMEOUT_SECONDS,
    Client,
    Journal,
    Question,
    asking_tasks,
    asking_threads,
)
from tests.integration.sidecar.processes import Sidecar, eventually, file_issuer, issuers_setting, running_sidecar

RECOVERY_SECONDS = 2.0  # docs/client.md
MARGIN_SECONDS = 4.0  # for a machine on which other tests run, too; what does not come back by itself, never does
RESTARTS = 2

Asking = Callable[[str, Journal], AbstractContextManager[Client]]

with_either_client = pytest.mark.parametrize("asking", [asking_threads, asking_tasks], ids=["threads", "asyncio"])


@pytest.fixture
def settings(issuer: FakeIssuer, folder: Path) -> dict[str, str]:
    return {"issuers": issuers_setting(file_issuer(issuer, folder))}


@pytest.fixture
def journal(issuer: FakeIssuer) -> Journal:
    foreign = FakeIssuer(issuer.name).mint("mallory")  # the same name and key ids, other keys
    revoked = issuer.mint("bob", "revoked")
    return Journal(
        [
            Question("good", issuer.mint("alice", "alices"), "alice"),
            Question("good, by the database", issuer.mint("carol", "carols"), "carol", check_database=True),
            Question("revoked", revoked, None),
            Question("revoked, by the database", revoked, None, check_database=True),
            Question("foreign", foreign, None),
        ]
    )


def revoke(sidecar: Sidecar) -> None:
    with sidecar.administration() as admin:
        admin.revoke_session("revoked")


def wait_for_hit(client: Client) -> None:
    """Return once the near cache answers calls."""
    before = client.near_cache_statistics().hits
    eventually(lambda: client.near_cache_statistics().hits > before or None, "the near cache never came back")


def check_recovery(journal: Journal, client: Client, since: float) -> None:
    """Every question is answered again, and the near cache is back."""
    seconds = journal.wait_until_decided(since) - since
    wait_for_hit(client)
    print(f"answers again after {seconds:.2f} s, the near cache after {time.monotonic() - since:.2f} s")  # noqa: T201 - the figure is asked for
    assert seconds <= RECOVERY_SECONDS + MARGIN_SECONDS


def check_calls(journal: Journal) -> None:
    assert journal.wrong == []
    assert journal.longest <= TIMEOUT_SECONDS + MARGIN_SECONDS


@with_either_client
def test_a_sidecar_that_is_killed_and_restarted(
    asking: Asking, journal: Journal, folder: Path, settings: dict[str, str]
) -> None:
    with ExitStack() as lives:
        sidecar = lives.enter_context(running_sidecar(folder, **settings))
        revoke(sidecar)
        with asking(sidecar.target, journal) as client:
            journal.wait_until_decided(time.monotonic())
            wait_for_hit(client)
            for _ in range(RESTARTS):
                sidecar.kill()
                journal.wait_until_undecided(time.monotonic())
                sidecar = lives.enter_context(running_sidecar(folder, **settings))
                check_recovery(journal, client, time.monotonic())
    check_calls(journal)


def stop(sidecar: Sidecar) -> float:
    """Let it run no more. When it had certainly stopped."""
    sidecar.process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(sidecar.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return time.monotonic()


@with_either_client
def test_a_sidecar_that_is_stopped_and_goes_on(
    asking: Asking, journal: Journal, folder: Path, settings: dict[str, str]
) -> None:
    good = journal.questions[0]
    with running_sidecar(folder, **settings) as sidecar:
        revoke(sidecar)
        with asking(sidecar.target, journal) as client:
            journal.wait_until_decided(time.monotonic())
            wait_for_hit(client)
            stopped = stop(sidecar)
            try:
                journal.wait_until_undecided(stopped)
                # The token that the near cache knew comes to nothing, too, once the feed is late.
                late = client.near_cache_statistics().bypassed_late
                eventually(
                    lambda: client.near_cache_statistics().bypassed_late > late + 10 or None, "the feed is never late"
                )
                journal.wait_until_undecided(time.monotonic())
                assert journal.last_decided(good) <= stopped + LATE_SECONDS
            finally:
                sidecar.process.send_signal(signal.SIGCONT)
            check_recovery(journal, client, time.monotonic())
    check_calls(journal)
