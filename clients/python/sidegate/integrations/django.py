"""sidegate in Django, under WSGI and ASGI: one line above a view, sync or async, and no middleware needed.

    @verify_session(check_database=True)
    def orders(request: HttpRequest) -> HttpResponse:
        return JsonResponse({"user": request.sidegate_session.user_id})

    urlpatterns = [path("orders", orders), path("sign-out", sign_out_view)]

Settings, all optional: SIDEGATE_POLICY, a `WebPolicy` (bearer tokens); SIDEGATE_TARGET, where the sidecar listens (as
`SessionClient` finds it); SIDEGATE_TIMEOUT, seconds (1.0).
"""

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from http.cookies import Morsel
from typing import Any, Literal, TypeVar, cast, overload

from sidegate.async_session_client import AsyncSessionClient
from sidegate.integrations import guard, signing_out
from sidegate.integrations.answers import REFUSALS, Answer, answer_to
from sidegate.integrations.credentials import IncomingRequest
from sidegate.integrations.extras import missing
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.requirements import Requirements
from sidegate.session_client import SessionClient
from sidegate.targets import SESSION_TARGET, SESSION_TARGET_VARIABLE, Target, resolve_target
from sidegate.verdicts import Session, SignOutScope

try:
    import asgiref.sync
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.handlers.asgi import ASGIRequest
    from django.http import HttpRequest, HttpResponse, JsonResponse
    from django.utils.asyncio import async_unsafe
    from django.views import View
    from django.views.decorators.csrf import csrf_exempt
    from django.views.decorators.http import require_POST
except ModuleNotFoundError as error:
    raise missing(error, "django") from error

ViewT = TypeVar("ViewT", bound=Callable[..., Any])

_OWN_RULES = "sidegate_has_own_rules"


def verify_session(
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> Callable[[ViewT], ViewT]:
    """A decorator for views: `request.sidegate_session` is the session, or None where none is required.

    The arguments are those of `route_rules`. Requests that are refused never reach the view.
    """
    rules = guard.route_rules(
        check_database=check_database,
        session_required=session_required,
        require=require,
        audiences=audiences,
        tenant_id=tenant_id,
    )

    def decorate(view: ViewT) -> ViewT:
        verified: Callable[..., Any]
        if _is_async(view) or _is_async_dispatch(view):

            @wraps(view)
            async def verified_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                refused = await _admit_async(request, rules)
                return await view(request, *args, **kwargs) if refused is None else refused

            verified = verified_async
        else:

            @wraps(view)
            def verified_sync(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                refused = _admit(request, rules)
                return view(request, *args, **kwargs) if refused is None else refused

            verified = verified_sync
        setattr(verified, _OWN_RULES, True)
        return cast("ViewT", verified)

    return decorate


def session_not_required(view: ViewT) -> ViewT:
    """A decorator for views that `VerifySessionMiddleware` is to let through unasked, e.g. signing in."""
    setattr(view, _OWN_RULES, True)
    return view


class VerifySessionMiddleware:
    """Requires a session of every view but those under `verify_session` or `session_not_required`, and answers what
    `get_session` raises in any view. Its place in MIDDLEWARE does not matter: it acts once the view is known.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if _is_async(get_response):
            asgiref.sync.markcoroutinefunction(self)
            self.process_view: Callable[..., Any] = self._process_view_async
        else:
            self.process_view = self._process_view

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer what `get_session` raised."""
        return _response_from(answer_to(exception, _policy())) if isinstance(exception, REFUSALS) else None

    def _process_view(self, request: HttpRequest, view: Callable[..., Any], *_: object) -> HttpResponse | None:
        return None if hasattr(view, _OWN_RULES) else _admit(request, _DEFAULT_RULES)

    async def _process_view_async(
        self, request: HttpRequest, view: Callable[..., Any], *_: object
    ) -> HttpResponse | None:
        return None if hasattr(view, _OWN_RULES) else await _admit_async(request, _DEFAULT_RULES)


@overload
def get_session(
    request: HttpRequest,
    *,
    check_database: bool = ...,
    session_required: Literal[True] = ...,
    require: Requirements = ...,
    audiences: Sequence[str] = ...,
    tenant_id: str | None = ...,
) -> Session: ...
@overload
def get_session(
    request: HttpRequest,
    *,
    check_database: bool = ...,
    session_required: bool,
    require: Requirements = ...,
    audiences: Sequence[str] = ...,
    tenant_id: str | None = ...,
) -> Session | None: ...
@async_unsafe
def get_session(
    request: HttpRequest,
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> Session | None:
    """Whose session a request belongs to. None: it brings no token, and none is required.

    The arguments are those of `route_rules`. What it raises is answered by `VerifySessionMiddleware`. It waits, so an
    async view calls it by `sync_to_async`.

    Raises:
        SynchronousOnlyOperation: Of Django, where it would hold up an event loop.
    """
    rules = guard.route_rules(
        check_database=check_database,
        session_required=session_required,
        require=require,
        audiences=audiences,
        tenant_id=tenant_id,
    )
    return guard.get_session(_clients()[0], _incoming(request), _policy(), rules)


@async_unsafe
def sign_out(request: HttpRequest, scope: SignOutScope | str | None = None) -> HttpResponse:
    """End sessions of the user who sends the request; the answer to send. As docs/web-frameworks.md says. It waits, as
    `get_session` does.
    """
    return _response_from(signing_out.sign_out(_clients()[0], _incoming(request), _policy(), scope))


@session_not_required
@csrf_exempt  # the policy's own rule is applied, and it applies to cookies alone
@require_POST
def sign_out_view(request: HttpRequest) -> HttpResponse:
    """`sign_out` as a view, for POST. The query parameter `scope` names the scope."""
    return sign_out(request, request.GET.get("scope"))


_DEFAULT_RULES = guard.route_rules()


def _admit(request: HttpRequest, rules: guard.RouteRules) -> HttpResponse | None:
    """Hand the request its session. The answer, if it is refused."""
    policy = _policy()
    try:
        session = guard.get_session(_clients()[0], _incoming(request), policy, rules)
    except REFUSALS as error:
        return _response_from(answer_to(error, policy))
    cast("Any", request).sidegate_session = session
    return None


async def _admit_async(request: HttpRequest, rules: guard.RouteRules) -> HttpResponse | None:
    """As `_admit`."""
    if not isinstance(request, ASGIRequest):
        # Under WSGI each request of an async view has an event loop of its own, and a client serves one loop at a time.
        return await asgiref.sync.sync_to_async(_admit, thread_sensitive=False)(request, rules)
    policy = _policy()
    try:
        session = await guard.get_session_async(_clients()[1], _incoming(request), policy, rules)
    except REFUSALS as error:
        return _response_from(answer_to(error, policy))
    cast("Any", request).sidegate_session = session
    return None


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine. Until Python 3.12 inspect is blind to what Django marks as such."""
    return asgiref.sync.iscoroutinefunction(function)  # pyright: ignore[reportDeprecated] # not on our oldest Python


def _is_async_dispatch(view: Callable[..., Any] | None) -> bool:
    """Whether it is a method of a class-based view whose handlers are asynchronous, as `method_decorator` passes it on,
    perhaps through other decorators. `dispatch` is then no coroutine function, and what it returns is awaited.
    """
    while view is not None:
        owner = getattr(getattr(view, "func", view), "__self__", None)
        if isinstance(owner, View):
            return bool(owner.view_is_async)
        view = getattr(view, "__wrapped__", None)
    return False


def _policy() -> WebPolicy:
    policy = getattr(settings, "SIDEGATE_POLICY", None)
    if policy is None:
        return WebPolicy()
    if not isinstance(policy, WebPolicy):
        raise ImproperlyConfigured("SIDEGATE_POLICY must be a sidegate.integrations.policy.WebPolicy")
    return policy


def _clients() -> tuple[SessionClient, AsyncSessionClient]:
    """The process's clients. They connect with their first use, and end with the process. In tests the settings and the
    environment change; then those of before have served their time.
    """
    target = getattr(settings, "SIDEGATE_TARGET", None)
    timeout = getattr(settings, "SIDEGATE_TIMEOUT", 1.0)
    if not isinstance(timeout, (int, float)):
        raise ImproperlyConfigured("SIDEGATE_TIMEOUT must be a number of seconds")
    wanted = resolve_target(target, SESSION_TARGET_VARIABLE, SESSION_TARGET), timeout
    clients = _kept.get(wanted)
    if clients is None:
        with _keeping:
            if wanted not in _kept:
                for blocking, _ in _kept.values():  # what the other has open ends with its event loop
                    blocking.close()
                _kept.clear()
                _kept[wanted] = SessionClient(target, timeout=timeout), AsyncSessionClient(target, timeout=timeout)
            clients = _kept[wanted]
    return clients


_kept: dict[tuple[Target, float], tuple[SessionClient, AsyncSessionClient]] = {}
_keeping = threading.Lock()


def _response_from(answer: Answer) -> HttpResponse:
    response = JsonResponse(dict(answer.body), status=answer.status)
    for name, value in answer.headers:
        response.headers[name] = value
    for cookie in answer.cleared_cookies:
        morsel: Morsel[str] = Morsel()
        morsel.set(cookie.name, "", "")
        morsel.update({"expires": "Thu, 01 Jan 1970 00:00:00 GMT", "max-age": "0", "path": cookie.path})
        morsel.update({"domain": cookie.domain or "", "samesite": cookie.same_site})
        morsel["secure"] = cookie.secure
        morsel["httponly"] = cookie.http_only
        # Not under its name alone: there may be one of that name for each of several paths.
        response.cookies[f"{cookie.name} {cookie.path} {cookie.domain}"] = morsel
    return response


def _incoming(request: HttpRequest) -> IncomingRequest:
    def header(name: str) -> Sequence[str]:
        value = request.META.get(f"HTTP_{name.upper().replace('-', '_')}")
        return () if value is None else (value,)

    return IncomingRequest(request.method or "", header)
