"""What gRPC servers ask of a call, and how it is refused. The two kinds of interceptors share this."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from sidegate.errors import ClientClosed, ForkUnsupported, SessionRejected, VerificationUnavailable
from sidegate.failures import ERROR_DOMAIN, STATUS_DETAILS_KEY
from sidegate.integrations.answers import Refusal
from sidegate.integrations.credentials import IncomingRequest
from sidegate.integrations.guard import RouteRules, route_rules
from sidegate.integrations.refusals import ClaimRequirementFailed, CredentialsRefused
from sidegate.integrations.requirements import Requirements
from sidegate.verdicts import Session

PerMethod: TypeAlias = bool | Mapping[str, bool] | Callable[[str], bool]
"""One answer for every method, or one by its path, e.g. "/shop.v1.Orders/List". A mapping need not name all."""

_PATH = re.compile(r"/[^/]+/[^/]+")

_log = logging.getLogger("sidegate.integrations")

SESSION: ContextVar[Session | None] = ContextVar("sidegate_session")


def current_session() -> Session:
    """Whose session the call being served belongs to.

    Raises:
        LookupError: It has none: no session is required of its method and it brings none, or no interceptor ran.
    """
    session = SESSION.get(None)
    if session is None:
        raise LookupError("the call being served has no session")
    return session


class CallRules:
    """What each method asks of a call.

    Args:
        check_database: Ask the session database too.
        session_required: Refuse a call that brings no token. One that brings a bad token is refused in any case.
        require: What every session must meet, as for `route_rules`.
        audiences: The token's `aud` must name one of these. Empty: the issuer's own decide.

    Raises:
        TypeError: `require` or `audiences` is of the wrong type.
        ValueError: A mapping names what cannot be the path of a method.
    """

    def __init__(
        self, *, check_database: PerMethod, session_required: PerMethod, require: Requirements, audiences: Sequence[str]
    ) -> None:
        self._check_database = _by_path("check_database", check_database, default=False)
        self._session_required = _by_path("session_required", session_required, default=True)
        self._every = route_rules(require=require, audiences=audiences)

    def of(self, path: str) -> RouteRules:
        """What that method asks."""
        return replace(
            self._every, check_database=self._check_database(path), session_required=self._session_required(path)
        )


@dataclass(frozen=True, slots=True)
class CallRefused:
    """How a call is refused. `trailers` hold a google.rpc.Status, so that callers need not match on messages."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, bytes], ...]


def incoming(metadata: Iterable[tuple[str, str | bytes]] | None) -> IncomingRequest:
    """What credentials are read from. Metadata have no cookies."""
    found = [(key, value) for key, value in metadata or () if isinstance(value, str)]
    return IncomingRequest("POST", lambda name: [value for key, value in found if key == name])


def call_refused(error: Refusal) -> CallRefused:
    """UNAUTHENTICATED for a token that is missing or not good, PERMISSION_DENIED for a session that does not meet what
    is required, UNAVAILABLE for no verdict. The reasons are those of errors.proto.
    """
    match error:
        case SessionRejected():
            metadata = {"rejection_reason": str(error.reason), "next_action": str(error.next_action)}
            return _refused(grpc.StatusCode.UNAUTHENTICATED, error.message, "UNAUTHENTICATED", metadata)
        case ClaimRequirementFailed():
            metadata = {"claim": error.requirement}
            return _refused(grpc.StatusCode.PERMISSION_DENIED, error.message, "PERMISSION_DENIED", metadata)
        case CredentialsRefused():
            metadata = {"problem": str(error.problem)}
            return _refused(grpc.StatusCode.UNAUTHENTICATED, error.message, "UNAUTHENTICATED", metadata)
        case VerificationUnavailable() | ClientClosed() | ForkUnsupported():
            # The message names the target and its state: for operators, and never a token.
            _log.warning("no verdict could be had: %s", error)
            reason = error.reason if isinstance(error, VerificationUnavailable) else None
            return _refused(grpc.StatusCode.UNAVAILABLE, "nobody could say whether the token is good", reason, {})
        case _:
            return _refused(grpc.StatusCode.UNAUTHENTICATED, error.message, "UNAUTHENTICATED", {})


def _refused(code: grpc.StatusCode, message: str, reason: str | None, metadata: Mapping[str, str]) -> CallRefused:
    status = Status(code=_number(code), message=message)
    if reason is not None:
        packed = AnyMessage()
        packed.Pack(ErrorInfo(reason=reason, domain=ERROR_DOMAIN, metadata=metadata))
        status.details.append(packed)
    return CallRefused(code, message, ((STATUS_DETAILS_KEY, status.SerializeToString()),))


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number


def _by_path(name: str, setting: PerMethod, *, default: bool) -> Callable[[str], bool]:
    if isinstance(setting, bool):
        return lambda path: setting
    if isinstance(setting, Mapping):
        named: Mapping[str, bool] = cast("Any", setting)  # pyright takes it for something callable, too
        for path in named:
            if not _PATH.fullmatch(path):
                raise ValueError(f"{name} names {path!r}; write /package.Service/Method")
        return lambda path: named.get(path, default)
    return setting
