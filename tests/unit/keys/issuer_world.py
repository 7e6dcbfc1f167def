"""One issuer's keys with all that surrounds them under control: its issuer, its clock, its log."""

import asyncio

import structlog
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys.bucket import BURST
from sidegate_sidecar.keys.issuer_keys import IssuerKeys
from sidegate_sidecar.keys.jwks import JwksContent
from sidegate_sidecar.keys.loading import Loaded, LoadFailed
from sidegate_sidecar.model import KeySet
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from tests.unit.keys.fake_time import FakeTime, settle
from tests.unit.keys.key_material import named_keys

REFRESH = 300.0
RETRY = 7.0
RETRY_WITHOUT_KEYS = 5.0
OUTAGE_CAP = 3600.0


class FakeIssuer:
    """A loader that answers when, and what, the test says."""

    def __init__(self) -> None:
        self.asked = 0
        self._answer: asyncio.Future[Loaded] | None = None

    async def load(self) -> Loaded:
        assert self._answer is None, "two loads at a time"
        self.asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        try:
            return await self._answer
        finally:
            self._answer = None

    def retry_in(self, failures: int, *, without_keys: bool) -> float:
        return RETRY_WITHOUT_KEYS if without_keys else RETRY * failures

    async def answer(self, *key_ids: str, content: JwksContent | None = None) -> None:
        assert self._answer is not None, "nobody asks"
        self._answer.set_result(Loaded(content or named_keys(*key_ids), REFRESH))
        await settle()

    async def fail(self, error: Exception | None = None) -> None:
        assert self._answer is not None, "nobody asks"
        self._answer.set_exception(error or LoadFailed("the server answered 503"))
        await settle()

    @property
    def being_asked(self) -> bool:
        return self._answer is not None


class World:
    """An issuer's keys with all that surrounds them under control."""

    def __init__(self, *, unknown_key_wait: float = 60.0) -> None:
        self.time = FakeTime()
        self.issuer = FakeIssuer()
        self.changes: list[KeySet] = []
        self.captured = CapturingLogger()
        log: FilteringBoundLogger = structlog.wrap_logger(self.captured, processors=[])
        self.keys = IssuerKeys(
            "issuer",
            self.issuer,
            outage_cap=OUTAGE_CAP,
            keeper=None,
            clocks=self.time.clocks(),
            log=log,
            on_change=lambda _issuer, key_set: self.changes.append(key_set),
            unknown_key_wait=unknown_key_wait,
        )
        self._asking: list[asyncio.Task[KeySet]] = []

    async def start(self, *key_ids: str) -> None:
        starting = asyncio.create_task(self.keys.start())
        await settle()
        await self.issuer.answer(*key_ids)
        await starting

    async def ask(self, key_id: str) -> asyncio.Task[KeySet]:
        task = asyncio.create_task(self.keys.key_set_with(key_id))
        self._asking.append(task)
        await settle()
        return task

    async def ask_in_vain(self, key_id: str) -> None:
        """Ask for a key; the issuer answers with what it had."""
        task = await self.ask(key_id)
        await self.issuer.answer("old")
        assert set((await task).by_id) == {"old"}

    async def empty_bucket(self) -> None:
        for number in range(BURST):
            await self.ask_in_vain(f"emptying {number}")

    def logged(self, event: str) -> list[dict[str, object]]:
        return [call.kwargs for call in self.captured.calls if call.kwargs["event"] == event]

    async def close(self) -> None:
        await self.keys.close()
        await asyncio.gather(*self._asking, return_exceptions=True)


def outcome(task: asyncio.Task[KeySet]) -> str:
    """What came of asking, at once."""
    if not task.done():
        return "waiting"
    if task.exception() is not None:
        assert isinstance(task.exception(), KeysUnavailable)
        return "unavailable"
    return " ".join(sorted(task.result().by_id))
