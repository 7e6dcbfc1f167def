"""The admin plane, built: the services, their listeners and, on addresses, who may call them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sidegate.v1 import revocation_pb2_grpc

from sidegate_sidecar.access import Authority
from sidegate_sidecar.administration import Administration
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.issuers import Issuer
from sidegate_sidecar.keys import KeyRing
from sidegate_sidecar.model import wall_clock
from sidegate_sidecar.rpc.administration import RevocationService, SessionService
from sidegate_sidecar.rpc.certificate_files import CertificateFiles, ServerTls
from sidegate_sidecar.rpc.gate import Gate
from sidegate_sidecar.rpc.server import ADMIN_SOCKET_MODE, Endpoint, Service
from sidegate_sidecar.rpc.tls_endpoint import TlsEndpoint
from sidegate_sidecar.settings import Settings
from sidegate_sidecar.stores import StoreSide
from sidegate_sidecar.verifier import Backing, Verifier

REMEMBERED_ADMIN_TOKENS = 1000  # of machines, of which there are few


@dataclass(frozen=True, slots=True)
class AdminPlane:
    """What is to be started, and stopped together.

    Attributes:
        endpoints: Where the services are served.
        tls: What is to be kept current, if anything is served on an address.
    """

    endpoints: Sequence[Endpoint | TlsEndpoint]
    tls: ServerTls | None


def administration_of(issuers: Sequence[Issuer], key_ring: KeyRing, side: StoreSide) -> Administration:
    """What the admin services offer. Tokens of admin issuers can be revoked like any others, but only by name."""
    return Administration(
        side.store,
        side.follower,
        key_ring,
        {issuer.policy.issuer: not issuer.policy.unknown_sessions_rejected for issuer in issuers},
        admin_issuers=frozenset(issuer.policy.issuer for issuer in issuers if issuer.admin_use),
    )


def build_admin_plane(
    settings: Settings,
    issuers: Sequence[Issuer],
    key_ring: KeyRing,
    side: StoreSide,
    administration: Administration,
    feed: Service,
) -> AdminPlane:
    """Build it. Unix sockets, and under `sidegate dev` loopback, are their owner's; an address asks who is calling.

    Raises:
        StartupError: The certificate, its key or the client CA cannot be used.
    """
    services = [
        Service(
            "sidegate.v1.RevocationService",
            partial(revocation_pb2_grpc.add_RevocationServiceServicer_to_server, RevocationService(administration)),
        ),
        Service(
            "sidegate.v1.SessionService",
            partial(
                revocation_pb2_grpc.add_SessionServiceServicer_to_server, SessionService(administration, wall_clock)
            ),
        ),
        feed,
    ]
    tls = _server_tls(settings, issuers)
    addresses = [] if tls is None else [listener for listener in settings.admin_listen if listener.path is None]
    ours = [listener for listener in settings.admin_listen if listener not in addresses]
    endpoints: list[Endpoint | TlsEndpoint] = []
    if ours:
        endpoints.append(
            Endpoint(services, ours, socket_mode=ADMIN_SOCKET_MODE, reflection_enabled=settings.reflection)
        )
    if tls is not None:
        authority = Authority(
            [entry.grant() for entry in settings.admin_grants],
            Verifier(
                Authenticator(
                    [issuer.policy for issuer in issuers if issuer.admin_use],
                    key_ring,
                    remembered=REMEMBERED_ADMIN_TOKENS,
                ),
                Backing(side.follower, side.lookup),
                clock=wall_clock,
                max_revocation_lag=settings.max_revocation_lag,
            ),
            wall_clock,
        )
        endpoints.append(
            TlsEndpoint(
                services,
                addresses,
                tls=tls,
                gate=partial(Gate, authority, side.store.look_up, administration.only_issuer),
                reflection_enabled=settings.reflection,
            )
        )
    return AdminPlane(endpoints, tls)


def _server_tls(settings: Settings, issuers: Sequence[Issuer]) -> ServerTls | None:
    """None: every listener is its owner's."""
    if settings.admin_tls_cert is None or settings.admin_tls_key is None:
        return None
    if all(listener.path is not None for listener in settings.admin_listen):
        return None
    return ServerTls(
        CertificateFiles(settings.admin_tls_cert, settings.admin_tls_key, settings.admin_tls_client_ca),
        requires_client_certificate=not any(issuer.admin_use for issuer in issuers),
    )
