"""The composition root: builds everything that the settings ask for, serves, drains. No logic of its own."""

import asyncio
import gc
import resource
import signal
from collections.abc import Awaitable, Callable, Container, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from typing import Any

import structlog
from sidegate import ClientTls, TokenFile
from sidegate.v1 import feed_pb2_grpc, verification_pb2_grpc

from sidegate_sidecar.admin_plane import administration_of, build_admin_plane
from sidegate_sidecar.administration import Administration
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.issuers import issuers_from
from sidegate_sidecar.keys import KeyRing
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.metrics_plane import build_metrics
from sidegate_sidecar.model import SECOND, ServingStatus, StoreState, wall_clock
from sidegate_sidecar.revocations.compaction import compact_for_ever
from sidegate_sidecar.revocations.feed import RevocationFeed
from sidegate_sidecar.rpc.feed import RevocationFeedService
from sidegate_sidecar.rpc.forwarding import Forwarding
from sidegate_sidecar.rpc.health_endpoint import HealthEndpoint
from sidegate_sidecar.rpc.server import DATA_SOCKET_MODE, Endpoint, Service
from sidegate_sidecar.rpc.tls_endpoint import TlsEndpoint
from sidegate_sidecar.rpc.verification import VerificationService
from sidegate_sidecar.settings import Settings
from sidegate_sidecar.sign_out import Revokes, SignOut
from sidegate_sidecar.stores import StoreSide, open_store
from sidegate_sidecar.verifier import Backing, Verifier

VERSION = version("sidegate")  # once: it reads files, and the status is asked for on the event loop
READINESS_SECONDS = 0.05  # how often the sidecar looks whether it has become able to answer

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a sidecar listens, with the ports that the system chose."""

    data_plane: Sequence[Listener]
    admin_plane: Sequence[Listener]
    health: Sequence[Listener]
    metrics: Sequence[Listener] = ()


class Sidecar:
    """The whole process but its signals. Start once, stop once; stopping what did not start is fine.

    Args:
        settings: What it is told.
        end: Called when it turns out, after the start, that it cannot run like this: then `refusal` says why.
    """

    def __init__(self, settings: Settings, end: Callable[[], None]) -> None:
        self.refusal: StartupError | None = None
        self._settings = settings
        self._end = end
        self._issuers = issuers_from(settings)
        self._data_issuers = frozenset(issuer.policy.issuer for issuer in self._issuers if not issuer.admin_use)
        self._counts = VerificationCounts()
        self._owned = AsyncExitStack()

    async def start(self) -> Listening:
        """Open the store, load keys and index in the background, serve. Where it listens.

        Serves at once, so that health can be asked; answers UNAVAILABLE and NOT_SERVING until it knows enough.

        Raises:
            StartupError: It cannot run like this. Nothing is left open.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain and release everything, in the reverse order of its making."""
        await self._owned.aclose()

    async def _start(self) -> Listening:
        settings = self._settings
        key_ring = KeyRing([issuer.keys for issuer in self._issuers])
        self._owned.push_async_callback(key_ring.close)
        side, feed = None, None
        if settings.store_url:
            side = await self._owned.enter_async_context(open_store(settings))
            self._in_background(self._follow(side))
        self._in_background(key_ring.start())
        if side is not None:
            feed = RevocationFeed(side.follower)
            key_ring.add_listener(feed.key_set_changed)
        status = partial(serving_status, key_ring, side)
        policies = [issuer.policy for issuer in self._issuers if not issuer.admin_use]
        authenticator = Authenticator(policies, key_ring, remembered=settings.remembered_tokens)
        administration = self._administration(key_ring, side)
        health = [HealthEndpoint(settings.health_listen)] if settings.health_listen else []
        endpoints: list[Endpoint | TlsEndpoint] = [
            self._data_plane(authenticator, status, side, feed, administration or self._forwarding(side))
        ]
        if side is not None and administration is not None:
            endpoints += self._admin_plane(key_ring, side, administration, feed)
        metrics = build_metrics(settings.metrics_listen, self._counts, status, authenticator, side, endpoints)
        for endpoint in metrics:
            self._owned.push_async_callback(endpoint.stop)  # after all others
        self._owned.push_async_callback(_stop_all, endpoints, health, feed, settings.shutdown_grace / SECOND)
        data_plane, *admin_plane = [await endpoint.start() for endpoint in endpoints]
        health_alone = [await endpoint.start() for endpoint in health]
        measured = [await endpoint.start() for endpoint in metrics]
        self._in_background(_serve_when_ready([*endpoints, *health], self._data_issuers, key_ring, side))
        return Listening(data_plane, list(chain(*admin_plane)), list(chain(*health_alone)), list(chain(*measured)))

    def _administration(self, key_ring: KeyRing, side: StoreSide | None) -> Administration | None:
        if side is None or not self._settings.admin_listen:
            return None
        return administration_of(self._issuers, key_ring, side)

    def _forwarding(self, side: StoreSide | None) -> Forwarding | None:
        # Without a store this sidecar would go on accepting what it has had revoked elsewhere.
        if side is None or self._settings.admin_target is None:
            return None
        forwarding = Forwarding(
            str(self._settings.admin_target),
            side.follower,
            tls=_client_tls(self._settings),
            token=None if self._settings.admin_token_file is None else TokenFile(self._settings.admin_token_file),
        )
        self._owned.push_async_callback(forwarding.close)
        return forwarding

    def _data_plane(
        self,
        authenticator: Authenticator,
        status: Callable[[], ServingStatus],
        side: StoreSide | None,
        feed: RevocationFeed | None,
        revokes: Revokes | None,
    ) -> Endpoint:
        settings = self._settings
        backing = None if side is None else Backing(side.follower, side.lookup)
        verifier = Verifier(authenticator, backing, clock=wall_clock, max_revocation_lag=settings.max_revocation_lag)
        verification = VerificationService(verifier, SignOut(verifier, revokes), status, self._counts)
        return Endpoint(
            [
                Service(
                    "sidegate.v1.VerificationService",
                    partial(verification_pb2_grpc.add_VerificationServiceServicer_to_server, verification),
                ),
                _feed(feed, snapshots=False),
            ],
            settings.listen,
            socket_mode=DATA_SOCKET_MODE,
            reflection_enabled=settings.reflection,
        )

    def _admin_plane(
        self, key_ring: KeyRing, side: StoreSide, administration: Administration, feed: RevocationFeed | None
    ) -> Sequence[TlsEndpoint | Endpoint]:
        settings = self._settings
        plane = build_admin_plane(settings, self._issuers, key_ring, side, administration, _feed(feed, snapshots=True))
        if plane.tls is not None:
            self._in_background(plane.tls.reload_for_ever())
        self._in_background(compact_for_ever(side.store, settings.compaction_interval / SECOND))
        return plane.endpoints

    async def _follow(self, side: StoreSide) -> None:
        try:
            await side.follow()
        except StartupError as refusal:
            self.refusal = refusal
            self._end()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until it ends or the sidecar stops. A fault of it is logged by asyncio when the task is dropped."""
        task = asyncio.create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        self._owned.push_async_callback(end)


def _client_tls(settings: Settings) -> ClientTls | None:
    """None: the admin target is on this host, and asks nobody who they are."""
    if settings.admin_cert is None and settings.admin_token_file is None:
        return None
    return ClientTls(settings.admin_ca, settings.admin_cert, settings.admin_key)


async def run_until_signalled(settings: Settings, started: Callable[[Listening], Awaitable[None]]) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `started` is told where it listens.

    Raises:
        StartupError: It cannot run like this.
    """
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    keep_what_was_imported()
    use_all_file_descriptors()
    sidecar = Sidecar(settings, signalled.set)
    listening = await sidecar.start()
    try:
        await started(listening)
        await signalled.wait()
        _log.info("draining")
    finally:
        await sidecar.stop()
    _log.info("stopped")
    if sidecar.refusal is not None:
        raise sidecar.refusal


def keep_what_was_imported() -> None:
    """Have the garbage collector pass over all that there is now.

    It would go through it each time that it collects the oldest objects: 45 ms in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


def use_all_file_descriptors() -> None:
    """Raise the soft limit, often 1,024, to the hard one: a connection takes one descriptor, and through TLS three."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):  # macOS has an end where it says that there is none
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _feed(feed: RevocationFeed | None, *, snapshots: bool) -> Service:
    service = RevocationFeedService(feed, wall_clock, snapshots=snapshots)
    return Service(
        "sidegate.v1.RevocationFeedService",
        partial(feed_pb2_grpc.add_RevocationFeedServiceServicer_to_server, service),
    )


async def _stop_all(
    endpoints: Sequence[Endpoint | TlsEndpoint],
    health: Sequence[HealthEndpoint],
    feed: RevocationFeed | None,
    grace: float,
) -> None:
    """Together: the grace is the sidecar's, not each endpoint's. Health first, then those who watch.

    What serves health alone says NOT_SERVING until the others have ended.
    """
    for endpoint in (*endpoints, *health):
        endpoint.set_serving(False)
    if feed is not None:
        feed.end()
    await asyncio.gather(*(endpoint.stop(grace) for endpoint in endpoints))
    await asyncio.gather(*(endpoint.stop(0) for endpoint in health))


async def _serve_when_ready(
    endpoints: Sequence[Endpoint | TlsEndpoint | HealthEndpoint],
    issuers: Container[str],
    key_ring: KeyRing,
    side: StoreSide | None,
) -> None:
    """Report SERVING once keys of any of the issuers are there and the index has loaded. From then on outages are
    survived.
    """
    while not (_has_keys(key_ring, issuers) and (side is None or side.follower.index is not None)):  # noqa: ASYNC110 - two rooms
        await asyncio.sleep(READINESS_SECONDS)
    for endpoint in endpoints:
        endpoint.set_serving(True)
    _log.info("serving")


def _has_keys(key_ring: KeyRing, issuers: Container[str]) -> bool:
    return any(status.key_count for status in key_ring.status() if status.issuer in issuers)


def serving_status(key_ring: KeyRing, side: StoreSide | None) -> ServingStatus:
    """What the sidecar knows and how old it is. Costs no I/O."""
    index = None if side is None else side.follower.index
    return ServingStatus(
        version=VERSION,
        key_sets=tuple(key_ring.status()),
        index_revision=None if index is None else index.revision,
        index_lag=None if side is None or index is None else side.follower.lag(),
        store_state=(
            StoreState.NOT_CONFIGURED
            if side is None
            else StoreState.AVAILABLE
            if side.follower.answering
            else StoreState.UNAVAILABLE
        ),
    )
