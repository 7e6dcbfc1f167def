"""The outermost layer of every RPC: bytes become messages, exceptions become statuses, and nothing else gets out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.rpc.shape import Shape, check_shape, shape_of
from sidegate_sidecar.rpc.status import status_from

Context: TypeAlias = Any
"""What grpc hands a handler. The stubs of generated code and those of grpc.aio do not agree on its type."""
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Unanswered:
    """Counts calls that are being answered."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def begin(self) -> None:
        """One more."""
        self._count += 1
        self._none.clear()

    def end(self) -> None:
        """One less."""
        self._count -= 1
        if not self._count:
            self._none.set()

    async def wait_for_none(self) -> None:
        """Return when there is none."""
        await self._none.wait()

    def __len__(self) -> int:
        return self._count


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of every service but reflection, whose streams go both ways.

    Parses requests itself: grpc would answer bytes that are no message with INTERNAL.

    Attributes:
        unanswered: The unary calls in progress.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, _Handler] = {}
        self.unanswered = Unanswered()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["_Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """The handler of a method within the boundary; made once for each method that exists."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: _Handler) -> _Handler:
        parse: Any = handler.request_deserializer  # never None in generated code
        read = partial(_read, parse, shape_of(method))
        return _unary(handler, read, self.unanswered) if handler.unary_unary else _server_streaming(handler, read)


def _unary(handler: _Handler, read: Callable[[bytes], Message], unanswered: Unanswered) -> _Handler:
    answer: Any = handler.unary_unary  # grpc.aio hands out coroutine functions; its stubs know only those of grpc

    async def within_boundary(request: bytes, context: Context) -> Message:
        unanswered.begin()
        try:
            message: Message = await answer(read(request), context)
        except grpc.aio.AbortError:
            raise  # a status already
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a status and no more
            await _abort(context, failure)
        finally:
            unanswered.end()
        return message

    return grpc.unary_unary_rpc_method_handler(within_boundary, response_serializer=handler.response_serializer)


def _server_streaming(handler: _Handler, read: Callable[[bytes], Message]) -> _Handler:
    answer: Any = handler.unary_stream

    async def within_boundary(request: bytes, context: Context) -> AsyncIterator[Message]:
        try:
            # A caller that hangs up ends the handler here and now, not whenever its garbage is collected.
            async with aclosing(answer(read(request), context)) as messages:
                async for message in messages:
                    yield message
        except grpc.aio.AbortError:
            raise  # a status already
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a status and no more
            await _abort(context, failure)

    return grpc.unary_stream_rpc_method_handler(within_boundary, response_serializer=handler.response_serializer)


def _read(parse: Callable[[bytes], Message], shape: Shape, request: bytes) -> Message:
    check_shape(request, shape)
    try:
        return parse(request)
    except DecodeError:
        raise InvalidRequest("request", "not a message of this RPC", reason="UNREADABLE_REQUEST") from None


async def _abort(context: Context, failure: Exception) -> NoReturn:
    library: Any = rpc_status  # its stubs leave the argument without a type
    await context.abort_with_status(library.to_status(status_from(failure)))
    raise AssertionError("abort_with_status returned")
