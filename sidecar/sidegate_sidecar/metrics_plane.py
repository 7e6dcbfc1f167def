"""The metrics, wired: the listener for them, and where in the sidecar each value is read."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.metrics.collector import Sources
from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.metrics.endpoint import MetricsEndpoint
from sidegate_sidecar.model import ServingStatus
from sidegate_sidecar.rpc.server import Endpoint
from sidegate_sidecar.rpc.tls_endpoint import TlsEndpoint
from sidegate_sidecar.stores import StoreSide


def build_metrics(
    listener: Listener | None,
    counts: VerificationCounts,
    status: Callable[[], ServingStatus],
    authenticator: Authenticator,
    side: StoreSide | None,
    endpoints: Sequence[Endpoint | TlsEndpoint],
) -> Sequence[MetricsEndpoint]:
    """The listener for metrics, if there is to be one.

    Args:
        listener: Where. None: nowhere.
        counts: How verifications ended.
        status: What the sidecar knows and how old it is.
        authenticator: Of the data plane.
        side: The store's. None: there is none.
        endpoints: Every server whose calls may be shed.
    """

    def index_entries() -> int | None:
        index = None if side is None else side.follower.index
        return None if index is None else len(index)

    def calls_shed() -> Mapping[str, int]:
        total: Counter[str] = Counter()
        for endpoint in endpoints:
            total.update(endpoint.limits.calls_shed())
        return total

    sources = Sources(
        counts,
        status,
        index_entries,
        remembered_tokens=lambda: authenticator.remembered_tokens,
        feed_watches=lambda: sum(endpoint.limits.watches() for endpoint in endpoints),
        calls_shed=calls_shed,
    )
    return [] if listener is None else [MetricsEndpoint(listener, sources)]
