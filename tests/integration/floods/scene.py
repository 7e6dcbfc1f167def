"""A sidecar under attack, and good clients that go on asking it."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from sidegate.v1 import revocation_pb2, verification_pb2

from tests.fakes.certificate_authority import Pair
from tests.fakes.wire import VERIFY
from tests.integration.access.scene import DNS_NAME, REVOCATION, Running, Scene
from tests.integration.floods.attacker import Prey

CALL_SECONDS = 20.0  # on a loaded machine; nothing here is about how fast
CALLS_PER_SECOND = 100.0
GRANTS = [{"subject": f"mtls:{DNS_NAME}", "roles": ["revoker", "registrar", "auditor", "breaker"]}]
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


class GoodClient:
    """Calls again and again, on a thread and a connection of its own.

    Attributes:
        seconds: How long each call took.
        faults: How each that failed did.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call_for_ever)
        self.seconds: list[float] = []
        self.faults: list[str] = []

    def start(self) -> None:
        """Call from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Once the last call has ended."""
        self._ended.set()
        self._thread.join()

    def _call_for_ever(self) -> None:
        while not self._ended.is_set():
            began = time.perf_counter()
            try:
                self._call()
            except grpc.RpcError as error:
                fault: Any = error
                self.faults.append(f"{fault.code().name}: {fault.details()}")
            self.seconds.append(time.perf_counter() - began)
            self._ended.wait(1 / CALLS_PER_SECOND)


class Fortress:
    """A sidecar that listens in the clear on a socket and a port, and through TLS on another port."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self.sidecar = running.sidecar
        self._admin: Pair = running.scene.authority.issue(dns=[DNS_NAME])
        self._ca_file = running.scene.folder / "ca.crt"
        self._ca_file.write_bytes(running.scene.authority.bundle)
        self.token = running.scene.issuer.mint()

    @property
    def prey(self) -> dict[str, Prey]:
        """Each listener, as an attacker sees it: one without a certificate."""
        return {
            "unix": Prey(path=self.sidecar.target.removeprefix("unix://")),
            "tcp": Prey(port=_port(self.sidecar.tcp_target)),
            "tls": Prey(port=_port(self._running.address), ca_file=str(self._ca_file)),
        }

    @contextmanager
    def channel(self, listener: str) -> Generator[grpc.Channel, None, None]:
        """A connection of its own; through TLS with a certificate that has every role."""
        if listener == "tls":
            with self._running.connected(self._admin) as channel:
                yield channel
        else:
            target = self.sidecar.target if listener == "unix" else self.sidecar.tcp_target
            with grpc.insecure_channel(target, [OWN_CONNECTION]) as channel:
                yield channel

    def ask(self, channel: grpc.Channel, listener: str) -> None:
        """One call. Raises: grpc.RpcError, or AssertionError if it is answered wrong."""
        untyped: Any = channel  # the stubs know no calls in bytes
        if listener == "tls":
            request = revocation_pb2.ListRevocationsRequest(page_size=1).SerializeToString()
            untyped.unary_unary(f"{REVOCATION}/ListRevocations")(request, timeout=CALL_SECONDS)
            return
        asked = verification_pb2.VerifyRequest(access_token=self.token).SerializeToString()
        answer = untyped.unary_unary(VERIFY)(asked, timeout=CALL_SECONDS)
        assert verification_pb2.VerifyResponse.FromString(answer).HasField("session")

    @contextmanager
    def good_clients(self) -> Generator[dict[str, GoodClient], None, None]:
        """One at each listener, connected and calling. Stopped with the block."""
        with self.channel("unix") as unix, self.channel("tcp") as tcp, self.channel("tls") as tls:
            channels = {"unix": unix, "tcp": tcp, "tls": tls}
            for listener, channel in channels.items():
                self.ask(channel, listener)
            clients = {
                listener: GoodClient(lambda listener=listener, channel=channel: self.ask(channel, listener))
                for listener, channel in channels.items()
            }
            for client in clients.values():
                client.start()
            try:
                yield clients
            finally:
                for client in clients.values():
                    client.stop()

    def memory(self) -> int:
        """Bytes that the process has resident."""
        return self._status("VmRSS")

    def forget_peak(self) -> None:
        """Let the peak begin anew: proc(5), clear_refs."""
        Path(f"/proc/{self.sidecar.process.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The most bytes that it had resident."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.sidecar.process.pid}/status").read_text().splitlines()
        [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
        return int(kilobytes) * 1024


@contextmanager
def fortress(folder: Path) -> Generator[Fortress, None, None]:
    """One, serving."""
    with Scene(folder, GRANTS).running() as running:
        yield Fortress(running)


def _port(target: str) -> int:
    return int(target.rpartition(":")[2])
