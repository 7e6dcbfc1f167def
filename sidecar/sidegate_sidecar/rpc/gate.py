"""Stands before every RPC of the admin listener: lets nobody through who is not known or may not, and logs each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, TypeAlias

import grpc
from google.protobuf.message import Message

from sidegate_sidecar.access import OPEN_METHODS, Authority, Caller, LookUp, check_reach
from sidegate_sidecar.errors import AccessRefused, Unauthenticated
from sidegate_sidecar.rpc.actor import ACTOR
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.reaches import reaches_of
from sidegate_sidecar.rpc.refusals import RefusalLog
from sidegate_sidecar.rpc.tls_front import Peer

PeerOf: TypeAlias = Callable[[str], Peer | None]
"""Who is on a connection, by what grpc calls the peer."""

_new_log = partial(RefusalLog, "admin_call_refused")


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets calls through. The caller of one that is refused learns no more than that; the log learns why.

    Attributes:
        authority: Says who is calling, and what they may do.
        look_up: The store's, for grants that are bound to tenants.
        only_issuer: What an absent issuer stands for, if anything.
        peer_of: Who is on a connection.
        strangers: Where it is logged that somebody unknown was refused.
        callers: Where it is logged of those who are known.
    """

    authority: Authority
    look_up: LookUp
    only_issuer: str | None
    peer_of: PeerOf
    strangers: RefusalLog = field(default_factory=_new_log, init=False)
    callers: RefusalLog = field(default_factory=_new_log, init=False)

    async def admit(self, method: str, read: Callable[[bytes], Message], request: bytes, context: Context) -> Message:
        """The request as a message, once its caller is known and may make it. Nothing is parsed for strangers.

        Raises:
            AccessRefused: The caller may not.
            InvalidRequest: It is no message of that RPC.
            Undecided: Nobody could say whether they may.
        """
        if method in OPEN_METHODS:
            return read(request)
        try:
            caller = await self._identify(method, context)
            message = read(request)
            await check_reach(caller, reaches_of(message, self.only_issuer), self.look_up)
        except AccessRefused as refusal:
            self._log(method, context, refusal.cause, refusal.actor)
            raise
        self._keep(context)
        ACTOR.set(caller.actor)
        return message

    async def admit_stream(self, method: str, context: Context) -> None:
        """Return if the caller may open a stream of requests, none of which is looked at. Raises as `admit`."""
        try:
            await self._identify(method, context)
        except AccessRefused as refusal:
            self._log(method, context, refusal.cause, refusal.actor)
            raise
        self._keep(context)

    async def refuse_unknown(self, method: str, context: Context) -> NoReturn:
        """Answer as grpc does where there is no such RPC, and log it: somebody is trying names."""
        self._log(method, context, "no such RPC", "")
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        raise AssertionError("abort returned")

    async def _identify(self, method: str, context: Context) -> Caller:
        peer = self.peer_of(context.peer())
        if peer is None:
            raise Unauthenticated("the connection did not come through the listener")
        return await self.authority.identify(method, peer.certificate, _token_in(context.invocation_metadata()))

    def _keep(self, context: Context) -> None:
        peer = self.peer_of(context.peer())
        if peer is not None:  # who hung up meanwhile has no place to keep
            peer.keep()

    def _log(self, method: str, context: Context, cause: str, actor: str) -> None:
        peer = self.peer_of(context.peer())
        log = self.callers if actor else self.strangers
        log.write(method=method, actor=actor, peer="" if peer is None else peer.address, cause=cause)


def _token_in(metadata: Sequence[tuple[str, str | bytes]] | None) -> str | None:
    """The bearer token of a call [RFC 6750 §2.1]. None: there is none.

    Raises:
        Unauthenticated: What there is is none.
    """
    brought = [value for key, value in metadata or () if key == "authorization"]
    if not brought:
        return None
    scheme, _, token = str(brought[0]).partition(" ")
    if len(brought) > 1 or scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the authorization is not one bearer token")
    return token
