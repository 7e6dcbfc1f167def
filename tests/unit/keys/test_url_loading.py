"""How often an issuer is asked."""

from pathlib import Path

import pytest
from sidegate_sidecar.keys import IssuerKeysConfig, JwksFile
from sidegate_sidecar.keys.fetching import max_age, same_origin
from sidegate_sidecar.keys.url_loading import backoff, refresh_in

CONFIG = IssuerKeysConfig("issuer", JwksFile(Path("any")), min_refresh=60, default_refresh=300, max_refresh=3600)


def latest(_low: float, high: float) -> float:
    return high


def earliest(low: float, _high: float) -> float:
    return low


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        (["public"], None),
        (["public, max-age=300"], 300.0),
        (["Max-Age = 300"], 300.0),
        (['max-age="300"'], 300.0),
        (["public", "max-age=300"], 300.0),
        (["max-age=300, no-store"], 0.0),
        (["no-cache"], 0.0),
        (["max-age=-1"], None),
        (["max-age=\u0663"], None),
        (["max-age=" + "9" * 8000], 999_999_999.0),
        (["s-maxage=300"], None),
        ([", ,=,"], None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_max_age_as_rfc_9111_section_5_2_2_spells_it(fields: list[str], expected: float | None) -> None:
    assert max_age(fields) == expected


@pytest.mark.parametrize(
    ("fresh_for", "earliest_in", "latest_in"),
    [
        (None, 240, 285),
        (0.0, 60, 60),
        (1000.0, 800, 950),
        (1e9, 2880, 3420),
        (70.0, 60, 66.5),
    ],
    ids=["no max-age", "below the floor", "within", "above the ceiling", "jitter never goes below the floor"],
)
def test_keys_are_fetched_before_they_are_stale_within_bounds(
    fresh_for: float | None, earliest_in: float, latest_in: float
) -> None:
    assert refresh_in(CONFIG, fresh_for, earliest) == pytest.approx(earliest_in)
    assert refresh_in(CONFIG, fresh_for, latest) == pytest.approx(latest_in)


def test_a_failing_issuer_is_asked_ever_less_down_to_once_a_minute() -> None:
    waits = [backoff(failures, without_keys=False, jitter=latest) for failures in (1, 2, 3, 6, 7, 8, 10_000)]

    assert waits == [1, 2, 4, 32, 60, 60, 60]
    assert backoff(3, without_keys=False, jitter=earliest) == 2


def test_an_issuer_without_any_keys_is_asked_again_within_5_s() -> None:
    waits = [backoff(failures, without_keys=True, jitter=latest) for failures in (1, 2, 3, 4, 10_000)]

    assert waits == [1, 2, 4, 5, 5]
    assert backoff(10_000, without_keys=True, jitter=earliest) == 2.5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://a.example:443/y", True),
        ("https://a.example/x", "https://A.example/y", True),
        ("https://a.example/x", "https://b.example/x", False),
        ("https://a.example/x", "http://a.example/x", False),
        ("https://a.example/x", "https://a.example:8443/x", False),
    ],
)
def test_two_urls_share_an_origin_by_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_origin(one, other) is same
