"""Verify access tokens from asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import partial

from sidegate import verification_calls
from sidegate.async_batching import AsyncBatching
from sidegate.asynchronous import AsyncioClient
from sidegate.channels import finite_timeout
from sidegate.errors import ClientClosed
from sidegate.failures import verification_error
from sidegate.feed_thread import Feed
from sidegate.gathering import may_share
from sidegate.near_cache import NearCacheStatistics
from sidegate.records import SessionsEnded
from sidegate.shared_near_cache import DEFAULT_BYTES, DEFAULT_ENTRIES, Pending, SharedNearCache
from sidegate.targets import SESSION_TARGET, SESSION_TARGET_VARIABLE, resolve_target
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import Revision, ServingStatus, Session, SignOutScope, Verdict
from sidegate.watch import Watch
from sidegate.watching import SessionEnded, WatchEnd


class AsyncSessionClient(AsyncioClient):
    """Asks the sidecar beside this process: is this access token good right now, and whose session is it?

    One client serves all tasks of an event loop. It opens its connection with the first call.
    Close it, or use it as an asynchronous context manager.

    Args:
        target: Where the sidecar listens, as gRPC spells it: `unix:///path` or `host:port`. None: the environment
            variable SIDEGATE_TARGET, else `unix:///run/sidegate/sidegate.sock`.
        timeout: Seconds that a call may take, retries included, unless it is given its own.
        batching: Whether questions that are asked while a call is in flight travel together. What each is answered,
            how long it may take and what it fails with stay its own.
        near_cache: Keep good verdicts in this process, for as long as the sidecar's revocation feed vouches for them.
            A daemon thread, started by the first call, follows the feed.
        near_cache_entries: How many verdicts may be kept.
        near_cache_bytes: How much memory they may take, about.

    Raises:
        ValueError: `timeout` is not positive and finite, a bound of the near cache is not positive, or the target
            cannot be one, e.g. "http://…" or a bare path.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = 1.0,
        batching: bool = True,
        near_cache: bool = True,
        near_cache_entries: int = DEFAULT_ENTRIES,
        near_cache_bytes: int = DEFAULT_BYTES,
    ) -> None:
        super().__init__(resolve_target(target, SESSION_TARGET_VARIABLE, SESSION_TARGET), timeout, verification_error)
        self._is_batching = batching
        self._batching: AsyncBatching | None = None  # belongs to a loop, so it is made there
        self._near_cache = SharedNearCache(near_cache_entries, near_cache_bytes) if near_cache else None
        # Without a near cache it is opened for watches alone.
        self._feed = Feed(self._target.address, self._near_cache or SharedNearCache(DEFAULT_ENTRIES, DEFAULT_BYTES))

    async def verify(
        self,
        access_token: str,
        *,
        check_database: bool = False,
        at_least_as_fresh: Revision | None = None,
        audiences: Sequence[str] = (),
        tenant_id: str | None = None,
        anti_csrf_token: str | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Whose session a good token belongs to.

        Args:
            access_token: The JWT, without "Bearer".
            check_database: Ask the session database too. Sees every revocation acknowledged before the call began.
            at_least_as_fresh: Decide on a state at least as fresh as this, usually what a revoke returned.
            audiences: The token's `aud` must name one of these. Empty: the issuer's own decide.
            tenant_id: The token must belong to this tenant. None: any.
            anti_csrf_token: Must equal the token's anti-CSRF claim. None: checked where the issuer demands it.
            timeout: Seconds. None: the client's own.

        Raises:
            SessionRejected: The token is not good.
            VerificationUnavailable: No verdict could be had. Never evidence about the token. `retryable` is False where
                this sidecar can never say, e.g. `check_database` of one without a store (STORE_NOT_CONFIGURED).
            InvalidRequest: The question is wrong, e.g. the token is empty.
            ClientClosed: Before or meanwhile.
        """
        found = self._recall(access_token, check_database, at_least_as_fresh, audiences, tenant_id, anti_csrf_token)
        if isinstance(found, Session):
            return found
        verdict = await self._ask(
            found, access_token, check_database, at_least_as_fresh, audiences, tenant_id, anti_csrf_token, timeout
        )
        return verification_calls.session_of(verdict)

    async def check(
        self,
        access_token: str,
        *,
        check_database: bool = False,
        at_least_as_fresh: Revision | None = None,
        audiences: Sequence[str] = (),
        tenant_id: str | None = None,
        anti_csrf_token: str | None = None,
        timeout: float | None = None,
    ) -> Verdict:
        """The verdict on a token, a rejection being an answer. Arguments and errors are otherwise those of `verify`."""
        found = self._recall(access_token, check_database, at_least_as_fresh, audiences, tenant_id, anti_csrf_token)
        if isinstance(found, Session):
            return Verdict(found, found.evidence)
        return await self._ask(
            found, access_token, check_database, at_least_as_fresh, audiences, tenant_id, anti_csrf_token, timeout
        )

    async def sign_out(
        self,
        access_token: str,
        scope: SignOutScope = SignOutScope.THIS_SESSION,
        *,
        anti_csrf_token: str | None = None,
        timeout: float | None = None,
    ) -> SessionsEnded:
        """End sessions of the token's own holder. When it returns, the revocation is durable, and this client accepts
        none of them any more. Never retried.

        Args:
            anti_csrf_token: As `verify` takes it.

        Raises:
            SessionRejected: The token is not good; SESSION_REVOKED may mean that an earlier attempt went through.
            RevocationUnavailable: The outcome is unknown; calling again is safe.
            NotSupported: This sidecar can neither write to a store nor forward to one that can.
            InvalidRequest, PreconditionFailed, Unauthenticated, PermissionDenied, ClientClosed: As their names say.
        """
        ended = await self._run(
            verification_calls.sign_out(access_token, scope, anti_csrf_token=anti_csrf_token), timeout
        )
        if self._near_cache is not None:
            self._near_cache.signed_out(ended.revision)
        return ended

    async def watch_session(
        self,
        session: Session,
        access_token: str | None = None,
        *,
        anti_csrf_token: str | None = None,
        outlive_token: bool = False,
    ) -> AsyncGenerator[SessionEnded]:
        """Wait for a session's end: one SessionEnded, as soon as it is revoked or its token expires, and no more.

        Costs the sidecar nothing while nothing happens: the feed that is open anyway tells of it. An outage ends no
        watch; once the sidecar is back, what was missed is asked for.

        Args:
            session: As `verify` gave it.
            access_token: Its token, to ask the sidecar with where the feed alone does not tell: after the user, the
                tenant or a key was revoked, an issuer's keys have changed, or the feed was away. None: what may have
                ended the session has, but for a change of keys.
            anti_csrf_token: As `verify` takes it, with the token.
            outlive_token: Go on when the token expires, until the session is revoked. From then on it is as if without
                a token. The session's own end is then for the caller to know.

        Raises:
            SessionRejected, InvalidRequest, TypeError: The token is none.
            ClientClosed: Before or meanwhile. It says nothing of the session.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[WatchEnd] = loop.create_future()
        watch = Watch(session, access_token, anti_csrf_token, outlive_token, partial(_pass_on, loop, ended))
        self._feed.watch(watch)
        try:
            end = await ended
        finally:
            self._feed.unwatch(watch)
        if isinstance(end, ClientClosed):
            raise end
        yield end

    async def serving_status(self, *, timeout: float | None = None) -> ServingStatus:
        """What the sidecar knows and how old it is. Raises: VerificationUnavailable, ClientClosed."""
        return await self._run(verification_calls.serving_status(), timeout)

    def near_cache_statistics(self) -> NearCacheStatistics:
        """What the near cache did so far. All zero without one."""
        return NearCacheStatistics() if self._near_cache is None else self._near_cache.statistics()

    async def close(self) -> None:
        """Close the connection, end the feed and the calls under way. Closing again does nothing."""
        await super().close()
        await asyncio.to_thread(self._feed.close)

    def before_fork(self) -> None:
        """For `forking`: also end the feed."""
        super().before_fork()
        if self._loop is None:
            self._batching = None
        self._feed.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        """For `forking`: in the child, begin anew; threads that are not there may hold every lock."""
        if in_child:
            self._inherited = (self._inherited, self._batching)
            self._batching = None
            self._feed = self._feed.emptied()
            if self._near_cache is not None:
                self._near_cache = self._feed.cache
        else:
            self._feed.after_fork_in_parent()
        super().after_fork(in_child=in_child)

    def _recall(
        self,
        access_token: str,
        check_database: bool,
        at_least_as_fresh: Revision | None,
        audiences: Sequence[str],
        tenant_id: str | None,
        anti_csrf_token: str | None,
    ) -> Session | Pending | None:
        """The near cache's answer; else, for `_ask`, what it is to keep the sidecar's by."""
        if self._near_cache is None or self._closed:
            return None
        if self._loop is not asyncio.get_running_loop():
            self._check_loop()
        return self._near_cache.find(
            access_token, check_database, at_least_as_fresh, audiences, tenant_id, anti_csrf_token
        )

    async def _ask(
        self,
        pending: Pending | None,
        access_token: str,
        check_database: bool,
        at_least_as_fresh: Revision | None,
        audiences: Sequence[str],
        tenant_id: str | None,
        anti_csrf_token: str | None,
        timeout: float | None,
    ) -> Verdict:
        """Ask the sidecar, and keep its answer if the near cache may."""
        question = verification_calls.verify_request(
            access_token,
            check_database=check_database,
            at_least_as_fresh=at_least_as_fresh,
            audiences=audiences,
            tenant_id=tenant_id,
            anti_csrf_token=anti_csrf_token,
        )
        if isinstance(question, Verdict):
            return question
        if self._near_cache is None or pending is None:
            return await self._exchange(question, timeout)
        self._feed.follow()
        verdict = await self._exchange(question, timeout)
        self._near_cache.keep(pending, verdict)
        return verdict

    async def _exchange(self, question: VerifyRequest, timeout: float | None) -> Verdict:
        """Trade a question for its verdict."""
        if not self._is_batching or not may_share(question):
            return await self._run(verification_calls.verify(question), timeout)
        seconds = self._timeout if timeout is None else finite_timeout(timeout)
        self._check_loop()
        if self._batching is None or self._batching.loop is not self._loop:
            self._batching = AsyncBatching(self._target)
        return await self._batching.ask(question, seconds, self._run)


def _pass_on(loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[WatchEnd]", end: WatchEnd) -> None:
    """Tell a task of that loop, from any thread."""
    with suppress(RuntimeError):  # the loop was closed: nobody waits
        loop.call_soon_threadsafe(_settle, ended, end)


def _settle(ended: "asyncio.Future[WatchEnd]", end: WatchEnd) -> None:
    if not ended.done():
        ended.set_result(end)
