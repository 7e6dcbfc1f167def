"""sidegate in gRPC servers: an interceptor, for servers with threads and for asyncio ones.

    interceptor = SessionInterceptor(SessionClient(), check_database={"/shop.v1.Orders/Cancel": True})
    server = grpc.server(ThreadPoolExecutor(), interceptors=[interceptor])

    def List(self, request, context):
        user_id = current_session().user_id

The token comes in the metadata `authorization`, as "Bearer" and the token.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

import grpc
import grpc.aio

from sidegate.async_session_client import AsyncSessionClient
from sidegate.integrations import guard
from sidegate.integrations.answers import REFUSALS
from sidegate.integrations.credentials import IncomingRequest
from sidegate.integrations.grpc_calls import SESSION, CallRules, PerMethod, call_refused, current_session, incoming
from sidegate.integrations.policy import WebPolicy
from sidegate.integrations.requirements import Requirements
from sidegate.session_client import SessionClient

__all__ = ["AioSessionInterceptor", "PerMethod", "SessionInterceptor", "current_session"]

_POLICY = WebPolicy()


class SessionInterceptor(grpc.ServerInterceptor):
    """Lets a call through if its token is good; `current_session` then says whose session it is.

    The arguments but the client are those of `CallRules`. The client belongs to the caller.
    """

    def __init__(
        self,
        client: SessionClient,
        *,
        check_database: PerMethod = False,
        session_required: PerMethod = True,
        require: Requirements = (),
        audiences: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._rules = CallRules(
            check_database=check_database, session_required=session_required, require=require, audiences=audiences
        )

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # a handler of any of four kinds, or None
        """The method's handler, behind the check."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None  # there is no such method, and everybody may know
        rules = self._rules.of(handler_call_details.method)
        request = incoming(handler_call_details.invocation_metadata)
        make, serve = _parts(handler)

        # gRPC runs each call in a context of its own, generators too, so what is set stays in it.
        def items(message: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self._admit(rules, request, context)
            yield from serve(message, context)

        def result(message: Any, context: grpc.ServicerContext) -> Any:
            self._admit(rules, request, context)
            return serve(message, context)

        checked = items if handler.response_streaming else result
        return make(checked, handler.request_deserializer, handler.response_serializer)

    def _admit(self, rules: guard.RouteRules, request: IncomingRequest, context: grpc.ServicerContext) -> None:
        try:
            session = guard.get_session(self._client, request, _POLICY, rules)
        except REFUSALS as error:
            refused = call_refused(error)
            context.set_trailing_metadata(refused.trailers)
            context.abort(refused.code, refused.message)
        SESSION.set(session)


class AioSessionInterceptor(grpc.aio.ServerInterceptor):
    """`SessionInterceptor` for asyncio servers, whose handlers must be asynchronous too."""

    def __init__(
        self,
        client: AsyncSessionClient,
        *,
        check_database: PerMethod = False,
        session_required: PerMethod = True,
        require: Requirements = (),
        audiences: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._rules = CallRules(
            check_database=check_database, session_required=session_required, require=require, audiences=audiences
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # a handler of any of four kinds, or None
        """The method's handler, behind the check. Raises: TypeError, if it is not asynchronous."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # there is no such method, and everybody may know
        rules = self._rules.of(handler_call_details.method)
        request = incoming(handler_call_details.invocation_metadata)
        make, serve = _parts(handler)

        # Each call is served in a task of its own, so what is set stays in it.
        async def items(message: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> AsyncIterator[Any]:
            await self._admit(rules, request, context)
            async for item in serve(message, context):
                yield item

        async def result(message: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
            await self._admit(rules, request, context)
            return await serve(message, context)

        if inspect.isasyncgenfunction(serve):
            checked: Any = items
        elif inspect.iscoroutinefunction(serve):
            checked = result
        else:
            raise TypeError(f"the handler of {handler_call_details.method} is not asynchronous")
        return make(checked, handler.request_deserializer, handler.response_serializer)

    async def _admit(
        self, rules: guard.RouteRules, request: IncomingRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> None:
        try:
            session = await guard.get_session_async(self._client, request, _POLICY, rules)
        except REFUSALS as error:
            refused = call_refused(error)
            await context.abort(refused.code, refused.message, refused.trailers)
        SESSION.set(session)


def _parts(handler: Any) -> tuple[Any, Callable[..., Any]]:
    """What makes a handler of the same kind, and the function that serves this one's calls."""
    kinds = cast("Any", grpc)  # the stubs lack what makes handlers
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return kinds.unary_unary_rpc_method_handler, handler.unary_unary
        case False, True:
            return kinds.unary_stream_rpc_method_handler, handler.unary_stream
        case True, False:
            return kinds.stream_unary_rpc_method_handler, handler.stream_unary
        case _:
            return kinds.stream_stream_rpc_method_handler, handler.stream_stream
