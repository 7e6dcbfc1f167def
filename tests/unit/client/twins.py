"""Both kinds of client behind one face: the asyncio client is driven on a loop of its own and looks like its twin."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from sidegate import AsyncRevocationClient, AsyncSessionClient, RevocationClient, SessionClient


class OnLoop:
    """A blocking view of an asyncio client: coroutines are run to their end, iterators one step at a time."""

    def __init__(self, client: AsyncSessionClient | AsyncRevocationClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def invoke(*args: Any, **kwargs: Any) -> Any:
            result: Any = attribute(*args, **kwargs)
            if inspect.isasyncgen(result):
                return self._steps(cast("AsyncIterator[Any]", result))
            if inspect.iscoroutine(result):
                return self._runner.run(cast("Coroutine[Any, Any, Any]", result))
            return result

        return invoke

    def _steps(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def step() -> Any:
            return await anext(items)

        while True:
            try:
                yield self._runner.run(step())
            except StopAsyncIteration:
                return

    def __repr__(self) -> str:
        return repr(self._client)

    def __enter__(self) -> Self:
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.run(self._client.__aexit__(exc_type, exc, traceback))


@dataclass(frozen=True)
class Twins:
    """Makes clients of one kind. `runner` None: for threads."""

    runner: asyncio.Runner | None

    def session_client(self, target: str | None = None, **options: Any) -> SessionClient:
        if self.runner is None:
            return SessionClient(target, **options)
        return cast("SessionClient", OnLoop(AsyncSessionClient(target, **options), self.runner))

    def revocation_client(self, target: str | None = None, **options: Any) -> RevocationClient:
        if self.runner is None:
            return RevocationClient(target, **options)
        return cast("RevocationClient", OnLoop(AsyncRevocationClient(target, **options), self.runner))
