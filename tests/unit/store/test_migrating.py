"""Which migrations a store needs, and whether a release can work with those it has."""

from collections.abc import Mapping

import pytest
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.store.migrating import check_applied, to_apply
from sidegate_sidecar.store.sql import Migration

FIRST = Migration(1, "0001_first", safe_before=True, script="")
LATER = Migration(2, "0002_later", safe_before=False, script="")
THIRD = Migration(3, "0003_third", safe_before=True, script="")
KNOWN = (FIRST, LATER, THIRD)

ALL = {1: True, 2: False, 3: True}


@pytest.mark.parametrize(
    ("applied", "after_deploy", "needed"),
    [
        pytest.param({}, False, [FIRST, LATER, THIRD], id="a new store gets all"),
        pytest.param({}, True, [FIRST, LATER, THIRD], id="a new store gets all, after the deploy too"),
        pytest.param({1: True}, False, [THIRD], id="before the deploy, what is safe then"),
        pytest.param({1: True}, True, [LATER, THIRD], id="after the deploy, all in their order"),
        pytest.param({1: True, 3: True}, False, [], id="what is safe only afterwards waits"),
        pytest.param({1: True, 3: True}, True, [LATER], id="what waited is applied late"),
        pytest.param(ALL, True, [], id="nothing is applied twice"),
        pytest.param({**ALL, 4: True}, True, [], id="a newer one that was safe before is no hindrance"),
    ],
)
def test_what_is_missing_is_applied_when_it_is_safe(
    applied: Mapping[int, bool], after_deploy: bool, needed: list[Migration]
) -> None:
    assert to_apply(KNOWN, applied, after_deploy=after_deploy) == needed


@pytest.mark.parametrize("applied", [ALL, {1: True, 3: True}, {**ALL, 4: True, 5: True}], ids=str)
def test_a_store_that_has_all_that_a_release_needs_is_good(applied: Mapping[int, bool]) -> None:
    check_applied(KNOWN, applied)


def test_a_store_that_lacks_what_a_release_needs_is_refused() -> None:
    with pytest.raises(StartupError, match=r"lacks 0003_third\. Bring it up to date with `sidegate migrate`"):
        check_applied(KNOWN, {1: True})


def test_a_store_that_a_newer_release_has_left_behind_is_refused() -> None:
    applied = {**ALL, 4: True, 5: False}

    with pytest.raises(StartupError, match="migrated by a newer release"):
        check_applied(KNOWN, applied)
    with pytest.raises(StartupError, match="migrated by a newer release"):
        to_apply(KNOWN, applied, after_deploy=False)
