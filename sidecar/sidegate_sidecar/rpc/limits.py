"""How much of each kind one server has in progress at once, and for how long; what comes on top is shed at once.

Nothing queues here. What arrives faster than the event loop turns waits in gRPC, which hands over one call a turn; so a
call that need not wait is hardly ever met by another, and what is counted here are those that wait: for an issuer, for
the store, or for their batch to go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from operator import attrgetter, methodcaller
from typing import Any, TypeAlias, TypeVar

from sidegate.v1 import verification_pb2 as v1

from sidegate_sidecar.errors import Shed, StoreUnavailable

# 32 clients, each with a full batch of 256 tokens that wait for an issuer's keys. Single calls never come near: the
# 2,500 of a second, each waiting the half second that it may, are 1,250; so a flood of unknown keys shuts nobody out.
MAX_TOKENS = 8_192
MAX_LOOKUPS = 4_096  # four times what two queries take along; at 24 kB each 100 MB
MAX_ADMIN_CALLS = 128  # the store has four links for them, and commits in milliseconds: a wait of some 0.1 s
MAX_SIGN_OUTS = 2_048  # they wait for keys before the store does any work: as with single calls above
MAX_ADMISSIONS = 2_048  # calls of which nobody knows yet who makes them: likewise
MAX_STREAMS = 256  # of one RPC. A watch of the feed takes 0.1 % of a core for its checkpoints

# Each longer than what may be waited for on the way adds up to: these are for what should not happen.
VERIFY_SECONDS = 5.0
ADMISSION_SECONDS = 5.0
ADMIN_SECONDS = 15.0  # a turn and the work itself, 5 s each; connecting, and being visible here

_VERIFICATION = "/sidegate.v1.VerificationService/"
_WATCH = "/sidegate.v1.RevocationFeedService/WatchRevocations"
_ADMIN = ("/sidegate.v1.RevocationService/", "/sidegate.v1.SessionService/")

# Which requests may wait for the store. An ambiguous watermark can make any do so, but seldom does.
_CHECKS_DATABASE = attrgetter("check_database")
_ASKS_FOR_FRESHNESS = methodcaller("HasField", "at_least_as_fresh")

ResultT = TypeVar("ResultT")

Answer: TypeAlias = Callable[[Any, Any], Awaitable[Any]]
"""A handler of one request and one response; of the request's type only its own limit knows."""


class Limit:
    """How much of one kind may be in progress.

    Args:
        most: So much.
        kind: What whoever is shed is told that there is too much of.

    Attributes:
        in_progress: So much there is now.
        shed: How often something was not counted in.
    """

    def __init__(self, most: int, kind: str) -> None:
        self.most = most
        self.in_progress = 0
        self.shed = 0
        self._kind = kind

    def enter(self, weight: int = 1) -> None:
        """Count it in. Raises Shed; then it is not."""
        if self.in_progress + weight > self.most:
            self.shed += 1
            raise Shed(f"too many {self._kind}; back off before asking again")
        self.in_progress += weight

    def leave(self, weight: int = 1) -> None:
        """Count out what was counted in."""
        self.in_progress -= weight

    @contextmanager
    def held(self, weight: int = 1) -> Generator[None]:
        """Count it in for as long as this is entered. Raises Shed."""
        self.enter(weight)
        try:
            yield
        finally:
            self.leave(weight)


class Limits:
    """Those of one server, so that no plane and no listener that authenticates takes another's share."""

    def __init__(self) -> None:
        self.tokens = Limit(MAX_TOKENS, "tokens are being verified")
        self.lookups = Limit(MAX_LOOKUPS, "look-ups wait for the store")
        self.admin = Limit(MAX_ADMIN_CALLS, "calls of the admin services are in progress")
        self.sign_outs = Limit(MAX_SIGN_OUTS, "sign-outs are in progress")
        self.admissions = Limit(MAX_ADMISSIONS, "callers are being identified")
        self.streams: dict[str, Limit] = {}

    def of_call(self, method: str, answer: Answer) -> Answer:
        """The handler of a unary RPC within its limit and its time. As it is, if it never waits.

        Raises, in place of the handler's own:
            Shed: Too many of its kind are in progress.
            StoreUnavailable: The time is up.
        """
        if method == f"{_VERIFICATION}Verify":
            return self._of_verify(answer)
        if method == f"{_VERIFICATION}BatchVerify":
            return self._of_batch_verify(answer)
        if method == f"{_VERIFICATION}SignOut":
            return _of_store_call(answer, self.sign_outs)
        return _of_store_call(answer, self.admin) if method.startswith(_ADMIN) else answer

    def of_streams(self, method: str) -> Limit:
        """How many streams of that RPC may be open."""
        return self.streams.setdefault(method, Limit(MAX_STREAMS, "streams of this kind are open"))

    def calls_shed(self) -> dict[str, int]:
        """How many calls found too many of their kind in progress, by kind."""
        return {
            "tokens": self.tokens.shed,
            "lookups": self.lookups.shed,
            "admin_calls": self.admin.shed,
            "sign_outs": self.sign_outs.shed,
            "admissions": self.admissions.shed,
            "streams": sum(limit.shed for limit in self.streams.values()),
        }

    def watches(self) -> int:
        """How many watches of the feed are open."""
        limit = self.streams.get(_WATCH)
        return 0 if limit is None else limit.in_progress

    async def admit(self, admission: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Find out who is calling. Raises Shed, StoreUnavailable, and whatever comes of it."""
        with self.admissions.held():
            return await _in_time(ADMISSION_SECONDS, admission())

    def _of_verify(self, answer: Answer) -> Answer:
        tokens, lookups = self.tokens, self.lookups

        async def within_limits(request: v1.VerifyRequest, context: Any) -> Any:
            if request.check_database or request.HasField("at_least_as_fresh"):
                with lookups.held():
                    return await _in_time(VERIFY_SECONDS, answer(request, context))
            # No timer: it would cost more than all else here, and what keys may be waited for is bounded in itself.
            tokens.enter()
            try:
                return await answer(request, context)
            finally:
                tokens.leave()

        return within_limits

    def _of_batch_verify(self, answer: Answer) -> Answer:
        async def within_limits(request: v1.BatchVerifyRequest, context: Any) -> Any:
            items = list(request.requests)  # who answers gets the same objects, so that they are made once
            asks_the_store = any(map(_CHECKS_DATABASE, items)) or any(map(_ASKS_FOR_FRESHNESS, items))
            limit = self.lookups if asks_the_store else self.tokens
            with limit.held(len(items)):
                return await _in_time(VERIFY_SECONDS, answer(request, context))

        return within_limits


def _of_store_call(answer: Answer, limit: Limit) -> Answer:
    async def within_limits(request: Any, context: Any) -> Any:
        with limit.held():
            return await _in_time(ADMIN_SECONDS, answer(request, context))

    return within_limits


async def _in_time(seconds: float, answer: Awaitable[ResultT]) -> ResultT:
    """What comes of it. Raises StoreUnavailable once the time is up: nobody knows then what was done."""
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            return await answer
    except TimeoutError:
        if not timeout.expired():
            raise
        raise StoreUnavailable(
            f"no answer within the {seconds:g} s that this sidecar gives such a call; what was asked for may have been"
            " done or may yet be; asking again is safe, for a revocation with the same request_id"
        ) from None
