"""WebSockets beside Django, which has none: by Starlette in front of it, and by an ASGI application of one's own."""

import asyncio
from typing import Any

from sidegate import AsyncSessionClient
from sidegate.integrations.credentials import bearer_token
from sidegate.integrations.starlette import get_session, install, until_session_ends
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket

from tests.integration.web.in_process import Asgi


def behind_starlette(django: Asgi, client: AsyncSessionClient) -> Asgi:
    """As docs/web-frameworks.md shows it."""

    async def socket(websocket: WebSocket) -> None:
        session = await get_session(websocket)
        await websocket.accept()
        async with until_session_ends(websocket, session):
            await websocket.send_text(session.user_id)
            async for text in websocket.iter_text():
                await websocket.send_text(text)

    app = Starlette(routes=[WebSocketRoute("/socket", socket), Mount("/", django)])
    install(app, client=client)
    return app


def beside_a_consumer(django: Asgi, client: AsyncSessionClient) -> Asgi:
    """What a consumer of Channels does, without Channels."""

    async def consume(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        token = bearer_token([value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"])
        assert token is not None
        session = await client.verify(token)
        await send({"type": "websocket.accept"})

        async def close_with_session() -> None:
            async for ended in client.watch_session(session, token):
                await send({"type": "websocket.close", "code": 1008, "reason": str(ended.reason)})

        watch = asyncio.create_task(close_with_session())
        try:
            await send({"type": "websocket.send", "text": session.user_id})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
        finally:
            watch.cancel()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (consume if scope["type"] == "websocket" else django)(scope, receive, send)

    return application
