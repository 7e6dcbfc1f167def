"""The metrics: their names, and where each value is read when somebody asks.

Label values come from the settings and from enumerations, never from a caller or a token. What is not known is absent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.model import SECOND, KeySetStatus, Micros, ServingStatus, StoreState


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the values are read. Each costs a moment, however many sessions and revocations there are.

    Attributes:
        counts: How verifications ended.
        status: What the sidecar knows and how old it is.
        index_entries: How many revocations the index has. None: there is no index yet, or no store.
        remembered_tokens: How many verified tokens are remembered.
        feed_watches: How many watches of the feed are open.
        calls_shed: How many calls were shed, by the kind that there were too many of.
    """

    counts: VerificationCounts
    status: Callable[[], ServingStatus]
    index_entries: Callable[[], int | None]
    remembered_tokens: Callable[[], int]
    feed_watches: Callable[[], int]
    calls_shed: Callable[[], Mapping[str, int]]


def registry_of(sources: Sources) -> CollectorRegistry:
    """A registry of its own, with the process's CPU, memory and file descriptors. One event loop."""
    registry = CollectorRegistry()
    registry.register(_Sidecar(sources))
    ProcessCollector(registry=registry)
    return registry


class _Sidecar(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would collect once to learn the names, before there is anything to read

    def collect(self) -> Iterator[Metric]:
        sources = self._sources
        status = sources.status()
        yield InfoMetricFamily("sidegate_build", "What runs here.", value={"version": status.version})
        yield _counter(
            "sidegate_verifications", "Verifications that have ended.", "outcome", sources.counts.by_outcome()
        )
        yield _counter(
            "sidegate_calls_shed", "Calls refused because too many were in progress.", "kind", sources.calls_shed()
        )
        yield _gauge("sidegate_feed_watches", "Open watches of the revocation feed.", sources.feed_watches())
        yield _gauge(
            "sidegate_remembered_tokens",
            "Verified tokens whose signature is not checked again.",
            sources.remembered_tokens(),
        )
        if status.store_state is not StoreState.NOT_CONFIGURED:
            available = status.store_state is StoreState.AVAILABLE
            yield _gauge("sidegate_store_available", "Whether the store answered last time.", available)
        entries = sources.index_entries()
        if entries is not None:
            yield _gauge("sidegate_index_entries", "Revocations in the index.", entries)
        if status.index_revision is not None:
            sequence = status.index_revision.sequence
            yield _gauge("sidegate_index_revision", "Where in the revocation log the index is.", sequence)
        if status.index_lag is not None:
            yield _gauge(
                "sidegate_index_lag_seconds", "How long ago the index was complete.", _seconds(status.index_lag)
            )
        yield from _key_sets(status.key_sets)


def _key_sets(key_sets: Iterable[KeySetStatus]) -> Iterator[Metric]:
    keys = GaugeMetricFamily("sidegate_keys", "Keys of an issuer's last good set.", labels=["issuer"])
    ages = GaugeMetricFamily(
        "sidegate_key_set_age_seconds", "How long ago the issuer last confirmed its keys.", labels=["issuer"]
    )
    for key_set in key_sets:
        keys.add_metric([key_set.issuer], key_set.key_count)
        if key_set.age is not None:
            ages.add_metric([key_set.issuer], _seconds(key_set.age))
    yield keys
    yield ages


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value)], count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _seconds(span: Micros) -> float:
    return span / SECOND
