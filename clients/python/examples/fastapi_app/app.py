"""A FastAPI service behind sidegate."""

from typing import Annotated

from fastapi import Depends, FastAPI
from sidegate import Session
from sidegate.integrations.fastapi import install, sign_out_router, verify_session
from sidegate.integrations.policy import WebPolicy

app = FastAPI(title="Orders")
install(app, policy=WebPolicy(cookie="session"))
app.include_router(sign_out_router("/sign-out"))


@app.get("/")
async def greet(
    session: Annotated[Session | None, Depends(verify_session(session_required=False))],
) -> dict[str, str]:
    """For everybody."""
    return {"hello": session.user_id if session else "stranger"}


@app.get("/orders")
async def orders(session: Annotated[Session, Depends(verify_session())]) -> dict[str, str]:
    """For who is signed in."""
    return {"orders of": session.user_id}


@app.post("/orders/cancel")
async def cancel(session: Annotated[Session, Depends(verify_session(check_database=True))]) -> dict[str, str]:
    """Worth a look into the session database."""
    return {"cancelled by": session.user_id}


@app.get("/admin")
async def admin(session: Annotated[Session, Depends(verify_session(require={"role": "admin"}))]) -> dict[str, str]:
    """For whose token has the claim."""
    return {"administrator": session.user_id}
