"""The same routes behind every framework, and one way to send them requests."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from sidegate import AsyncSessionClient, SessionClient
from sidegate.integrations.policy import WebPolicy

from tests.integration.web import fastapi_app, flask_app
from tests.integration.web.in_process import Reply, Sent, call_asgi, call_wsgi

CONCURRENCY = 16
PATIENCE = 20.0  # seconds for a verdict: the machine may be busy

Send = Callable[[Sequence[Sent]], list[Reply]]
Face = Callable[[WebPolicy, str], AbstractContextManager[Send]]


@contextmanager
def fastapi(policy: WebPolicy, target: str) -> Generator[Send, None, None]:
    client = AsyncSessionClient(target, timeout=PATIENCE)
    app = fastapi_app.application(policy, client)
    with asyncio.Runner() as runner:
        yield lambda requests: runner.run(_all_by_asgi(app, requests))
        runner.run(client.close())


@contextmanager
def flask(policy: WebPolicy, target: str) -> Generator[Send, None, None]:
    with SessionClient(target, timeout=PATIENCE) as client:
        app = flask_app.application(policy, client)
        yield lambda requests: _all_by_wsgi(app, requests)


@contextmanager
def django_wsgi(policy: WebPolicy, target: str) -> Generator[Send, None, None]:
    from tests.integration.web import django_app

    with _django_settings(policy, target):
        yield lambda requests: _all_by_wsgi(django_app.wsgi_application, requests)


@contextmanager
def django_asgi(policy: WebPolicy, target: str) -> Generator[Send, None, None]:
    """The routes are the async views."""
    from tests.integration.web import django_app

    def send(requests: Sequence[Sent]) -> list[Reply]:
        # Every route under /async has a twin without, but for the few that have no rules of their own.
        own = ("/sign-out", "/by-hand", "/undecorated")
        routed = [
            sent if sent.path.startswith(own) else Sent(sent.method, f"/async{sent.path}", sent.headers)
            for sent in requests
        ]
        return runner.run(_all_by_asgi(django_app.asgi_application, routed))

    with _django_settings(policy, target), asyncio.Runner() as runner:
        yield send


def _django_settings(policy: WebPolicy, target: str) -> AbstractContextManager[object]:
    from django.test.utils import override_settings

    return override_settings(SIDEGATE_POLICY=policy, SIDEGATE_TARGET=target)


FACES: dict[str, Face] = {
    "FastAPI": fastapi,
    "Flask": flask,
    "Django under WSGI": django_wsgi,
    "Django under ASGI": django_asgi,
}


def _all_by_wsgi(application: Any, requests: Sequence[Sent]) -> list[Reply]:
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(partial(call_wsgi, application), requests))


async def _all_by_asgi(application: Any, requests: Sequence[Sent]) -> list[Reply]:
    turns = asyncio.Semaphore(CONCURRENCY)

    async def one(sent: Sent) -> Reply:
        async with turns:
            return await call_asgi(application, sent)

    return await asyncio.gather(*(one(sent) for sent in requests))
