"""What FastAPI and Starlette have beyond requests: WebSockets, OpenAPI, the lifespan. And Django's async views."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Annotated, Any

import pytest
from asgiref.sync import sync_to_async
from fastapi import Depends, FastAPI
from fastapi.exceptions import FastAPIError
from sidegate import AsyncSessionClient, Session
from sidegate.integrations import starlette as starlette_integration
from sidegate.integrations.django import get_session as django_get_session
from sidegate.integrations.django import sign_out as django_sign_out
from sidegate.integrations.fastapi import get_session, install, sign_out_router, verify_session
from sidegate.integrations.policy import AntiCsrf, WebPolicy
from sidegate.testing import FakeSidecar
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.integration.web import fastapi_app
from tests.integration.web.in_process import Pairs, Sent, call_asgi, call_wsgi, http_scope

BY_COOKIE = WebPolicy(cookie="session", anti_csrf=AntiCsrf.NONE)


async def handshake(app: Any, headers: Pairs, extensions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the app says to a WebSocket handshake, up to its end."""
    said: list[dict[str, Any]] = []
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})

    async def send(message: Any) -> None:
        said.append(message)

    scope = http_scope(Sent("GET", "/socket", headers))
    scope.update(type="websocket", scheme="ws", subprotocols=[], extensions=extensions)
    del scope["method"]
    await app(scope, incoming.get, send)
    return said


@pytest.fixture
async def client(sidecar: FakeSidecar) -> AsyncIterator[AsyncSessionClient]:
    async with AsyncSessionClient(sidecar.target, timeout=20.0) as connected:
        yield connected


async def test_a_websocket_is_let_in_by_its_token(sidecar: FakeSidecar, client: AsyncSessionClient) -> None:
    app = fastapi_app.application(WebPolicy(), client)

    said = await handshake(app, [("Authorization", f"Bearer {sidecar.issue_token()}")], {})

    assert [message["type"] for message in said] == ["websocket.accept", "websocket.send"]
    assert said[1]["text"] == "ada"


async def test_a_websocket_without_a_token_is_answered_as_a_request_is(client: AsyncSessionClient) -> None:
    app = fastapi_app.application(WebPolicy(), client)

    said = await handshake(app, [], {"websocket.http.response": {}})

    assert said[0]["type"] == "websocket.http.response.start"
    assert said[0]["status"] == 401


async def test_a_server_that_cannot_answer_a_handshake_closes_it(client: AsyncSessionClient) -> None:
    said = await handshake(fastapi_app.application(WebPolicy(), client), [], {})

    assert [(message["type"], message.get("code")) for message in said] == [("websocket.close", 1008)]


async def test_a_websocket_from_another_site_is_refused(sidecar: FakeSidecar, client: AsyncSessionClient) -> None:
    """Browsers send cookies with it, apply no CORS, and let no script set a header."""
    cookie = [("Cookie", f"session={sidecar.issue_token()}")]

    guarded = await handshake(
        fastapi_app.application(WebPolicy(cookie="session"), client), cookie, {"websocket.http.response": {}}
    )
    unguarded = await handshake(fastapi_app.application(BY_COOKIE, client), cookie, {})

    assert guarded[0]["status"] == 403
    assert unguarded[0]["type"] == "websocket.accept"


@pytest.mark.parametrize("function", [verify_session, get_session], ids=["verify_session", "get_session"])
def test_what_is_no_dependency_is_refused_as_one_before_any_request(function: Any) -> None:
    """Without its parentheses `verify_session` would check nothing; and of `get_session` FastAPI would let the query
    set the arguments, `session_required` among them.
    """
    app = FastAPI()

    with pytest.raises(FastAPIError, match="Predicate"):

        @app.get("/")
        async def orders(session: Annotated[Any, Depends(function)]) -> None: ...


@pytest.mark.parametrize(
    "parameter",
    [Session, Session | None, Annotated[Session, "anything"], list[Session]],
    ids=["bare", "optional", "annotated", "in a list"],
)
def test_a_route_that_would_take_its_session_from_the_body_is_refused_before_any_request(parameter: Any) -> None:
    """A dataclass that is no dependency is the body, by FastAPI's rules: its sender would be whoever they say."""

    async def route(session: Any) -> None: ...

    route.__annotations__["session"] = parameter
    with pytest.raises(TypeError, match=r"Depends\(verify_session\(\)\)"):
        FastAPI().post("/")(route)


async def defaulted(session: Any = verify_session()) -> str:  # noqa: B008 - FastAPI's other way to declare one
    return str(session.user_id)


async def unannotated(session: Any = verify_session()) -> str:  # noqa: B008 - the same
    return str(session.user_id)


unannotated.__annotations__.clear()


async def wrapped(session: Any = Depends(verify_session())) -> str:  # noqa: B008 - the same
    return str(session.user_id)


async def annotated(session: Annotated[Session, verify_session()]) -> str:
    return session.user_id


@pytest.mark.parametrize("route", [defaulted, unannotated, wrapped, annotated], ids=lambda route: route.__name__)
async def test_a_route_is_guarded_however_its_dependency_is_spelled(
    route: Any, sidecar: FakeSidecar, client: AsyncSessionClient
) -> None:
    """Without its own `Depends` FastAPI would take it for the default of a query parameter, and let everybody in."""
    app = FastAPI()
    install(app, client=client)
    app.get("/")(route)

    bearer = ("Authorization", f"Bearer {sidecar.issue_token()}")
    refused, answered = [await call_asgi(app, Sent("GET", "/", headers)) for headers in ([], [bearer])]

    assert (refused.status, answered.status, answered.body) == (401, 200, "ada")
    assert app.openapi()["paths"]["/"]["get"]["security"] == [{"accessToken": []}]


async def test_a_router_takes_the_dependency_as_it_is(sidecar: FakeSidecar, client: AsyncSessionClient) -> None:
    app = FastAPI(dependencies=[verify_session(require={"role": "admin"})])
    install(app, client=client)

    @app.get("/")
    async def route() -> None: ...

    bearers = [("Authorization", f"Bearer {sidecar.issue_token(claims={'role': role})}") for role in ("admin", "guest")]
    statuses = [(await call_asgi(app, Sent("GET", "/", [bearer]))).status for bearer in bearers]
    assert statuses == [200, 403]


def test_openapi_shows_the_bearer_token_and_the_cookie() -> None:
    schema = fastapi_app.application(BY_COOKIE).openapi()

    assert schema["components"]["securitySchemes"] == {
        "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "sessionCookie": {"type": "apiKey", "in": "cookie", "name": "session"},
    }
    assert schema["paths"]["/required"]["get"]["security"] == [{"accessToken": []}, {"sessionCookie": []}]
    assert "security" not in schema["paths"]["/by-hand"]["get"]


def test_openapi_shows_what_the_sign_out_route_takes() -> None:
    """By itself, too: no other route has to show the scheme first."""
    app = FastAPI()
    install(app, policy=BY_COOKIE)
    app.include_router(sign_out_router("/leave"))

    schema = app.openapi()

    route = schema["paths"]["/leave"]["post"]
    assert route["security"] == [{"accessToken": []}, {"sessionCookie": []}]
    assert schema["components"]["securitySchemes"].keys() == {"accessToken", "sessionCookie"}
    (scope,) = route["parameters"]
    assert (scope["name"], scope["in"], scope["required"]) == ("scope", "query", False)
    assert scope["schema"]["enum"] == ["THIS_SESSION", "ALL_SESSIONS", "OTHER_SESSIONS"]


def test_openapi_names_no_cookie_that_the_policy_does_not() -> None:
    app = fastapi_app.application(WebPolicy())

    assert app.openapi() == app.openapi()
    assert list(app.openapi()["components"]["securitySchemes"]) == ["accessToken"]
    assert app.openapi()["paths"]["/required"]["get"]["security"] == [{"accessToken": []}]


async def test_the_client_is_closed_with_the_lifespan_and_the_app_can_start_again(sidecar: FakeSidecar) -> None:
    """And a lifespan of the app's own still runs."""
    told: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, str]]:
        told.append("begun")
        yield {"kept": "state"}
        told.append("ended")

    app = FastAPI(lifespan=lifespan)
    installation = install(app, target=sidecar.target)
    clients: list[AsyncSessionClient] = []
    for _ in range(2):
        async with app.router.lifespan_context(app) as state:
            assert state == {"kept": "state"}
            clients.append(installation.client)
            await installation.client.serving_status()
    assert told == ["begun", "ended"] * 2
    assert clients[0] is not clients[1]
    with pytest.raises(Exception, match="closed"):
        await clients[1].serving_status()
    await installation.client.close()


async def test_an_app_made_at_import_asks_the_sidecar_that_is_there_when_it_is_started(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the tests of a service need not make its app anew for each of their sidecars."""
    app = fastapi_app.application(WebPolicy())
    with FakeSidecar() as another:
        for running in (sidecar, another):
            monkeypatch.setenv("SIDEGATE_TARGET", running.target)
            headers = [("Authorization", f"Bearer {running.issue_token()}")]
            async with app.router.lifespan_context(app):
                assert (await call_asgi(app, Sent("GET", "/required", headers))).status == 200


def test_a_target_that_cannot_be_one_is_told_when_the_app_is_made(
    sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDEGATE_TARGET", "http://sidecar")

    install(FastAPI(), client=AsyncSessionClient(sidecar.target))

    with pytest.raises(ValueError, match="SIDEGATE_TARGET"):
        install(FastAPI())


async def test_a_client_of_the_callers_is_left_open(client: AsyncSessionClient) -> None:
    app = FastAPI()
    install(app, client=client)

    async with app.router.lifespan_context(app):
        pass

    await client.serving_status()


def test_an_app_takes_a_target_or_a_client_not_both(sidecar: FakeSidecar) -> None:
    with pytest.raises(ValueError, match="one of the two"):
        install(FastAPI(), target=sidecar.target, client=AsyncSessionClient(sidecar.target))


async def test_starlette_alone_is_enough(sidecar: FakeSidecar, client: AsyncSessionClient) -> None:
    async def who(request: Request) -> Response:
        session = await starlette_integration.get_session(request, check_database=True)
        return JSONResponse({"user": session.user_id})

    app = Starlette(
        routes=[Route("/who", who), Route("/sign-out", starlette_integration.sign_out_endpoint, methods=["POST"])]
    )
    starlette_integration.install(app, client=client)
    headers = [("Authorization", f"Bearer {sidecar.issue_token()}")]

    assert (await call_asgi(app, Sent("GET", "/who", headers))).body == {"user": "ada"}
    assert (await call_asgi(app, Sent("POST", "/sign-out", headers))).status == 200
    assert (await call_asgi(app, Sent("GET", "/who", headers))).body["reason"] == "SESSION_REVOKED"


async def test_an_app_without_an_installation_says_what_to_call() -> None:
    async def who(request: Request) -> Response:
        await starlette_integration.get_session(request)
        return Response()

    with pytest.raises(RuntimeError, match="install"):
        await call_asgi(Starlette(routes=[Route("/who", who)]), Sent("GET", "/who"))


@pytest.mark.parametrize("path", ["/required", "/async/required"])
async def test_django_serves_both_kinds_of_views_under_both_kinds_of_server(sidecar: FakeSidecar, path: str) -> None:
    from django.test.utils import override_settings

    from tests.integration.web import django_app

    sent = Sent("GET", path, [("Authorization", f"Bearer {sidecar.issue_token()}")])
    with override_settings(SIDEGATE_TARGET=sidecar.target):
        by_asgi = await call_asgi(django_app.asgi_application, sent)
        by_wsgi = await asyncio.gather(*(asyncio.to_thread(call_wsgi, django_app.wsgi_application, sent) for _ in "12"))

    assert [(reply.status, reply.body) for reply in (by_asgi, *by_wsgi)] == [(200, {"user": "ada"})] * 3


async def test_djangos_middleware_requires_a_session_where_nothing_else_is_said(sidecar: FakeSidecar) -> None:
    from django.test.utils import override_settings

    from tests.integration.web import django_app

    good = Sent("GET", "/undecorated", [("Authorization", f"Bearer {sidecar.issue_token()}")])
    with override_settings(SIDEGATE_TARGET=sidecar.target):
        for sent, status in ((good, 200), (Sent("GET", "/undecorated"), 401)):
            by_asgi = await call_asgi(django_app.asgi_application, sent)
            by_wsgi = await asyncio.to_thread(call_wsgi, django_app.wsgi_application, sent)
            assert [by_asgi.status, by_wsgi.status] == [status, status]


@pytest.fixture
def django_request(sidecar: FakeSidecar) -> Any:
    """One that brings a token, once Django has its settings."""
    import_module("tests.integration.web.django_app")
    from django.test import RequestFactory

    return RequestFactory().post("/", headers={"Authorization": f"Bearer {sidecar.issue_token()}"})


@pytest.mark.parametrize("waits", [django_get_session, django_sign_out])
async def test_what_would_hold_up_djangos_event_loop_says_so(
    sidecar: FakeSidecar, django_request: Any, waits: Callable[..., Any]
) -> None:
    from django.core.exceptions import SynchronousOnlyOperation
    from django.test import override_settings

    with override_settings(SIDEGATE_TARGET=sidecar.target):
        with pytest.raises(SynchronousOnlyOperation, match="sync_to_async"):
            waits(django_request)

        assert await sync_to_async(waits)(django_request)


@pytest.mark.parametrize("setting", [{"SIDEGATE_POLICY": "supertokens"}, {"SIDEGATE_TIMEOUT": "1.0"}], ids=str)
async def test_a_setting_of_the_wrong_type_is_named(
    sidecar: FakeSidecar, django_request: Any, setting: dict[str, str]
) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.test import override_settings

    (name,) = setting
    with override_settings(SIDEGATE_TARGET=sidecar.target, **setting), pytest.raises(ImproperlyConfigured, match=name):
        await sync_to_async(django_get_session)(django_request)
