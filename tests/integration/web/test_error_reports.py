"""What an error that a service does not answer shows of a request: error reports print the variables of frames."""

import asyncio
import sys
from typing import Any

import pytest
from sidegate import SidegateError
from sidegate.integrations.policy import WebPolicy
from sidegate.testing import FakeSidecar

from tests.integration.web import django_app

POLICY = WebPolicy(cookie="access-token")  # Django leaves out what is called a token
TOO_MANY = [str(number) for number in range(65)]


@pytest.fixture(autouse=True)
def project() -> object:
    """Django is configured."""
    return django_app


def report_of(request: Any, error: BaseException | None) -> str:
    from django.views.debug import ExceptionReporter

    report: str = ExceptionReporter(request, *sys.exc_info()).get_traceback_html()
    assert type(error).__name__ in report
    return report


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("way", ["header", "cookie"])
def test_a_mistake_in_a_routes_rules_shows_no_token(sidecar: FakeSidecar, kind: str, way: str) -> None:
    from django.http import HttpRequest, HttpResponse
    from django.test import AsyncRequestFactory, RequestFactory
    from django.test.utils import override_settings
    from sidegate.integrations.django import verify_session

    tokens = [sidecar.issue_token()]  # the variables of this frame are reported, too, and in full

    @verify_session(audiences=TOO_MANY)
    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    @verify_session(audiences=TOO_MANY)
    async def async_view(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    def headers() -> dict[str, str]:
        return {"authorization": f"Bearer {tokens[0]}"} if way == "header" else {"cookie": f"access-token={tokens[0]}"}

    def ask() -> tuple[str, str]:
        request: Any = (RequestFactory if kind == "sync" else AsyncRequestFactory)().get("/", headers=headers())
        try:
            view(request) if kind == "sync" else asyncio.run(as_coroutine(async_view, request))
        except SidegateError as error:
            return report_of(request, error), str(error)
        pytest.fail("the rules were taken")

    with override_settings(SIDEGATE_TARGET=sidecar.target, SIDEGATE_POLICY=POLICY):
        report, message = ask()

    assert "accepted_audiences" in message
    assert tokens[0] not in report


async def as_coroutine(view: Any, request: Any) -> Any:
    return await view(request)
