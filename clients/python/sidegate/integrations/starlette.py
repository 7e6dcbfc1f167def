"""sidegate in Starlette: `install` once for each app, then `get_session` and `sign_out` in endpoints.

app = Starlette(routes=[Route("/sign-out", sign_out_endpoint, methods=["POST"])])
install(app, policy=WebPolicy(cookie="session"))

async def orders(request: Request) -> Response:
    session = await get_session(request, check_database=True)

A WebSocket that must not outlive its session does what it does in `async with until_session_ends(websocket, session)`.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, cast, overload

from sidegate.async_session_client import AsyncSessionClient
from sidegate.errors import ClientClosed
from sidegate.integrations import guard, signing_out
from sidegate.integrations.answers import REFUSALS, Answer, Refusal, answer_to
from sidegate.integrations.credentials import IncomingRequest
from sidegate.integrations.extras import missing
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.requirements import Requirements
from sidegate.targets import SESSION_TARGET, SESSION_TARGET_VARIABLE, resolve_target
from sidegate.verdicts import Session, SignOutScope
from sidegate.watching import SessionEnded

try:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, Response
    from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
except ModuleNotFoundError as error:
    raise missing(error, "starlette") from error

_STATE = "sidegate"
_GOING_AWAY, _POLICY_VIOLATION = 1001, 1008  # RFC 6455 section 7.4.1


class Installation:
    """What `install` gave an app. Its client is made and connects with its first use, and is closed with the app's
    lifespan; the next use makes another, for an app can be started again, in tests with another SIDEGATE_TARGET. One
    that was passed in belongs to whoever passed it.

    Attributes:
        policy: How tokens travel.
    """

    def __init__(self, policy: WebPolicy, target: str | None, client: AsyncSessionClient | None) -> None:
        if client is None:
            resolve_target(target, SESSION_TARGET_VARIABLE, SESSION_TARGET)  # what cannot be one is told now
        self.policy = policy
        self._target = target
        self._passed = client
        self._made: AsyncSessionClient | None = None

    @property
    def client(self) -> AsyncSessionClient:
        """The app's one client."""
        if self._passed is not None:
            return self._passed
        if self._made is None:
            self._made = AsyncSessionClient(self._target)
        return self._made

    async def close(self) -> None:
        """Close the client, if it was made here."""
        client, self._made = self._made, None
        if client is not None:
            await client.close()


def install(
    app: Starlette,
    *,
    policy: WebPolicy | None = None,
    target: str | None = None,
    client: AsyncSessionClient | None = None,
) -> Installation:
    """Give an app its client, and answers for requests that are refused. A mounted app needs its own.

    Args:
        policy: How tokens travel. None: as bearer tokens.
        target: Where the sidecar listens. None: as `AsyncSessionClient` finds it, when it is first needed.
        client: To be used in place of one made here, and closed by the caller.

    Raises:
        ValueError: Both `target` and `client` are given, or the target cannot be one.
    """
    if target is not None and client is not None:
        raise ValueError("a client has its target already; pass one of the two")
    installation = Installation(policy or WebPolicy(), target, client)
    setattr(app.state, _STATE, installation)
    for refusal in REFUSALS:
        # Starlette calls it for requests and for WebSockets, and has a type for the one or the other only.
        app.add_exception_handler(refusal, cast("Any", _answer))
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(served: Any) -> AsyncGenerator[Mapping[str, Any] | None]:
        async with inner(served) as state:
            try:
                yield state
            finally:
                await installation.close()

    # An app's lifespan may have been given or not, in several ways; all end here.
    app.router.lifespan_context = cast("Any", lifespan)
    return installation


def installation_of(connection: HTTPConnection) -> Installation:
    """What `install` gave the app. Raises: RuntimeError, if nobody called it."""
    installation: Installation | None = getattr(connection.app.state, _STATE, None)
    if installation is None:
        raise RuntimeError("sidegate is not installed in this app: call install(app), for a mounted app too")
    return installation


@overload
async def get_session(
    connection: HTTPConnection,
    *,
    check_database: bool = ...,
    session_required: Literal[True] = ...,
    require: Requirements = ...,
    audiences: Sequence[str] = ...,
    tenant_id: str | None = ...,
) -> Session: ...
@overload
async def get_session(
    connection: HTTPConnection,
    *,
    check_database: bool = ...,
    session_required: bool,
    require: Requirements = ...,
    audiences: Sequence[str] = ...,
    tenant_id: str | None = ...,
) -> Session | None: ...
async def get_session(
    connection: HTTPConnection,
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> Session | None:
    """Whose session a request or WebSocket handshake belongs to. None: it brings no token, and none is required.

    The arguments are those of `route_rules`. What it raises is answered by the handlers that `install` added.
    """
    rules = guard.route_rules(
        check_database=check_database,
        session_required=session_required,
        require=require,
        audiences=audiences,
        tenant_id=tenant_id,
    )
    return await get_session_by(connection, rules)


async def get_session_by(connection: HTTPConnection, rules: guard.RouteRules) -> Session | None:
    """As `get_session`, by rules that were checked before."""
    installation = installation_of(connection)
    return await guard.get_session_async(installation.client, _incoming(connection), installation.policy, rules)


@asynccontextmanager
async def until_session_ends(
    websocket: WebSocket, session: Session, *, outlive_token: bool = False
) -> AsyncGenerator[None]:
    """Run a block for as long as the session of a WebSocket lives.

    When it ends, the block is cancelled and the WebSocket closed: with 1008, and as reason a SessionEndReason. If the
    client is closed meanwhile, with 1001. What stands behind the block runs in either case.

    Args:
        session: As it was verified from the WebSocket's own handshake.
        outlive_token: As `AsyncSessionClient.watch_session` takes it.

    Raises:
        RequestRefused: The handshake brings no token.
        ForkUnsupported: As its name says.
    """
    installation = installation_of(websocket)
    credentials = guard.required_credentials(_incoming(websocket), installation.policy)
    block = asyncio.timeout(None)
    end: SessionEnded | Exception | None = None

    async def watch() -> None:
        nonlocal end
        try:
            async for ended in installation.client.watch_session(
                session,
                credentials.access_token,
                anti_csrf_token=credentials.anti_csrf_token,
                outlive_token=outlive_token,
            ):
                end = ended
        except Exception as error:  # noqa: BLE001 - raised below: unwatched, the block must not go on
            end = error
        # A deadline that has passed cancels the block, and tells that from being cancelled by others.
        block.reschedule(0)

    try:
        async with block:
            watcher = asyncio.create_task(watch())
            try:
                yield
            finally:
                watcher.cancel()
    except TimeoutError:
        if not block.expired():
            raise  # the block's own
    if block.expired():
        await _close(websocket, end)


async def sign_out(request: Request, scope: SignOutScope | str | None = None) -> Response:
    """End sessions of the user who sends the request; the answer to send. As docs/web-frameworks.md says."""
    installation = installation_of(request)
    answer = await signing_out.sign_out_async(installation.client, _incoming(request), installation.policy, scope)
    return response_from(answer)


async def sign_out_endpoint(request: Request) -> Response:
    """`sign_out` as an endpoint, for POST. The query parameter `scope` names the scope."""
    return await sign_out(request, request.query_params.get("scope"))


def response_from(answer: Answer) -> Response:
    """The answer as a response."""
    response = JSONResponse(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers.append(name, value)
    for cookie in answer.cleared_cookies:
        response.headers.append("Set-Cookie", cookie.clearing())
    return response


async def _answer(connection: HTTPConnection, error: Exception) -> Response | None:
    """Answer a refused request; refuse a WebSocket handshake likewise, or with a close code where it was accepted or
    the server knows no other way.
    """
    response = response_from(answer_to(cast("Refusal", error), installation_of(connection).policy))
    if not isinstance(connection, WebSocket):
        return response
    if connection.application_state.name == "CONNECTING" and "websocket.http.response" in connection.scope.get(
        "extensions", {}
    ):
        await connection.send_denial_response(response)
    else:
        await connection.close(_POLICY_VIOLATION)
    return None


async def _close(websocket: WebSocket, end: SessionEnded | Exception | None) -> None:
    match end:
        case SessionEnded():
            code, reason = _POLICY_VIOLATION, str(end.reason)
        case Exception() if not isinstance(end, ClientClosed):
            raise end
        case _:
            code, reason = _GOING_AWAY, ""
    if WebSocketState.DISCONNECTED not in {websocket.client_state, websocket.application_state}:
        with suppress(WebSocketDisconnect):  # the peer was faster
            await websocket.close(code, reason)


def _incoming(connection: HTTPConnection) -> IncomingRequest:
    method = connection.method if isinstance(connection, Request) else "WEBSOCKET"
    return IncomingRequest(method, connection.headers.getlist)
