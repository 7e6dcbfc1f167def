"""A machine that was suspended: time.monotonic and the timers of the event loop stood still, the keys grew old."""

import time

import pytest
import structlog
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys import IssuerKeysConfig, KeyRing, sleeping
from sidegate_sidecar.model import SECOND

from tests.integration.keys.issuer_server import IssuerServer, silence
from tests.integration.keys.rings import by_url, key_ids, until
from tests.unit.keys.key_material import ed25519_jwk

HOUR = 3600.0


class Machine:
    """Adds what it slept to the one clock that runs through it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept = 0.0
        runs_through: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        clock_gettime = time.clock_gettime
        monkeypatch.setattr(
            time,
            "clock_gettime",
            lambda clock: clock_gettime(clock) + (self.slept if clock == runs_through else 0.0),  # type: ignore[misc]  # any clock
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def ring_of(config: IssuerKeysConfig) -> KeyRing:
    """With its own clock and its own way to sleep, which are what is tried here."""
    return KeyRing([config], log=structlog.wrap_logger(structlog.testing.CapturingLogger(), processors=[]))


async def test_keys_are_refreshed_right_after_a_suspension_in_which_that_came_due(
    issuer: IssuerServer, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sleeping, "LONGEST_NAP_SECONDS", 0.01)  # as if the machine had been awake for longer
    issuer.publish(ed25519_jwk(kid="old"))
    ring = ring_of(by_url(issuer, refresh=HOUR))
    await ring.start()
    issuer.publish(ed25519_jwk(kid="new"))

    machine.slept = HOUR

    await until(lambda: key_ids(ring.key_set("issuer")) == {"new"})
    await ring.close()


async def test_time_in_which_the_machine_is_suspended_counts_against_the_outage_cap(
    issuer: IssuerServer, machine: Machine
) -> None:
    issuer.publish(ed25519_jwk(kid="old"))
    config = by_url(issuer, refresh=HOUR)
    ring = ring_of(config)
    await ring.start()
    issuer.answer = silence

    machine.slept = config.outage_cap - HOUR
    assert key_ids(ring.key_set("issuer")) == {"old"}
    machine.slept = config.outage_cap + 1.0

    with pytest.raises(KeysUnavailable):
        ring.key_set("issuer")
    [status] = ring.status()
    assert status.age is not None
    assert status.age > config.outage_cap * SECOND
    await ring.close()


async def test_a_key_that_was_asked_for_before_a_suspension_may_be_asked_for_again_after_it(
    issuer: IssuerServer, machine: Machine
) -> None:
    issuer.publish(ed25519_jwk(kid="old"))
    ring = ring_of(by_url(issuer, refresh=HOUR))
    await ring.start()
    for _ in range(10):
        await ring.key_set_with("issuer", "new")
    issuer.publish(ed25519_jwk(kid="new"))
    assert key_ids(await ring.key_set_with("issuer", "new")) == {"old"}, "the bucket has nothing left for this one"

    machine.slept = 60.0

    assert key_ids(await ring.key_set_with("issuer", "new")) == {"new"}
    await ring.close()
