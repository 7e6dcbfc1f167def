"""What is shed, counted by the kind that there was too much of."""

from collections.abc import Callable

import pytest
from sidegate_sidecar.errors import Shed
from sidegate_sidecar.rpc.limits import Limit, Limits

WATCH = "/sidegate.v1.RevocationFeedService/WatchRevocations"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"

KINDS: dict[str, Callable[[Limits], Limit]] = {
    "tokens": lambda limits: limits.tokens,
    "lookups": lambda limits: limits.lookups,
    "admin_calls": lambda limits: limits.admin,
    "sign_outs": lambda limits: limits.sign_outs,
    "admissions": lambda limits: limits.admissions,
    "streams": lambda limits: limits.of_streams(WATCH),
}


def test_every_limit_has_its_kind() -> None:
    limits = [name for name, each in vars(Limits()).items() if isinstance(each, Limit | dict)]

    assert len(limits) == len(KINDS) == len(Limits().calls_shed())
    assert Limits().calls_shed() == dict.fromkeys(KINDS, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_is_shed_is_counted_once_whatever_it_weighs(kind: str) -> None:
    limits = Limits()
    limit = KINDS[kind](limits)
    limit.enter(limit.most - 1)
    with pytest.raises(Shed):
        limit.enter(2)

    assert limits.calls_shed() == {**dict.fromkeys(KINDS, 0), kind: 1}


def test_streams_of_each_rpc_are_counted_together_and_watches_of_the_feed_alone() -> None:
    limits = Limits()
    assert limits.watches() == 0
    for method in (WATCH, HEALTH_WATCH):
        limit = limits.of_streams(method)
        limit.enter(limit.most)
        with pytest.raises(Shed):
            limit.enter()

    assert limits.calls_shed()["streams"] == 2
    assert limits.watches() == limits.of_streams(WATCH).most
