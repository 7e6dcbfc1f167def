"""sidegate in Flask: `install` once for each app, then one line above a view.

install(app, policy=WebPolicy(cookie="session"))
app.add_url_rule("/sign-out", view_func=sign_out_view, methods=["POST"])

@app.get("/orders")
@verify_session(check_database=True)
def orders() -> ResponseReturnValue:
    return {"user": g.session.user_id}
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

from sidegate.integrations import guard, signing_out
from sidegate.integrations.answers import REFUSALS, Answer, Refusal, answer_to
from sidegate.integrations.credentials import IncomingRequest
from sidegate.integrations.extras import missing
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.requirements import Requirements
from sidegate.session_client import SessionClient
from sidegate.verdicts import Session, SignOutScope

try:
    from flask import Flask, current_app, g, jsonify, request
    from flask.wrappers import Response
except ModuleNotFoundError as error:
    raise missing(error, "flask") from error

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

_EXTENSION = "sidegate"

_guarded_views: WeakSet[Callable[..., Any]] = WeakSet()
"""The views that `verify_session` was put before: those as they were, not those that it made of them."""


class Installation:
    """What `install` gave an app. Its client connects with its first use, so that an app can be made before a fork.

    Attributes:
        policy: How tokens travel.
        client: The app's one client. Whoever ends an app before its process closes it.
    """

    def __init__(self, policy: WebPolicy, client: SessionClient) -> None:
        self.policy = policy
        self.client = client
        self._guards_checked = False

    def check_guards(self) -> None:
        """Before each request. Raises: RuntimeError, as long as a view is served without the guard put before it.

        Whoever writes `@verify_session()` above the route's decorator guards a function that the app does not know.
        """
        if not self._guards_checked:
            _check_guards(current_app.view_functions)
            self._guards_checked = True  # Flask takes no more views once it has served


def install(
    app: Flask, *, policy: WebPolicy | None = None, target: str | None = None, client: SessionClient | None = None
) -> Installation:
    """Give an app its client, and answers for requests that are refused.

    Args:
        policy: How tokens travel. None: as bearer tokens.
        target: Where the sidecar listens. None: as `SessionClient` finds it.
        client: To be used in place of one made here.

    Raises:
        ValueError: Both `target` and `client` are given, or the target cannot be one.
    """
    if target is not None and client is not None:
        raise ValueError("a client has its target already; pass one of the two")
    installation = Installation(policy or WebPolicy(), client or SessionClient(target))
    app.extensions[_EXTENSION] = installation
    app.before_request(installation.check_guards)
    for refusal in REFUSALS:
        app.register_error_handler(refusal, _answer)
    return installation


def verify_session(
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> Callable[[Callable[P, ResultT]], Callable[P, ResultT]]:
    """A decorator for views, below the route's: `g.session` is the session, or None where none is required.

    The arguments are those of `route_rules`. Requests that are refused never reach the view.
    """
    rules = guard.route_rules(
        check_database=check_database,
        session_required=session_required,
        require=require,
        audiences=audiences,
        tenant_id=tenant_id,
    )

    def decorate(view: Callable[P, ResultT]) -> Callable[P, ResultT]:
        @wraps(view)
        def verified(*args: P.args, **kwargs: P.kwargs) -> ResultT:
            g.session = _session(rules)
            return cast("ResultT", current_app.ensure_sync(view)(*args, **kwargs))

        with suppress(TypeError):  # of what cannot be referred to weakly; it is guarded all the same
            _guarded_views.add(view)
        return verified

    return decorate


@overload
def get_session(
    *,
    check_database: bool = ...,
    session_required: Literal[True] = ...,
    require: Requirements = ...,
    audiences: Sequence[str] = ...,
    tenant_id: str | None = ...,
) -> Session: ...
@overload
def get_session(
    *,
    check_database: bool = ...,
    session_required: bool,
    require: Requirements = ...,
    audiences: Sequence[str] = ...,
    tenant_id: str | None = ...,
) -> Session | None: ...
def get_session(
    *,
    check_database: bool = False,
    session_required: bool = True,
    require: Requirements = (),
    audiences: Sequence[str] = (),
    tenant_id: str | None = None,
) -> Session | None:
    """Whose session the current request belongs to. None: it brings no token, and none is required.

    The arguments are those of `route_rules`. What it raises is answered by the handlers that `install` added.
    """
    return _session(
        guard.route_rules(
            check_database=check_database,
            session_required=session_required,
            require=require,
            audiences=audiences,
            tenant_id=tenant_id,
        )
    )


def sign_out(scope: SignOutScope | str | None = None) -> Response:
    """End sessions of the user who sends the current request; the answer to send. As docs/web-frameworks.md says."""
    installation = _installation()
    return _response_from(signing_out.sign_out(installation.client, _incoming(), installation.policy, scope))


def sign_out_view() -> Response:
    """`sign_out` as a view, for POST. The query parameter `scope` names the scope."""
    return sign_out(request.args.get("scope"))


def _check_guards(views: Mapping[str, Callable[..., Any]]) -> None:
    guarded = [getattr(view, "__wrapped__", None) for view in views.values()]
    for endpoint, view in views.items():
        # One that is served with its guard too is meant to be open here.
        if view in _guarded_views and view not in guarded:
            raise RuntimeError(
                f"nothing guards the view {endpoint!r}: verify_session belongs below the route's decorator"
            )


def _session(rules: guard.RouteRules) -> Session | None:
    installation = _installation()
    return guard.get_session(installation.client, _incoming(), installation.policy, rules)


def _installation() -> Installation:
    installation: Installation | None = current_app.extensions.get(_EXTENSION)
    if installation is None:
        raise RuntimeError("sidegate is not installed in this app: call sidegate.integrations.flask.install(app)")
    return installation


def _answer(error: Exception) -> Response:
    return _response_from(answer_to(cast("Refusal", error), _installation().policy))


def _response_from(answer: Answer) -> Response:
    response = jsonify(answer.body)
    response.status_code = answer.status
    for name, value in answer.headers:
        response.headers.add(name, value)
    for cookie in answer.cleared_cookies:
        response.headers.add("Set-Cookie", cookie.clearing())
    return response


def _incoming() -> IncomingRequest:
    return IncomingRequest(request.method, request.headers.getlist)
