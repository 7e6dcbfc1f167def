"""The admin deployment is rolled over one replica at a time, behind what stands for its Service: no call fails."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sidegate import AsyncRevocationClient, ClientTls, RevocationClient
from sidegate_sidecar.cli.outcomes import Exit

from tests.fakes.background_loop import BackgroundLoop
from tests.fakes.balancer import Balancer
from tests.fakes.postgres import Database
from tests.integration.access.scene import SPIFFE_ID, Scene, a_handle
from tests.integration.sidecar.processes import EXIT_SECONDS, Sidecar, eventually, run_sidegate, running_sidecar

GRANTS = [{"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker", "auditor"]}]
CALLERS = 2  # of each client; commands are run by one, for each takes half a second of a processor
PAUSE_SECONDS = 0.01  # between two calls of one caller: the machine is free for what is tested
REFUSALS = 4  # which both clients take part in, for each pauses between its attempts to connect

Revoke = Callable[[str], bool]
"""Revokes a session; whether it was not revoked before."""


@dataclass
class Journal:
    """What became of the calls of so many callers of one kind."""

    callers: int
    acknowledged: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])

    def wait_for_more(self) -> None:
        """Return when a call was acknowledged that has not begun yet."""
        wanted = len(self.acknowledged) + self.callers + 1
        eventually(
            lambda: True if len(self.acknowledged) >= wanted or self.failures else None, "the calls have stopped"
        )


class Rollout:
    """Replicas of the admin deployment on one store, and the Service in front of them.

    Args:
        scene: What they are told.
        database: Where their store is.
        balancer: The Service.
        owned: What ends them.
    """

    def __init__(self, scene: Scene, database: Database, balancer: Balancer, owned: ExitStack) -> None:
        self._scene = scene
        self._settings = scene.settings | {"admin_listen": "127.0.0.1:0", "store_url": database.url}
        self._balancer = balancer
        self._owned = owned
        self._replicas: list[tuple[Sidecar, int]] = []

    def add(self) -> None:
        """Start a replica; once it is ready it is sent connections."""
        folder = self._scene.folder / f"replica-{len(self._replicas)}"
        folder.mkdir()
        replica = self._owned.enter_context(running_sidecar(folder, **self._settings))
        [address] = replica.wait_for_event("listening")["admin_plane"]
        port = int(address.rpartition(":")[2])
        self._replicas.append((replica, port))
        self._balancer.add(port)

    def end(self, number: int) -> None:
        """End a replica. The Service hears of it late: only once it has sent connections there that were refused."""
        replica, port = self._replicas[number]
        wanted = self._balancer.refused + REFUSALS
        replica.process.send_signal(signal.SIGTERM)
        eventually(lambda: True if self._balancer.refused >= wanted else None, "nobody was refused")
        self._balancer.remove(port)
        assert replica.process.wait(EXIT_SECONDS) == 0


@contextmanager
def calling(callers: dict[str, tuple[Revoke, int]]) -> Generator[dict[str, Journal], None, None]:
    """So many threads for each, which revoke session after session until the block ends."""
    over = threading.Event()
    journals = {name: Journal(count) for name, (_, count) in callers.items()}

    def call(revoke: Revoke, journal: Journal) -> None:
        while not over.wait(PAUSE_SECONDS):
            handle = a_handle()
            try:
                newly_revoked = revoke(handle)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the test is to fail by it
                journal.failures.append(repr(failure))
            else:
                if not newly_revoked:
                    journal.failures.append(f"{handle} was said to be revoked before")
                journal.acknowledged.append(handle)

    threads = [
        threading.Thread(target=call, args=(revoke, journals[name]))
        for name, (revoke, count) in callers.items()
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield journals
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def tls(scene: Scene, tmp_path: Path) -> ClientTls:
    certificate_file, key_file = scene.authority.issue(uris=[SPIFFE_ID]).write(tmp_path, "client")
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(scene.authority.bundle)
    return ClientTls(ca_file, certificate_file, key_file)


@pytest.fixture
def scene(folder: Path) -> Scene:
    return Scene(folder, GRANTS)


def test_no_call_fails_while_every_replica_is_replaced(
    scene: Scene, tls: ClientTls, database: Database, tmp_path: Path
) -> None:
    issuer = scene.issuer.name
    with ExitStack() as owned:
        balancer = owned.enter_context(Balancer())
        target = f"127.0.0.1:{balancer.port}"
        rollout = Rollout(scene, database, balancer, owned)
        rollout.add()
        rollout.add()
        loop = BackgroundLoop()
        owned.callback(loop.close)
        client = owned.enter_context(RevocationClient(target, tls=tls))
        async_client = AsyncRevocationClient(target, tls=tls)
        owned.callback(lambda: loop.run(async_client.close()))

        def by_command(handle: str) -> bool:
            files = ("--ca", tmp_path / "ca.crt", "--cert", tmp_path / "client.crt", "--key", tmp_path / "client.key")
            outcome = run_sidegate(
                "revoke", "session", handle, "--issuer", issuer, "--target", target, *files, folder=tmp_path
            )
            assert (outcome.returncode, outcome.stderr) == (Exit.OK, "")
            return outcome.stdout.startswith("revoked  ")

        with calling(
            {
                "threads": (lambda handle: client.revoke_session(handle, issuer=issuer).newly_revoked, CALLERS),
                "asyncio": (
                    lambda handle: loop.run(async_client.revoke_session(handle, issuer=issuer)).newly_revoked,
                    CALLERS,
                ),
                "commands": (by_command, 1),
            }
        ) as journals:
            for number in range(2):
                for name in ("threads", "asyncio"):
                    journals[name].wait_for_more()
                rollout.end(number)
                for journal in journals.values():
                    journal.wait_for_more()
                rollout.add()
        assert [failure for journal in journals.values() for failure in journal.failures] == []
        logged = Counter(entry.session_handle for entry in client.list_revocations(issuer=issuer))

    acknowledged = [handle for journal in journals.values() for handle in journal.acknowledged]
    assert logged == Counter(acknowledged)
    assert set(logged.values()) == {1}
