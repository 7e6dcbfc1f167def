"""A FastAPI service whose WebSocket must not outlive its session."""

from typing import Annotated

from fastapi import Depends, FastAPI, WebSocket
from sidegate import AsyncSessionClient, Session
from sidegate.integrations.fastapi import install, until_session_ends, verify_session


def application(client: AsyncSessionClient | None = None, *, outlive_token: bool = False) -> FastAPI:
    app = FastAPI()
    install(app, client=client)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, session: Annotated[Session, Depends(verify_session())]) -> None:
        await websocket.accept()
        async with until_session_ends(websocket, session, outlive_token=outlive_token):
            await websocket.send_text(session.user_id)
            async for text in websocket.iter_text():
                if text == "fail":
                    raise TimeoutError("the handler's own")
                await websocket.send_text(text)

    return app


app = application()
