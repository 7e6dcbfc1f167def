"""The webhook as it runs in a cluster: a process of its own, asked over HTTPS, ended by its pid."""

import http.client
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from tests.integration.k8s.certificates import Authority
from tests.integration.sidecar.processes import ENVIRONMENT, check_output, eventually

BIN = Path(sys.executable).parent
IMAGE = "registry.example/sidegate:1"
ANSWER_SECONDS = 30.0  # a loaded machine is slow; only what never comes takes this long


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    @property
    def response(self) -> dict[str, Any]:
        """The response in the AdmissionReview."""
        document: dict[str, Any] = json.loads(self.body)
        response: dict[str, Any] = document["response"]
        return response


class Webhook:
    """`sidegate-injector serve` on a port of the system's choosing.

    Args:
        folder: Where its certificate, key and log lie.
        authority: Who issues its certificate.
    """

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.serial = authority.issue(folder, "first")
        self.tls = ssl.create_default_context(cadata=authority.pem)
        self._log = folder / "log"
        command = [BIN / "sidegate-injector", "serve", "--host", "127.0.0.1", "--port", "0"]
        files = ["--certificate", folder / "tls.crt", "--key", folder / "tls.key"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *files, "--image", IMAGE, "--exclude-namespace", "sidegate-system"],
                cwd=folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.port: int = self.wait_for_event("listening")["port"]

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text(errors="backslashreplace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of that event so far."""
        lines = [line for line in self.log.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """The first log line of that event, as soon as there is one."""

        def find() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"the webhook has exited:\n{self.log}"
            return next(iter(self.events(name)), None)

        return eventually(find, f"the log has no {name!r}")

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection. The caller closes it."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=ANSWER_SECONDS)
        connection.connect()
        return connection

    def ask(
        self,
        body: bytes | str,
        *,
        path: str = "/inject?timeout=5s",
        content_type: str = "application/json",
        encoding: str = "identity",
    ) -> Answer:
        """POST a body, as an API server does."""
        connection = self.connect()
        try:
            connection.request("POST", path, body, {"Content-Type": content_type, "Content-Encoding": encoding})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def shown_serial(self) -> int:
        """The serial number of the certificate that it shows to a new connection."""
        connection = self.connect()
        try:
            shown = connection.sock.getpeercert(binary_form=True)
        finally:
            connection.close()
        assert isinstance(shown, bytes)
        return x509.load_der_x509_certificate(shown).serial_number

    def stop(self) -> int:
        """End it as kubelet does. The exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ANSWER_SECONDS)


@contextmanager
def running_webhook(folder: Path, authority: Authority) -> Generator[Webhook]:
    """A webhook that listens. Ended at the latest with the block; its log must be clean."""
    webhook = Webhook(folder, authority)
    try:
        yield webhook
        if webhook.process.poll() is None:
            assert webhook.stop() == 0
        check_output(webhook.log)
        assert webhook.events("internal_error") == []
    finally:
        webhook.process.kill()
        webhook.process.wait()
