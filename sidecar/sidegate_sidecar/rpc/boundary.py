"""The outermost layer of every RPC: bytes become messages, exceptions become statuses, and nothing else gets out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, NoReturn, Protocol, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.rpc.limits import Answer, Limit, Limits
from sidegate_sidecar.rpc.shape import Shape, check_shape, shape_of
from sidegate_sidecar.rpc.status import status_from

Context: TypeAlias = Any
"""What grpc hands a handler. The stubs of generated code and those of grpc.aio do not agree on its type."""
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Read: TypeAlias = Callable[[bytes], Message]
_Admit: TypeAlias = Callable[[bytes, Context], Awaitable[Message]]


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


class Gate(Protocol):
    """Lets calls through, or not."""

    async def admit(self, method: str, read: Callable[[bytes], Message], request: bytes, context: Context) -> Message:
        """The request as a message, if its caller may make it."""
        ...

    async def admit_stream(self, method: str, context: Context) -> None:
        """Return if the caller may open a stream of requests."""
        ...

    async def refuse_unknown(self, method: str, context: Context) -> NoReturn:
        """End the call of a method that does not exist."""
        ...


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps the handlers of every service. Of reflection, whose streams go both ways, the gate and the limit alone.

    Parses requests itself: grpc would answer bytes that are no message with INTERNAL.

    Args:
        gate: Stands before every handler. None: whoever reaches the server may call what it serves.

    Attributes:
        limits: What its server may have in progress.
        unanswered: The unary calls in progress.
    """

    def __init__(self, gate: Gate | None = None) -> None:
        self._gate = gate
        self._wrapped: dict[str, _Handler] = {}
        self.limits = Limits()
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
        if handler is None:
            return None if self._gate is None else _unknown(method, self._gate)  # not kept: names are without end
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: _Handler) -> _Handler:
        if handler.request_streaming:
            return _both_streaming(method, handler, self._gate, self.limits)
        parse: Any = handler.request_deserializer  # never None in generated code
        read = partial(_read, parse, shape_of(method))
        admit = None if self._gate is None else _admission(method, read, self._gate, self.limits)
        if handler.unary_unary:
            answer: Any = handler.unary_unary  # a coroutine function; its stubs know only those of grpc
            return _unary(handler, self.limits.of_call(method, answer), read, admit, self.unanswered)
        return _server_streaming(handler, read, admit, self.limits.of_streams(method))


def _admission(method: str, read: _Read, gate: Gate, limits: Limits) -> _Admit:
    async def admit(request: bytes, context: Context) -> Message:
        return await limits.admit(partial(gate.admit, method, read, request, context))

    return admit


def _unary(handler: _Handler, answer: Answer, read: _Read, admit: _Admit | None, unanswered: Unanswered) -> _Handler:

    async def within_boundary(request: bytes, context: Context) -> Message:
        unanswered.begin()
        try:
            asked = read(request) if admit is None else await admit(request, context)
            message: Message = await answer(asked, context)
        except grpc.aio.AbortError:
            raise  # a status already
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a status and no more
            await _abort(context, failure)
        finally:
            unanswered.end()
        return message

    return grpc.unary_unary_rpc_method_handler(within_boundary, response_serializer=handler.response_serializer)


def _server_streaming(handler: _Handler, read: _Read, admit: _Admit | None, limit: Limit) -> _Handler:
    answer: Any = handler.unary_stream

    async def within_boundary(request: bytes, context: Context) -> AsyncIterator[Message]:
        try:
            asked = read(request) if admit is None else await admit(request, context)
            # A caller that hangs up ends the handler here and now, not whenever its garbage is collected.
            with limit.held():
                async with aclosing(answer(asked, context)) as messages:
                    async for message in messages:
                        yield message
        except grpc.aio.AbortError:
            raise  # a status already
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a status and no more
            await _abort(context, failure)

    return grpc.unary_stream_rpc_method_handler(within_boundary, response_serializer=handler.response_serializer)


def _both_streaming(method: str, handler: _Handler, gate: Gate | None, limits: Limits) -> _Handler:
    answer: Any = handler.stream_stream
    limit = limits.of_streams(method)

    async def within_limit(requests: Any, context: Context) -> AsyncIterator[Message]:
        try:
            if gate is not None:
                await limits.admit(partial(gate.admit_stream, method, context))
            limit.enter()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a status and no more
            await _abort(context, failure)
        try:
            async for message in answer(requests, context):
                yield message
        finally:
            limit.leave()

    return grpc.stream_stream_rpc_method_handler(
        within_limit,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _unknown(method: str, gate: Gate) -> _Handler:
    async def refuse(request: bytes, context: Context) -> NoReturn:
        await gate.refuse_unknown(method, context)

    return grpc.unary_unary_rpc_method_handler(refuse)


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
