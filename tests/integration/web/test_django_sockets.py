"""WebSockets of a Django project that end with their sessions."""

import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from sidegate import AsyncSessionClient
from sidegate.testing import FakeSidecar

from tests.integration.web import django_app
from tests.integration.web.django_socket_app import behind_starlette, beside_a_consumer
from tests.integration.web.in_process import Asgi, Sent, call_asgi
from tests.integration.web.socket_peer import Socket


@pytest.fixture
async def client(sidecar: FakeSidecar) -> AsyncIterator[AsyncSessionClient]:
    async with AsyncSessionClient(sidecar.target, timeout=20.0) as connected:
        yield connected


@pytest.mark.parametrize("arrange", [behind_starlette, beside_a_consumer])
async def test_a_socket_beside_django_is_closed_when_its_session_is_revoked(
    sidecar: FakeSidecar, client: AsyncSessionClient, arrange: Callable[[Asgi, AsyncSessionClient], Asgi]
) -> None:
    from django.test.utils import override_settings

    app = arrange(django_app.asgi_application, client)
    handle = str(uuid.uuid4())
    token = sidecar.issue_token("ada", handle)
    socket, other = (Socket(app, of_one) for of_one in (token, sidecar.issue_token("ada")))
    await socket.accepted()
    await other.accepted()
    with override_settings(SIDEGATE_TARGET=sidecar.target):
        by_http = Sent("GET", "/async/required", [("Authorization", f"Bearer {token}")])
        assert (await call_asgi(app, by_http)).body == {"user": "ada"}

    sidecar.revoke_session(handle)

    assert await socket.hear() == {"type": "websocket.close", "code": 1008, "reason": "SESSION_REVOKED"}
    socket.hang_up()  # what a server says once it has closed
    await socket.handler
    other.say("still here")
    assert (await other.hear())["text"] == "still here"
    other.hang_up()
    await other.handler


async def test_a_socket_beside_django_is_refused_without_a_token(client: AsyncSessionClient) -> None:
    socket = Socket(behind_starlette(django_app.asgi_application, client), "")

    assert (await socket.hear())["type"] == "websocket.close"
    await socket.handler
