"""Certificates of the server, and the CA of its clients, renewed while it serves: no call fails."""

import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.fakes.certificate_authority import CertificateAuthority, Pair, replace_file
from tests.integration.access.scene import (
    REVOKE,
    SPIFFE_ID,
    Outcome,
    Running,
    Scene,
    a_handle,
    outcome_of,
    revoking,
)
from tests.integration.sidecar.processes import eventually

GRANTS = [{"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker"]}]
ROUNDS = 3
CALLS_BETWEEN = 20


@pytest.fixture
def running(folder: Path) -> Generator[Running, None, None]:
    with Scene(folder, GRANTS).running() as running:
        yield running


class Load:
    """Calls without end: one worker on a connection that stays, one that makes a new one for each call."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._pair = running.scene.authority.issue(uris=[SPIFFE_ID])
        self._ended = threading.Event()
        self.outcomes: list[Outcome] = []

    def on_one_connection(self) -> None:
        with self._running.connected(self._pair) as channel:
            while not self._ended.is_set():
                self.outcomes.append(self._call(channel))

    def on_new_connections(self) -> None:
        while not self._ended.is_set():
            with self._running.connected(self._pair) as channel:
                self.outcomes.append(self._call(channel))

    def wait_for_more(self) -> None:
        """Return once there are some more answers."""
        wanted = len(self.outcomes) + CALLS_BETWEEN
        eventually(lambda: True if len(self.outcomes) >= wanted else None, "the load has stopped")

    @contextmanager
    def going_on(self) -> Generator["Load", None, None]:
        workers = [threading.Thread(target=work) for work in (self.on_one_connection, self.on_new_connections)]
        for worker in workers:
            worker.start()
        try:
            yield self
        finally:
            self._ended.set()
            for worker in workers:
                worker.join()

    def _call(self, channel: grpc.Channel) -> Outcome:
        return outcome_of(channel, REVOKE, revoking(a_handle(), self._running.scene.issuer.name))


def served_certificate(running: Running) -> bytes:
    """What a new connection is shown, in PEM."""
    host, _, port = running.address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=20).encode()


def events(running: Running, name: str) -> int:
    return running.sidecar.log.count(f'"event": "{name}"')


def wait_for_events(running: Running, name: str, count: int) -> None:
    eventually(lambda: True if events(running, name) >= count else None, f"{name} was not logged {count} times")


def test_no_call_fails_while_the_servers_certificate_is_renewed(running: Running) -> None:
    with Load(running).going_on() as load:
        for count in range(1, ROUNDS + 1):
            load.wait_for_more()
            renewed = running.scene.authority.issue_for_loopback()
            renewed.write(running.scene.folder, "server")
            wait_for_events(running, "admin_tls_reloaded", count)
            load.wait_for_more()
            assert served_certificate(running) == renewed.certificate

    assert {outcome.code for outcome in load.outcomes} == {"OK"}


def test_a_pair_that_does_not_match_leaves_the_old_one_in_place(running: Running) -> None:
    old = served_certificate(running)
    renewed, foreign = running.scene.authority.issue_for_loopback(), running.scene.authority.issue_for_loopback()
    certificate_file, key_file = running.scene.folder / "server.crt", running.scene.folder / "server.key"

    with Load(running).going_on() as load:
        Pair(renewed.certificate, foreign.key).write(running.scene.folder, "server")
        wait_for_events(running, "admin_tls_not_reloaded", 1)
        load.wait_for_more()
        assert served_certificate(running) == old
        replace_file(key_file, renewed.key)
        wait_for_events(running, "admin_tls_reloaded", 1)
        load.wait_for_more()
        assert served_certificate(running) == renewed.certificate
        certificate_file.unlink()
        wait_for_events(running, "admin_tls_not_reloaded", 2)
        load.wait_for_more()
        assert served_certificate(running) == renewed.certificate

    assert {outcome.code for outcome in load.outcomes} == {"OK"}


def test_a_ca_that_was_taken_away_lets_nobody_new_in(running: Running) -> None:
    bundle = running.scene.folder / "client-ca.crt"
    old_pair = running.scene.authority.issue(uris=[SPIFFE_ID])
    successor = CertificateAuthority("the successor")
    new_pair = successor.issue(uris=[SPIFFE_ID])

    def code_with(pair: Pair) -> str:
        return running.call(REVOKE, revoking(a_handle(), running.scene.issuer.name), pair=pair).code

    assert [code_with(old_pair), code_with(new_pair)] == ["OK", "UNAVAILABLE"]
    replace_file(bundle, running.scene.authority.bundle + successor.bundle)
    wait_for_events(running, "admin_tls_reloaded", 1)
    assert [code_with(old_pair), code_with(new_pair)] == ["OK", "OK"]
    replace_file(bundle, successor.bundle)
    wait_for_events(running, "admin_tls_reloaded", 2)
    assert [code_with(old_pair), code_with(new_pair)] == ["UNAVAILABLE", "OK"]
