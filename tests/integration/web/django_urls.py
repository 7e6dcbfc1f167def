"""The routes that the tests ask for, in Django: sync views, and async ones under /async."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from sidegate.integrations.django import get_session, session_not_required, sign_out_view, verify_session

from tests.integration.web.routes import is_ada, user_of

RULES: dict[str, dict[str, Any]] = {
    "required": {},
    "optional": {"session_required": False},
    "database": {"check_database": True},
    "admin": {"require": {"role": "admin", "level": 2}},
    "ada": {"require": is_ada},
    "audience": {"audiences": ["orders"]},
    "tenant": {"tenant_id": "acme"},
}


def sync_view(**rules: Any) -> Callable[..., Any]:
    @verify_session(**rules)
    def view(request: Any) -> JsonResponse:
        return JsonResponse(user_of(request.sidegate_session))

    return view


def async_view(**rules: Any) -> Callable[..., Any]:
    @verify_session(**rules)
    async def view(request: Any) -> JsonResponse:
        return JsonResponse(user_of(request.sidegate_session))

    return view


@method_decorator(verify_session(), name="dispatch")
class ClassBased(View):
    def get(self, request: Any) -> JsonResponse:
        return JsonResponse(user_of(request.sidegate_session))


@method_decorator(verify_session(), name="dispatch")
class AsyncClassBased(View):
    async def get(self, request: Any) -> JsonResponse:
        return JsonResponse(user_of(request.sidegate_session))


@session_not_required
def by_hand(request: HttpRequest) -> JsonResponse:
    return JsonResponse(user_of(get_session(request)))


def undecorated(request: Any) -> JsonResponse:
    return JsonResponse(user_of(request.sidegate_session))


urlpatterns = [
    *(path(name, sync_view(**rules)) for name, rules in RULES.items()),
    *(path(f"async/{name}", async_view(**rules)) for name, rules in RULES.items()),
    path("class-based", ClassBased.as_view()),
    path("async/class-based", AsyncClassBased.as_view()),
    path("by-hand", by_hand),
    path("undecorated", undecorated),
    path("sign-out", sign_out_view),
]
