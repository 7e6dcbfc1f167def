"""A Django service behind sidegate, in one file: settings, views, URLs and both kinds of applications."""

from typing import Any

import django
from django.conf import settings
from django.http import JsonResponse
from sidegate.integrations.policy import WebPolicy

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="nothing here signs anything",  # noqa: S106 - an example has no secrets
    SIDEGATE_POLICY=WebPolicy(cookie="session"),
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 - Django wants its settings first
from django.core.wsgi import get_wsgi_application  # noqa: E402 - as above
from django.urls import path  # noqa: E402 - as above
from sidegate.integrations.django import sign_out_view, verify_session  # noqa: E402 - as above


@verify_session(session_required=False)
def greet(request: Any) -> JsonResponse:
    """For everybody."""
    session = request.sidegate_session
    return JsonResponse({"hello": session.user_id if session else "stranger"})


@verify_session()
async def orders(request: Any) -> JsonResponse:
    """For who is signed in."""
    return JsonResponse({"orders of": request.sidegate_session.user_id})


@verify_session(check_database=True)
def cancel(request: Any) -> JsonResponse:
    """Worth a look into the session database."""
    return JsonResponse({"cancelled by": request.sidegate_session.user_id})


@verify_session(require={"role": "admin"})
def admin(request: Any) -> JsonResponse:
    """For whose token has the claim."""
    return JsonResponse({"administrator": request.sidegate_session.user_id})


urlpatterns = [
    path("", greet),
    path("orders", orders),
    path("orders/cancel", cancel),
    path("admin", admin),
    path("sign-out", sign_out_view),
]

asgi = get_asgi_application()
wsgi = get_wsgi_application()
