"""What every store can do. The docstrings are the contract; tests/contract runs them against each backend."""

from collections.abc import Sequence
from typing import Protocol

from sidegate_sidecar.model import (
    Attribution,
    AuditEntry,
    AuditFilter,
    KeyRevoked,
    LogPage,
    Registration,
    Removed,
    SessionRecord,
    SessionsEnded,
    SessionsRevoked,
    StoreFacts,
    StoreLimits,
    Subject,
)


class SessionStore(Protocol):
    """Where sessions and revocations live. Knows nothing of tokens or gRPC.

    "No such session" is an answer (`None`). Failing to answer is `StoreUnavailable`, the only exception that a backend
    lets out for a fault of its own; the driver's error rides along as `__cause__`. Refusals are `InvalidRequest` and
    `PreconditionFailed` with the reasons of errors.proto. Safe to call from many tasks at once. Strings are checked by
    the caller: non-empty where they name something, at most 512 bytes, no NUL.

    Every write is one transaction: all of it or nothing, whatever is killed when. It is durable when the call returns.
    Revocations hold the log lock, under which sequences are handed out, gap-free and in commit order. A registration is
    ordered with every revocation that could cover it: it sees all of that revocation, or the revocation sees it.

    Every revoking method takes `validate_only`: it then answers as if it had been done, names the head as revision and
    changes nothing. It remembers no answer for a replay, but repeats one that is kept.
    """

    async def open(self) -> None:
        """Connect, check the schema's version and the file's integrity. Raises: StartupError, StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Release everything. Safe to call twice, and on a store that was never opened."""
        ...

    async def migrate(self, limits: StoreLimits, *, after_deploy: bool = False) -> list[str]:
        """Bring the schema up to date; the names of the migrations applied. Works before `open`, in any number of
        processes at once. A new store is created with `limits`; those of an existing one stay as they are.

        Args:
            after_deploy: Also apply what is safe only once no older release runs any more. A new store gets all.

        Raises:
            StartupError: The schema is newer than this release can work with.
        """
        ...

    async def limits(self) -> StoreLimits:
        """The limits that retention rests on."""
        ...

    async def renew_identity(self, store_id: str) -> None:
        """Give the store a new id and salt if its id is still this one, and forget the answers to requests.

        For whoever found the log set back, by a restored backup: revisions of the two histories must never compare.
        Of several who find it at once the first wins, and the others' calls change nothing.
        """
        ...

    async def raise_limits(self, limits: StoreLimits) -> StoreLimits:
        """Raise each limit to the one given where it is lower; never lower one. What is then in force.

        Entries written before are kept for longer accordingly: their `forget_time` moves, and nothing else of them.
        """
        ...

    # Reading.

    async def look_up(self, subjects: Sequence[Subject]) -> list[StoreFacts]:
        """What `check_database` needs, for any number of subjects, in one query. In the order asked.

        Sees every revocation acknowledged before the call began, and names the revision that it saw. The record is that
        of the handle, whoever's it is: comparing user and tenant is the caller's. Watermarks are those of the subject's
        own user and tenant. An empty handle, tenant or thumbprint matches nothing.
        """
        ...

    async def read_log(self, first: int, limit: int) -> LogPage:
        """Up to `limit` entries from sequence `first` on. A page, its head and its horizon come from one snapshot."""
        ...

    async def wait_for_change(self, timeout: float) -> None:
        """Return when the log may have grown since the last call, or after `timeout` seconds. A hint, never proof.

        For one follower: whoever else waits takes hints away from it. A store that cannot be reached is no hint; once
        it can be again, that is one.
        """
        ...

    async def get_session(self, issuer: str, session_handle: str) -> SessionRecord | None:
        """One registered session, revoked and expired ones included."""
        ...

    async def list_sessions(self, issuer: str, user_id: str, *, after: str, limit: int) -> list[SessionRecord]:
        """A user's registered sessions with handles above `after` (by code point), by handle."""
        ...

    async def list_revocations(self, wanted: AuditFilter, *, before: int | None, limit: int) -> list[AuditEntry]:
        """Audit entries with sequences below `before` (None: from the newest), newest first."""
        ...

    # Writing.

    async def register(self, registrations: Sequence[Registration]) -> list[SessionRecord]:
        """Record sessions, all or none. In the order asked.

        A handle registered before keeps its `create_time`, whatever is given, and takes the new `session_expire_time`.
        A handle named twice is registered twice, in order. A `create_time` by the store's clock is always later than
        every watermark already written that covers the session: the log lock decides who was first, not a clock that
        may have stepped back.

        Raises:
            PreconditionFailed: SESSION_OF_ANOTHER, SESSION_REVOKED or CREATE_TIME_REVOKED, with metadata `field`, e.g.
                "requests[3].session_handle"; nothing was recorded. CREATE_TIME_REVOKED also for a session that had
                expired when a watermark covered it: it cannot be revived.
            InvalidRequest: `session_expire_time` is not after `create_time`.
        """
        ...

    async def revoke_sessions(
        self, issuer: str, session_handles: Sequence[str], attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsRevoked:
        """Revoke handles, registered or not, all or none. Those revoked before stay as they are.

        Raises:
            InvalidRequest: REQUEST_ID_REUSED. (A replay of the same request returns the first answer.)
        """
        ...

    async def revoke_user(
        self,
        issuer: str,
        user_id: str,
        *,
        tenant_id: str | None,
        except_session_handle: str | None,
        accept_unknown_exception: bool,
        attribution: Attribution,
        validate_only: bool = False,
    ) -> SessionsEnded:
        """Write a watermark at the store's clock, and revoke every registered session of the user that is alive.

        Alive is what has neither expired nor been revoked. Each is logged after the watermark, by handle, without
        regard to its `create_time`: it was registered before.

        Args:
            tenant_id: Only this tenant. None: all.
            except_session_handle: Spared by this watermark, and by no other. None: none.
            accept_unknown_exception: Whether an exception that nobody registered will do. One of another user never
                does.

        Raises:
            InvalidRequest: NOT_A_SESSION_OF_USER, REQUEST_ID_REUSED.
        """
        ...

    async def revoke_tenant(
        self, issuer: str, tenant_id: str, attribution: Attribution, *, validate_only: bool = False
    ) -> SessionsEnded:
        """Write a watermark at the store's clock, and revoke every registered session of the tenant that is alive.

        As `revoke_user` does for a user.

        Raises:
            InvalidRequest: REQUEST_ID_REUSED.
        """
        ...

    async def revoke_key(
        self,
        issuer: str,
        key_thumbprint: str,
        attribution: Attribution,
        *,
        key_id: str | None,
        validate_only: bool = False,
    ) -> KeyRevoked:
        """Revoke a key for ever; its entry is never removed. One revoked before stays as it is.

        Args:
            key_id: Its `kid`, for the audit trail, where the request named it by that: then a replay is known by the
                `kid`, whatever key has it by now. None: by the thumbprint.

        Raises:
            InvalidRequest: REQUEST_ID_REUSED.
        """
        ...

    async def find_key_replay(self, issuer: str, key_id: str, attribution: Attribution) -> KeyRevoked | None:
        """What `revoke_key` answered to this request before: for a `kid` that names no key any more. None: nothing.

        Raises:
            InvalidRequest: REQUEST_ID_REUSED.
        """
        ...

    async def compact(self, limit: int) -> Removed:
        """Remove up to `limit` log entries and up to `limit` sessions that can matter to nobody any more.

        Those are the entries whose `forget_time` has come by the store's clock, but never the newest of all, by which
        followers recognise the log; and the sessions that ended longer ago than a token can outlive them
        (`max_token_lifetime` and `leeway`). Entries go only once no such session is left: while its row is there, it
        could be registered again, and would go on where it was revoked. One short transaction: call it again while it
        removes as many as it may.
        """
        ...
