"""sidegate in FastAPI: `install` once for each app, then one line in a route.

install(app, policy=WebPolicy(cookie="session"))
app.include_router(sign_out_router())

@app.get("/orders")
async def orders(session: Annotated[Session, Depends(verify_session(check_database=True))]) -> list[Order]:
"""

from collections.abc import Sequence
from typing import Annotated, Any

from sidegate.async_session_client import AsyncSessionClient
from sidegate.integrations import guard
from sidegate.integrations.extras import missing
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.requirements import Requirements
from sidegate.verdicts import Session, SignOutScope

try:
    import fastapi.security
    from fastapi import APIRouter, Depends, FastAPI, Query, params
    from fastapi.openapi.models import HTTPBearer
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
except ModuleNotFoundError as error:
    raise missing(error, "fastapi") from error

from sidegate.integrations import starlette
from sidegate.integrations.starlette import (
    Installation,
    get_session,
    sign_out,
    until_session_ends,
)

__all__ = [
    "Installation",
    "get_session",
    "install",
    "sign_out",
    "sign_out_router",
    "until_session_ends",
    "verify_session",
]

_BEARER = "accessToken"
_COOKIE = "sessionCookie"
_SCOPE = Query(
    description="Which sessions end. None: this one.",
    # A str with a list, for of an enum FastAPI would answer for itself what we answer with UNKNOWN_SCOPE.
    json_schema_extra={"enum": list(SignOutScope)},
)


class SessionDependency(params.Depends, SecurityBase):
    """The dependency that `verify_session` makes. FastAPI shows it as a security scheme.

    It is its own `Depends`: as any other object a default without `Depends` around it would be the default of a query
    parameter, and the route be guarded by nothing.
    """

    def __init__(self, rules: guard.RouteRules) -> None:
        super().__init__(self)
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = _BEARER
        self._rules = rules

    # A Depends is compared by what it depends on. Here that is itself.

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    async def __call__(self, connection: HTTPConnection) -> Session | None:
        """The session of the request or WebSocket handshake."""
        return await starlette.get_session_by(connection, self._rules)


def verify_session(
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> SessionDependency:
    """A dependency that gives a route its `Session`; with `session_required=False` a `Session | None`.

    `Depends` around it pleases type checkers, and changes nothing.

    The arguments are those of `route_rules`. Requests that are refused never reach the route.
    """
    return SessionDependency(
        guard.route_rules(
            check_database=check_database,
            session_required=session_required,
            require=require,
            audiences=audiences,
            tenant_id=tenant_id,
        )
    )


def install(
    app: FastAPI,
    *,
    policy: WebPolicy | None = None,
    target: str | None = None,
    client: AsyncSessionClient | None = None,
) -> Installation:
    """As `sidegate.integrations.starlette.install`; the app's OpenAPI names the cookie too, where the policy does."""
    installation = starlette.install(app, policy=policy, target=target, client=client)
    if installation.policy.cookie is not None:
        _describe_cookie(app, installation.policy.cookie)
    return installation


def sign_out_router(path: str = "/sign-out") -> APIRouter:
    """A router with one route: POST, and the query parameter `scope` names the scope (none: this session)."""
    # Answers no request: it is what shows the route in OpenAPI as one that wants a token.
    bearer = fastapi.security.HTTPBearer(bearerFormat="JWT", scheme_name=_BEARER, auto_error=False)
    router = APIRouter(dependencies=[Depends(bearer)])

    @router.post(path, response_model=None, summary="Sign out", tags=["session"])
    async def sign_out_route(  # pyright: ignore[reportUnusedFunction] # the router knows it
        request: Request, scope: Annotated[str | None, _SCOPE] = None
    ) -> Response:
        return await sign_out(request, scope)

    return router


def _describe_cookie(app: FastAPI, name: str) -> None:
    """Show the cookie as the alternative to every bearer token. The routes' own scheme cannot: it is made before any
    app has a policy.
    """
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = describe()
        schemes = schema.get("components", {}).get("securitySchemes", {})
        if _BEARER in schemes:
            schemes[_COOKIE] = {"type": "apiKey", "in": "cookie", "name": name}
        for path in schema.get("paths", {}).values():
            for operation in path.values():
                if {_BEARER: []} in operation.get("security", ()):
                    operation["security"].append({_COOKIE: []})
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the schema
