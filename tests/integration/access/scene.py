"""A sidecar whose admin listener authenticates, and callers of every kind."""

import json
import re
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sidegate.v1 import revocation_pb2 as v1

from tests.fakes.certificate_authority import CertificateAuthority, Pair
from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, eventually, file_issuer, issuers_setting, running_sidecar

ADMIN_AUDIENCE = "sidegate-admin"
REVOCATION = "/sidegate.v1.RevocationService"
SESSIONS = "/sidegate.v1.SessionService"
REVOKE = f"{REVOCATION}/RevokeSession"
TIMEOUT = 20

SPIFFE_ID = "spiffe://cluster.example/ns/login/sa/web"
DNS_NAME = "desk.internal"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. `reason` and `metadata` are those of its ErrorInfo."""

    code: str
    reason: str = ""
    metadata: Mapping[str, str] | None = None
    answer: bytes = b""
    message: str = ""


class Scene:
    """One sidecar, its issuers and the authority that its admin listener trusts.

    Args:
        folder: Short, and empty.
        grants: SIDEGATE_ADMIN_GRANTS.
        with_tokens: Whether there is an issuer of admin tokens too.
        settings: Others.
    """

    def __init__(
        self, folder: Path, grants: Sequence[Mapping[str, object]], *, with_tokens: bool = True, **settings: str
    ) -> None:
        self.folder = folder
        self.authority = CertificateAuthority()
        self.issuer = FakeIssuer()
        self.second_issuer = FakeIssuer("https://second.example")
        self.admin_issuer = FakeIssuer("https://admin.example")
        certificate, key = self.authority.issue_for_loopback().write(folder, "server")
        bundle = folder / "client-ca.crt"
        bundle.write_bytes(self.authority.bundle)
        entries = [file_issuer(self.issuer, folder), file_issuer(self.second_issuer, folder)]
        if with_tokens:
            entries.append(file_issuer(self.admin_issuer, folder, audiences=[ADMIN_AUDIENCE], admin_use=True))
        self.settings = {
            "issuers": issuers_setting(*entries),
            "admin_listen": f"127.0.0.1:0,unix://{folder}/admin.sock",
            "admin_tls_cert": str(certificate),
            "admin_tls_key": str(key),
            "admin_tls_client_ca": str(bundle),
            "admin_grants": json.dumps(list(grants)),
            **settings,
        }

    @contextmanager
    def running(self) -> Generator["Running", None, None]:
        """It, serving."""
        with running_sidecar(self.folder, **self.settings) as sidecar:
            yield Running(self, sidecar)


class Running:
    """The sidecar, and ways to call it."""

    def __init__(self, scene: Scene, sidecar: Sidecar) -> None:
        self.scene = scene
        self.sidecar = sidecar
        bound: list[str] = sidecar.wait_for_event("listening")["admin_plane"]
        [self.address] = [target for target in bound if not target.startswith("unix:")]

    @contextmanager
    def connected(self, pair: Pair | None = None) -> Generator[grpc.Channel, None, None]:
        """A channel of its own to the admin listener, with that client certificate."""
        key, certificate = (None, None) if pair is None else (pair.key, pair.certificate)
        credentials = grpc.ssl_channel_credentials(self.scene.authority.bundle, key, certificate)
        with grpc.secure_channel(self.address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield channel

    def call(
        self,
        method: str,
        request: Message,
        *,
        pair: Pair | None = None,
        token: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float = TIMEOUT,
    ) -> Outcome:
        """One call on a connection of its own."""
        brought = [*metadata, *([("authorization", f"Bearer {token}")] if token is not None else [])]
        with self.connected(pair) as channel:
            return outcome_of(channel, method, request, brought, timeout)

    def admin_token(self, user: str = "machine", **claims: Any) -> str:
        """A token that the admin listener takes, unless a claim stands against it."""
        told: dict[str, Any] = {"aud": ADMIN_AUDIENCE, "sid": None, **claims}
        return self.scene.admin_issuer.mint(user, **told)

    def refusals(self) -> list[dict[str, Any]]:
        """All that was logged of refusals so far."""
        lines = [line for line in self.sidecar.log.splitlines() if line.startswith("{")]
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [event for event in events if re.fullmatch("admin_(call|connection)_refused", event["event"])]

    def next_refusal(self, before: int) -> dict[str, Any]:
        """The one refusal that was logged after so many."""

        def find() -> list[dict[str, Any]] | None:
            return self.refusals()[before:] or None

        [refusal] = eventually(find, "no refusal was logged")
        return refusal


def outcome_of(
    channel: grpc.Channel,
    method: str,
    request: Message,
    metadata: Sequence[tuple[str, str]] = (),
    timeout: float = TIMEOUT,
) -> Outcome:
    """How a call ends."""
    untyped: Any = channel  # the stubs know no calls in bytes
    try:
        answer: bytes = untyped.unary_unary(method)(request.SerializeToString(), timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        failure: Any = error
        info = ErrorInfo()
        for name, value in failure.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                Status.FromString(value).details[0].Unpack(info)
        return Outcome(failure.code().name, info.reason, dict(info.metadata), message=failure.details())
    return Outcome("OK", answer=answer)


def a_handle() -> str:
    """A session that no other test knows."""
    return f"session-{uuid.uuid4().hex}"


def revoking(handle: str, issuer: str) -> v1.RevokeSessionRequest:
    return v1.RevokeSessionRequest(issuer=issuer, session_handle=handle)
