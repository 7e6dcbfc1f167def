"""What a page says, given what the sidecar knows."""

import math
from collections.abc import Mapping

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sidegate_sidecar.metrics.collector import Sources, registry_of
from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.model import SECOND, KeySetStatus, Revision, ServingStatus, StoreState

HOSTILE = 'https://issuer.example/"\n\\'
KEY_SETS = (
    KeySetStatus("https://issuer.example", 1, 3, 90 * SECOND, ""),
    KeySetStatus(HOSTILE, 0, 0, None, "down"),
)


def status(store_state: StoreState = StoreState.NOT_CONFIGURED, *, loaded: bool = False) -> ServingStatus:
    return ServingStatus(
        version="1.2.3",
        key_sets=KEY_SETS,
        index_revision=Revision("store", 7) if loaded else None,
        index_lag=SECOND // 4 if loaded else None,
        store_state=store_state,
    )


def samples(told: ServingStatus, entries: int | None = None) -> Mapping[tuple[str, str], float]:
    """By the name of each sample and the value of its label."""
    sources = Sources(
        VerificationCounts(),
        lambda: told,
        lambda: entries,
        remembered_tokens=lambda: 5,
        feed_watches=lambda: 2,
        calls_shed=lambda: {"tokens": 1, "streams": 0},
    )
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry_of(sources)).decode())
        for sample in family.samples
    }


def test_a_sidecar_without_a_store_says_nothing_of_one() -> None:
    page = samples(status())

    assert not [name for name, _ in page if name.startswith(("sidegate_index", "sidegate_store"))]
    assert page["sidegate_build_info", "1.2.3"] == 1
    assert page["sidegate_remembered_tokens", ""] == 5
    assert page["sidegate_feed_watches", ""] == 2
    assert (page["sidegate_calls_shed_total", "tokens"], page["sidegate_calls_shed_total", "streams"]) == (1, 0)
    assert page["process_resident_memory_bytes", ""] > 0
    assert page["process_open_fds", ""] > 0


@pytest.mark.parametrize(("state", "told"), [(StoreState.AVAILABLE, 1), (StoreState.UNAVAILABLE, 0)], ids=str)
def test_an_index_that_has_not_loaded_is_absent_and_the_store_is_not(state: StoreState, told: int) -> None:
    page = samples(status(state))

    assert not [name for name, _ in page if name.startswith("sidegate_index")]
    assert page["sidegate_store_available", ""] == told


def test_the_index_is_told_in_base_units() -> None:
    page = samples(status(StoreState.AVAILABLE, loaded=True), entries=0)

    assert page["sidegate_index_entries", ""] == 0
    assert page["sidegate_index_revision", ""] == 7
    assert page["sidegate_index_lag_seconds", ""] == 0.25


def test_an_issuer_without_keys_has_none_and_no_age() -> None:
    page = samples(status())

    assert (page["sidegate_keys", "https://issuer.example"], page["sidegate_keys", HOSTILE]) == (3, 0)
    assert page["sidegate_key_set_age_seconds", "https://issuer.example"] == 90
    assert ("sidegate_key_set_age_seconds", HOSTILE) not in page


def test_nothing_is_not_a_number() -> None:
    assert not any(map(math.isnan, samples(status(StoreState.AVAILABLE, loaded=True), entries=1).values()))
