"""Django's class-based views, guarded by their `dispatch` as docs/web-frameworks.md says."""

import asyncio
from typing import Any

import pytest
from sidegate import Session
from sidegate.testing import FakeSidecar

from tests.integration.web import django_app
from tests.integration.web.in_process import Sent, call_asgi, call_wsgi

PATHS = ("/class-based", "/async/class-based")


@pytest.fixture(autouse=True)
def target(sidecar: FakeSidecar) -> Any:
    from django.test.utils import override_settings

    with override_settings(SIDEGATE_TARGET=sidecar.target):
        yield


@pytest.mark.parametrize("path", PATHS)
async def test_both_kinds_are_served_and_refused_by_both_kinds_of_servers(sidecar: FakeSidecar, path: str) -> None:
    good = Sent("GET", path, [("Authorization", f"Bearer {sidecar.issue_token()}")])

    for sent, status in ((good, 200), (Sent("GET", path), 401), (Sent("DELETE", path, good.headers), 405)):
        by_asgi = await call_asgi(django_app.asgi_application, sent)
        by_wsgi = await asyncio.to_thread(call_wsgi, django_app.wsgi_application, sent)

        assert [by_asgi.status, by_wsgi.status] == [status, status]


async def test_asking_for_an_asynchronous_one_holds_up_no_other_request(sidecar: FakeSidecar) -> None:
    from django.http import HttpRequest, JsonResponse
    from django.test import AsyncRequestFactory
    from django.utils.decorators import method_decorator
    from django.views import View
    from sidegate.integrations.django import verify_session

    turns = 0
    once_verified: list[int] = []

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def is_met(session: Session) -> bool:
        once_verified.append(turns)
        return True

    @method_decorator(verify_session(require=is_met), name="dispatch")
    class Orders(View):
        async def get(self, request: HttpRequest) -> JsonResponse:
            return JsonResponse({})

    others = asyncio.create_task(turn())
    await asyncio.sleep(0)
    begun = turns
    request = AsyncRequestFactory().get("/", headers={"Authorization": f"Bearer {sidecar.issue_token()}"})
    view: Any = Orders.as_view()
    answer: Any = await view(request)
    others.cancel()

    assert answer.status_code == 200
    assert once_verified > [begun]
