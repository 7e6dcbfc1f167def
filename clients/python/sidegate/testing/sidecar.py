"""A sidecar in the test's own process: the same protos on real sockets, with tokens and faults at one's command."""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import Literal, Self

from sidegate.testing.administration import RevocationService, SessionService
from sidegate.testing.faults import Faults
from sidegate.testing.feed import FeedService
from sidegate.testing.judgement import Policy
from sidegate.testing.server import Plane, Services
from sidegate.testing.store import Attribution, Store, Wanted, now
from sidegate.testing.tokens import (
    ANTI_CSRF_CLAIM,
    SECOND,
    SESSION_CLAIM,
    TENANT_CLAIM,
    USER_CLAIM,
    TokenKey,
)
from sidegate.testing.verification import VerificationService
from sidegate.v1 import feed_pb2_grpc, revocation_pb2_grpc, verification_pb2_grpc
from sidegate.verdicts import Revision

TOKEN_SECONDS = 600.0
SESSION_SECONDS = 30 * 24 * 3600
TEST_ACTOR = "test"


class FakeSidecar:
    """A sidecar with one issuer and a store, for tests. Serves from threads of its own, so that it suits tests with and
    without asyncio. A context manager of both kinds.

    It judges as a sidecar does (docs/testing.md says what it leaves out), and only tokens that it has issued itself:
    signed with HMAC, which no real sidecar takes.

    Args:
        issuer: The `iss` of its tokens.
        audiences: `aud` must name one of them. Empty: unchecked, unless the question names some.
        anti_csrf_required: Whether every question must bring the anti-CSRF token.
        unknown_sessions: What `check_database` says of a session that nobody registered.
        tcp: Listen on free ports of loopback. False: on Unix sockets in a temporary folder.

    Attributes:
        faults: What is to be wrong with it.
    """

    def __init__(
        self,
        *,
        issuer: str = "https://issuer.test",
        audiences: Sequence[str] = (),
        anti_csrf_required: bool = False,
        unknown_sessions: Literal["accept", "reject"] = "accept",
        tcp: bool = False,
    ) -> None:
        self._issuer = issuer
        self._store = Store()
        self._key = TokenKey(issuer)
        self.faults = Faults(self._store.changed)
        policy = Policy(frozenset(audiences), anti_csrf_required, unknown_sessions)
        self._data_plane = Plane(self._data_services(policy), self.faults)
        self._admin_plane = Plane(self._admin_services(policy), self.faults)
        self._tcp = tcp
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens."""
        return self._issuer

    @property
    def target(self) -> str:
        """Where services ask, for SessionClient and SIDEGATE_TARGET. Raises: RuntimeError, before the first start."""
        return self._data_plane.target

    @property
    def admin_target(self) -> str:
        """Where sessions are registered and revoked, for RevocationClient and SIDEGATE_ADMIN_TARGET. As `target`."""
        return self._admin_plane.target

    @property
    def revision(self) -> Revision:
        """Where its revocation log stands."""
        return self._store.revision

    def issue_token(
        self,
        user_id: str = "ada",
        session_handle: str | None = None,
        *,
        tenant_id: str = "",
        anti_csrf_token: str = "",
        claims: Mapping[str, object] | None = None,
        expires_in: float = TOKEN_SECONDS,
        registered: bool = True,
    ) -> str:
        """An access token of this sidecar's issuer. Works while it is stopped, too.

        Args:
            session_handle: None: a session of its own.
            tenant_id: Empty: none.
            anti_csrf_token: Empty: none.
            claims: More claims, or others: they win over all else, and None leaves a claim out. The user is `sub`, the
                session `sid`, the tenant `tid`, the anti-CSRF token `antiCsrfToken`.
            expires_in: Seconds from now. Not above 0: it has expired.
            registered: Whether the session is registered too, as an issuer does before it hands out a token. One that
                is registered or revoked already stays as it is.
        """
        handle = session_handle or str(uuid.uuid4())
        at = time.time()
        if registered:
            self._register(handle, user_id, tenant_id)
        content: dict[str, object] = {
            "iss": self._issuer,
            USER_CLAIM: user_id,
            SESSION_CLAIM: handle,
            TENANT_CLAIM: tenant_id or None,
            ANTI_CSRF_CLAIM: anti_csrf_token or None,
            "iat": int(min(at, at + expires_in - TOKEN_SECONDS) if expires_in <= 0 else at),
            "exp": at + expires_in,
            **(claims or {}),
        }
        return self._key.sign({name: value for name, value in content.items() if value is not None})

    def revoke_session(self, session_handle: str) -> Revision:
        """Revoke a session, whatever the faults and even while stopped. For `at_least_as_fresh`."""
        return self._store.revoke_sessions([session_handle], Attribution(TEST_ACTOR))[1]

    def revoke_user_sessions(self, user_id: str, *, tenant_id: str = "", except_session_handle: str = "") -> Revision:
        """Revoke every session of a user, in one tenant if so asked, but for one if so asked. As `revoke_session`.

        Raises:
            CallFailed: NOT_A_SESSION_OF_USER: the exception is a session of another user.
        """
        return self._store.revoke_user(
            user_id, Attribution(TEST_ACTOR), tenant_id=tenant_id, except_session_handle=except_session_handle
        )[1]

    def revoke_tenant_sessions(self, tenant_id: str) -> Revision:
        """Revoke every session of a tenant. As `revoke_session`."""
        return self._store.revoke_tenant(tenant_id, Attribution(TEST_ACTOR))[1]

    def start(self) -> None:
        """Serve; after `stop` on the same addresses, having forgotten nothing. Starting again does nothing.

        Raises:
            RuntimeError: An address cannot be had.
        """
        if self._folder is None and not self._tcp:
            # Not in a test's own folder, whose path may be long: the name of a socket has at most 107 bytes.
            self._folder = tempfile.TemporaryDirectory(prefix="sidegate-")
        try:
            self._data_plane.start(self._address("data"))
            self._admin_plane.start(self._address("admin"))
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End the calls under way and close the sockets, as a sidecar that dies. Stopping again does nothing."""
        self._data_plane.stop()
        self._admin_plane.stop()

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _address(self, name: str) -> str:
        return "127.0.0.1:0" if self._folder is None else f"unix://{self._folder.name}/{name}.sock"

    def _register(self, session_handle: str, user_id: str, tenant_id: str) -> None:
        with self._store.changed:
            known = self._store.look_up(session_handle, user_id, tenant_id)
            if known.record is None and not known.session_revoked:
                self._store.register([Wanted(session_handle, user_id, tenant_id, now() + SESSION_SECONDS * SECOND)])

    def _data_services(self, policy: Policy) -> Services:
        verification = VerificationService(self._key, policy, self._store, self.faults, version("sidegate"))
        feed = FeedService(self._store, self.faults, self._issuer, snapshots=False)
        return {
            "sidegate.v1.VerificationService": partial(
                verification_pb2_grpc.add_VerificationServiceServicer_to_server, verification
            ),
            "sidegate.v1.RevocationFeedService": partial(
                feed_pb2_grpc.add_RevocationFeedServiceServicer_to_server, feed
            ),
        }

    def _admin_services(self, policy: Policy) -> Services:
        revocation = RevocationService(
            self._key, self._store, self.faults, accept_unknown=policy.unknown_sessions == "accept"
        )
        session = SessionService(self._issuer, self._store, self.faults)
        feed = FeedService(self._store, self.faults, self._issuer, snapshots=True)
        return {
            "sidegate.v1.RevocationService": partial(
                revocation_pb2_grpc.add_RevocationServiceServicer_to_server, revocation
            ),
            "sidegate.v1.SessionService": partial(revocation_pb2_grpc.add_SessionServiceServicer_to_server, session),
            "sidegate.v1.RevocationFeedService": partial(
                feed_pb2_grpc.add_RevocationFeedServiceServicer_to_server, feed
            ),
        }
