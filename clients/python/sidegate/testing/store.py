"""The fake's register of sessions and its revocation log, in memory. Times are microseconds since the epoch.

Whatever a session's end is judged by is read off the log, by going through it: a test's log is short.
"""

import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar, cast

from sidegate.errors import CallFailed
from sidegate.testing.refusals import invalid
from sidegate.verdicts import Revision

AnswerT = TypeVar("AnswerT")


class Kind(Enum):
    """What a revocation covers. The value is the letter that its digest begins with."""

    SESSION = "s"
    USER = "u"
    TENANT = "t"
    KEY = "k"


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who revokes, why, and under which idempotency key. Empty: none."""

    actor: str
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. `subject` is the handle, user, tenant or key thumbprint that `kind` names."""

    sequence: int
    kind: Kind
    subject: str
    revoke_time: int
    attribution: Attribution
    user_id: str = ""
    tenant_id: str = ""
    except_session_handle: str = ""
    key_id: str = ""
    cause_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A registered session. `revoke_time` None: nobody has revoked it."""

    session_handle: str
    user_id: str
    tenant_id: str
    create_time: int
    session_expire_time: int
    revoke_time: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session to register. `create_time` None: now."""

    session_handle: str
    user_id: str
    tenant_id: str
    session_expire_time: int
    create_time: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one session: its record, and which revocations touch it. A watermark is the newest T."""

    record: Record | None
    session_revoked: bool
    key_revoked: bool
    user_watermark: int | None
    tenant_watermark: int | None


@dataclass
class Store:
    """Sessions and revocations. Safe to call from many threads.

    Attributes:
        store_id: Of its revisions.
        digest_salt: Of its digests.
        changed: Notified whenever the log has grown; its lock guards everything here.
    """

    store_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    digest_salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    changed: threading.Condition = field(default_factory=threading.Condition)
    _log: list[Entry] = field(default_factory=list[Entry])
    _sessions: dict[str, Record] = field(default_factory=dict[str, Record])
    _answers: dict[tuple[str, str], tuple[object, object]] = field(
        default_factory=dict[tuple[str, str], tuple[object, object]]
    )

    @property
    def revision(self) -> Revision:
        """Where the log stands."""
        with self.changed:
            return Revision(self.store_id, len(self._log))

    def entries_after(self, sequence: int) -> list[Entry]:
        """The log from there on."""
        with self.changed:
            return self._log[sequence:]

    def get(self, session_handle: str) -> Record | None:
        """One registered session."""
        with self.changed:
            record = self._sessions.get(session_handle)
            return None if record is None else replace(record, revoke_time=self._revoke_time(session_handle))

    def sessions_of(self, user_id: str) -> list[Record]:
        """A user's registered sessions, by handle."""
        with self.changed:
            handles = sorted(handle for handle, record in self._sessions.items() if record.user_id == user_id)
            return [replace(self._sessions[handle], revoke_time=self._revoke_time(handle)) for handle in handles]

    def look_up(self, session_handle: str, user_id: str, tenant_id: str, key_thumbprint: str = "") -> Facts:
        """What is known of a token's session. An empty name matches nothing."""
        with self.changed:
            users = [
                entry.revoke_time
                for entry in self._entries(Kind.USER, user_id)
                if entry.tenant_id in {"", tenant_id}
                and (not entry.except_session_handle or entry.except_session_handle != session_handle)
            ]
            tenants = [entry.revoke_time for entry in self._entries(Kind.TENANT, tenant_id)]
            return Facts(
                record=self._sessions.get(session_handle),
                session_revoked=self._revoke_time(session_handle) is not None,
                key_revoked=any(self._entries(Kind.KEY, key_thumbprint)),
                user_watermark=max(users, default=None),
                tenant_watermark=max(tenants, default=None),
            )

    def register(self, registrations: Sequence[Wanted]) -> list[Record]:
        """Record sessions, all or none.

        Raises:
            CallFailed: SESSION_OF_ANOTHER, SESSION_REVOKED, CREATE_TIME_REVOKED, INVALID_FIELD; metadata `field` as
                "requests[3].user_id".
        """
        with self.changed:
            before = dict(self._sessions)
            try:
                for position, wanted in enumerate(registrations):
                    self._sessions[wanted.session_handle] = self._judged(wanted, f"requests[{position}].")
            except CallFailed:
                self._sessions = before
                raise
            return [self._sessions[wanted.session_handle] for wanted in registrations]

    def revoke_sessions(
        self, session_handles: Sequence[str], attribution: Attribution, *, validate_only: bool = False
    ) -> tuple[tuple[str, ...], Revision]:
        """Revoke handles, registered or not. Those that this call ended, and where the log stands."""

        def revoke() -> tuple[str, ...]:
            ended = tuple(handle for handle in dict.fromkeys(session_handles) if self._revoke_time(handle) is None)
            for handle in ended:
                self._append(Kind.SESSION, handle, attribution)
            return ended

        return self._once(attribution, ("sessions", tuple(session_handles)), validate_only, revoke)

    def revoke_user(
        self,
        user_id: str,
        attribution: Attribution,
        *,
        tenant_id: str = "",
        except_session_handle: str = "",
        accept_unknown_exception: bool = True,
        validate_only: bool = False,
    ) -> tuple[int, Revision]:
        """Revoke every session of a user. How many registered ones ended, and where the log stands.

        Raises:
            CallFailed: NOT_A_SESSION_OF_USER.
        """

        def revoke() -> int:
            spared = self._sessions.get(except_session_handle)
            if except_session_handle and (
                not accept_unknown_exception if spared is None else spared.user_id != user_id
            ):
                raise invalid("except_session_handle", "names no session of that user", reason="NOT_A_SESSION_OF_USER")
            watermark = self._append(
                Kind.USER, user_id, attribution, tenant_id=tenant_id, except_session_handle=except_session_handle
            )
            return self._end(
                watermark,
                lambda record: (
                    record.user_id == user_id
                    and (not tenant_id or record.tenant_id == tenant_id)
                    and record.session_handle != except_session_handle
                ),
            )

        return self._once(attribution, ("user", user_id, tenant_id, except_session_handle), validate_only, revoke)

    def revoke_tenant(
        self, tenant_id: str, attribution: Attribution, *, validate_only: bool = False
    ) -> tuple[int, Revision]:
        """Revoke every session of a tenant. As `revoke_user`."""

        def revoke() -> int:
            watermark = self._append(Kind.TENANT, tenant_id, attribution)
            return self._end(watermark, lambda record: record.tenant_id == tenant_id)

        return self._once(attribution, ("tenant", tenant_id), validate_only, revoke)

    def revoke_key(
        self, key_thumbprint: str, key_id: str, attribution: Attribution, *, validate_only: bool = False
    ) -> Revision:
        """Refuse every token verified by a key. Where the log stands."""

        def revoke() -> None:
            if not any(self._entries(Kind.KEY, key_thumbprint)):
                self._append(Kind.KEY, key_thumbprint, attribution, key_id=key_id)

        return self._once(attribution, ("key", key_thumbprint, key_id), validate_only, revoke)[1]

    def _once(
        self, attribution: Attribution, asked: tuple[object, ...], validate_only: bool, revoke: Callable[[], AnswerT]
    ) -> tuple[AnswerT, Revision]:
        """What was answered to this request before, else what `revoke` answers now."""
        key = (attribution.actor, attribution.request_id)
        question = (asked, attribution.reason)
        with self.changed:
            if attribution.request_id and key in self._answers:
                kept_question, kept_answer = self._answers[key]
                if kept_question != question:
                    raise invalid("request_id", "was used for a different request", reason="REQUEST_ID_REUSED")
                return cast("tuple[AnswerT, Revision]", kept_answer)
            head = len(self._log)
            result = revoke()
            if validate_only:
                del self._log[head:]
            answer = (result, self.revision)
            if attribution.request_id and not validate_only:
                self._answers[key] = (question, answer)
            self.changed.notify_all()
            return answer

    def _append(
        self,
        kind: Kind,
        subject: str,
        attribution: Attribution,
        *,
        tenant_id: str = "",
        except_session_handle: str = "",
        key_id: str = "",
        cause_sequence: int = 0,
    ) -> Entry:
        registered = self._sessions.get(subject) if kind is Kind.SESSION else None
        entry = Entry(
            sequence=len(self._log) + 1,
            kind=kind,
            subject=subject,
            revoke_time=now(),
            attribution=attribution,
            user_id=subject if kind is Kind.USER else registered.user_id if registered else "",
            tenant_id=tenant_id,
            except_session_handle=except_session_handle,
            key_id=key_id,
            cause_sequence=cause_sequence,
        )
        self._log.append(entry)
        return entry

    def _end(self, watermark: Entry, covered: Callable[[Record], bool]) -> int:
        """Log the sessions that a watermark ends. How many those are."""
        ended = [
            handle
            for handle, record in sorted(self._sessions.items())
            if covered(record)
            and record.session_expire_time > watermark.revoke_time
            and self._revoke_time(handle) is None
        ]
        for handle in ended:
            self._append(Kind.SESSION, handle, watermark.attribution, cause_sequence=watermark.sequence)
        return len(ended)

    def _judged(self, wanted: Wanted, path: str) -> Record:
        before = self._sessions.get(wanted.session_handle)
        if before is not None and (before.user_id, before.tenant_id) != (wanted.user_id, wanted.tenant_id):
            raise _forbidden("SESSION_OF_ANOTHER", f"{path}session_handle")
        facts = self.look_up(wanted.session_handle, wanted.user_id, wanted.tenant_id)
        if facts.session_revoked:
            raise _forbidden("SESSION_REVOKED", f"{path}session_handle")
        watermark = max(facts.user_watermark or 0, facts.tenant_watermark or 0)
        if before is not None:
            create_time = before.create_time
        else:
            create_time = max(now(), watermark + 1) if wanted.create_time is None else wanted.create_time
        if create_time <= watermark:
            raise _forbidden("CREATE_TIME_REVOKED", f"{path}create_time")
        if wanted.session_expire_time <= create_time:
            raise invalid(f"{path}session_expire_time", "must be after create_time")
        return Record(wanted.session_handle, wanted.user_id, wanted.tenant_id, create_time, wanted.session_expire_time)

    def _revoke_time(self, session_handle: str) -> int | None:
        return next((entry.revoke_time for entry in self._entries(Kind.SESSION, session_handle)), None)

    def _entries(self, kind: Kind, subject: str) -> Iterator[Entry]:
        return (entry for entry in self._log if subject and entry.kind is kind and entry.subject == subject)


def now() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def _forbidden(reason: str, field_path: str) -> CallFailed:
    words = reason.lower().replace("_", " ")
    return CallFailed(words, code="FAILED_PRECONDITION", reason=reason, metadata={"field": field_path})
