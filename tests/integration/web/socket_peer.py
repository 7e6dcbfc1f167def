"""The other end of a WebSocket, without a server."""

import asyncio
from typing import Any

from tests.integration.web.in_process import Sent, http_scope

PATIENCE_SECONDS = 60.0


class Socket:
    """A peer of an application's WebSocket."""

    def __init__(self, app: Any, token: str) -> None:
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = http_scope(Sent("GET", "/socket", [("Authorization", f"Bearer {token}")]))
        scope.update(type="websocket", scheme="ws", subprotocols=[], extensions={})
        del scope["method"]
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.handler = asyncio.create_task(app(scope, self._incoming.get, self._said.put))

    def say(self, text: str) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def hang_up(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._said.get()

    async def accepted(self) -> None:
        assert (await self.hear())["type"] == "websocket.accept"
        assert (await self.hear())["text"] == "ada"
