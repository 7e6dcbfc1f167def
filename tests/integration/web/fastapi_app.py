"""The routes that the tests ask for, in FastAPI."""

from typing import Annotated

from fastapi import Depends, FastAPI, Request, WebSocket
from sidegate import AsyncSessionClient, Session
from sidegate.integrations.fastapi import get_session, install, sign_out_router, verify_session
from sidegate.integrations.policy import WebPolicy

from tests.integration.web.routes import User, is_ada, user_of


def application(policy: WebPolicy, client: AsyncSessionClient | None = None) -> FastAPI:
    app = FastAPI()
    install(app, policy=policy, client=client)
    app.include_router(sign_out_router())

    @app.get("/required")
    @app.post("/required")
    async def required(session: Annotated[Session, Depends(verify_session())]) -> User:
        return user_of(session)

    @app.get("/optional")
    @app.post("/optional")
    async def optional(session: Annotated[Session | None, Depends(verify_session(session_required=False))]) -> User:
        return user_of(session)

    @app.get("/database")
    def database(session: Annotated[Session, Depends(verify_session(check_database=True))]) -> User:
        return user_of(session)

    @app.get("/admin")
    async def admin(
        session: Annotated[Session, Depends(verify_session(require={"role": "admin", "level": 2}))],
    ) -> User:
        return user_of(session)

    @app.get("/ada")
    async def ada(session: Annotated[Session, Depends(verify_session(require=is_ada))]) -> User:
        return user_of(session)

    @app.get("/audience")
    async def audience(session: Annotated[Session, Depends(verify_session(audiences=["orders"]))]) -> User:
        return user_of(session)

    @app.get("/tenant")
    async def tenant(session: Annotated[Session, Depends(verify_session(tenant_id="acme"))]) -> User:
        return user_of(session)

    @app.get("/by-hand")
    async def by_hand(request: Request) -> User:
        return user_of(await get_session(request))

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, session: Annotated[Session, Depends(verify_session())]) -> None:
        await websocket.accept()
        await websocket.send_text(session.user_id)

    return app
