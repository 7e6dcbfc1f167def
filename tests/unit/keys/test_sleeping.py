"""Sleeping by a clock that runs through suspension, on timers that stand still in it."""

import pytest
from sidegate_sidecar.keys.sleeping import LONGEST_NAP_SECONDS, sleep_by_steady_clock


class Machine:
    """Naps take as long as they say; what a test adds, the machine is suspended for in the nap that comes then.

    Attributes:
        naps: Each that was taken, in seconds.
        suspended_in: For how long, by the number of the nap.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []
        self.suspended_in: dict[int, float] = {}

    def clock(self) -> float:
        return self.now

    async def nap(self, seconds: float) -> None:
        self.now += seconds + self.suspended_in.get(len(self.naps), 0.0)
        self.naps.append(seconds)

    async def sleep(self, seconds: float) -> float:
        """How long it took by the clock."""
        began = self.now
        await sleep_by_steady_clock(seconds, clock=self.clock, nap=self.nap)
        return self.now - began


@pytest.mark.parametrize("seconds", [0.25, LONGEST_NAP_SECONDS, 7.5, 3600.0])
async def test_a_sleep_takes_as_long_as_it_says_in_naps_that_are_short(seconds: float) -> None:
    machine = Machine()

    assert await machine.sleep(seconds) == seconds
    assert max(machine.naps) <= LONGEST_NAP_SECONDS


async def test_time_in_which_the_machine_is_suspended_has_been_slept() -> None:
    machine = Machine()
    machine.suspended_in = {3: 1000.0}

    assert await machine.sleep(3600.0) == 3600.0


async def test_what_came_due_in_a_suspension_is_late_by_a_nap_at_most() -> None:
    machine = Machine()
    machine.suspended_in = {3: 86400.0}

    await machine.sleep(3600.0)

    assert len(machine.naps) == 4


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_is_a_nap_of_none_in_which_others_run(seconds: float) -> None:
    machine = Machine()

    await machine.sleep(seconds)

    assert machine.naps == [0.0]


async def test_a_timer_that_is_early_by_a_hair_is_slept_on_and_not_believed() -> None:
    machine = Machine()
    machine.suspended_in = {0: -0.001}

    assert await machine.sleep(1.0) == pytest.approx(1.0)
    assert machine.naps == [1.0, pytest.approx(0.001)]
