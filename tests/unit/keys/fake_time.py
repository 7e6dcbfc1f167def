"""A clock that stands still until a test moves it."""

import asyncio

from sidegate_sidecar.keys.issuer_keys import Clocks
from sidegate_sidecar.model import SECOND, Micros


async def settle() -> None:
    """Let every task run until all of them wait for something outside."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeTime:
    """Both clocks and sleeping. `slept` is every span that was asked for."""

    def __init__(self) -> None:
        self._seconds = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._seconds

    def now(self) -> Micros:
        return 1_700_000_000 * SECOND + round(self._seconds * SECOND)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        waiter = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._seconds + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        self._seconds += seconds
        due = [waiter for until, waiter in self._sleepers if until <= self._seconds]
        self._sleepers = [(until, waiter) for until, waiter in self._sleepers if until > self._seconds]
        for waiter in due:
            if not waiter.done():
                waiter.set_result(None)
        await settle()

    def clocks(self) -> Clocks:
        return Clocks(self.monotonic, self.now, self.sleep)
