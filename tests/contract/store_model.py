"""A model of every store: what the protocol's sentences say, kept in plain lists."""

from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
from sidegate_sidecar.model import (
    SECOND,
    Coverage,
    LogEntry,
    Micros,
    Registration,
    Removed,
    Revision,
    RevocationKind,
    SessionRecord,
    StoreFacts,
    Subject,
)

from tests.contract.fakes import LIMITS, FakeClock

ISSUERS = ("i1", "i2")
HANDLES = ("h1", "h2", "h3")
USERS = ("ada", "bob")
TENANTS = ("", "red")
KEYS = ("", "k1", "k2")
AFTERLIFE = LIMITS.max_token_lifetime + LIMITS.leeway

issuers = st.sampled_from(ISSUERS)
handles = st.sampled_from(HANDLES)
users = st.sampled_from(USERS)
tenants = st.sampled_from(TENANTS)
keys = st.sampled_from(KEYS[1:])
offsets = st.integers(-3, 3).map(lambda seconds: seconds * SECOND)


class Refused(Exception):
    """The model refuses, for this reason."""


@dataclass
class Model:
    """What the protocol's sentences say, without any cleverness. Entries of the log have no id here."""

    clock: FakeClock
    head: int = 0
    horizon: int = 0
    sessions: dict[tuple[str, str], SessionRecord] = field(default_factory=dict[tuple[str, str], SessionRecord])
    log: list[LogEntry] = field(default_factory=list[LogEntry])

    def append(
        self, kind: RevocationKind, issuer: str, subject: str, forget_time: Micros | None, **more: str | None
    ) -> None:
        self.head += 1
        self.log.append(
            LogEntry(
                sequence=self.head,
                entry_id=b"",
                kind=kind,
                issuer=issuer,
                subject=subject,
                tenant_id=more.get("tenant_id"),
                except_session_handle=more.get("except_session_handle"),
                revoke_time=self.clock.now,
                forget_time=forget_time,
            )
        )

    def revoked_at(self, issuer: str, handle: str) -> Micros | None:
        for entry in self.log:
            if (entry.kind, entry.issuer, entry.subject) == (RevocationKind.SESSION, issuer, handle):
                return entry.revoke_time
        return None

    def user_watermark(self, subject: Subject) -> Micros | None:
        return max(
            (
                entry.revoke_time
                for entry in self.log
                if (entry.kind, entry.issuer, entry.subject) == (RevocationKind.USER, subject.issuer, subject.user_id)
                and entry.tenant_id in (None, subject.tenant_id)
                and entry.except_session_handle != subject.session_handle
            ),
            default=None,
        )

    def tenant_watermark(self, subject: Subject) -> Micros | None:
        tenant = (RevocationKind.TENANT, subject.issuer, subject.tenant_id)
        return max(
            (entry.revoke_time for entry in self.log if (entry.kind, entry.issuer, entry.subject) == tenant),
            default=None,
        )

    def key_revoked(self, issuer: str, key: str) -> bool:
        return any((entry.kind, entry.issuer, entry.subject) == (RevocationKind.KEY, issuer, key) for entry in self.log)

    def facts(self, subject: Subject, store_id: str) -> StoreFacts:
        revoke_time = self.revoked_at(subject.issuer, subject.session_handle)
        record = self.sessions.get((subject.issuer, subject.session_handle))
        return StoreFacts(
            Coverage(
                session_revoked=revoke_time is not None,
                key_revoked=self.key_revoked(subject.issuer, subject.key_thumbprint),
                user_watermark=self.user_watermark(subject),
                tenant_watermark=self.tenant_watermark(subject),
            ),
            record and replace(record, revoke_time=revoke_time),
            Revision(store_id, self.head),
        )

    def register(self, batch: list[Registration]) -> list[SessionRecord]:
        sessions = dict(self.sessions)
        records: list[SessionRecord] = []
        for each in batch:
            name = (each.issuer, each.session_handle)
            known = sessions.get(name)
            if known and (known.user_id, known.tenant_id) != (each.user_id, each.tenant_id):
                raise Refused("SESSION_OF_ANOTHER")
            if self.revoked_at(*name) is not None:
                raise Refused("SESSION_REVOKED")
            subject = Subject(*name, each.user_id, each.tenant_id)
            watermarks = (self.user_watermark(subject), self.tenant_watermark(subject))
            watermark = max((each for each in watermarks if each is not None), default=None)
            if known:
                begin = known.create_time
            elif each.create_time is not None:
                begin = each.create_time
            else:
                begin = self.clock.now if watermark is None else max(self.clock.now, watermark + 1)
            if watermark is not None and begin <= watermark:
                raise Refused("CREATE_TIME_REVOKED")
            if each.session_expire_time <= begin:
                raise Refused("INVALID_FIELD")
            sessions[name] = SessionRecord(*name, each.user_id, each.tenant_id, begin, each.session_expire_time)
            records.append(sessions[name])
        self.sessions = sessions
        return records

    def revoke_sessions(self, issuer: str, wanted: list[str]) -> tuple[str, ...]:
        newly = tuple(handle for handle in dict.fromkeys(wanted) if self.revoked_at(issuer, handle) is None)
        for handle in newly:
            known = self.sessions.get((issuer, handle))
            end = known.session_expire_time if known else self.clock.now + LIMITS.max_session_lifetime
            end = max(end, self.clock.now)
            self.append(RevocationKind.SESSION, issuer, handle, end + AFTERLIFE)
        return newly

    def revoke_user(self, issuer: str, user: str, tenant: str | None, spare: str | None, accept_unknown: bool) -> int:
        if spare is not None:
            known = self.sessions.get((issuer, spare))
            if known.user_id != user if known else not accept_unknown:
                raise Refused("NOT_A_SESSION_OF_USER")
        ended = [
            record
            for record in self.alive(issuer)
            if record.user_id == user and tenant in (None, record.tenant_id) and record.session_handle != spare
        ]
        forget_time = self.clock.now + LIMITS.max_session_lifetime + AFTERLIFE
        self.append(RevocationKind.USER, issuer, user, forget_time, tenant_id=tenant, except_session_handle=spare)
        return self.end(ended)

    def revoke_tenant(self, issuer: str, tenant: str) -> int:
        ended = [record for record in self.alive(issuer) if record.tenant_id == tenant]
        forget_time = self.clock.now + LIMITS.max_session_lifetime + AFTERLIFE
        self.append(RevocationKind.TENANT, issuer, tenant, forget_time)
        return self.end(ended)

    def revoke_key(self, issuer: str, key: str) -> bool:
        if self.key_revoked(issuer, key):
            return False
        self.append(RevocationKind.KEY, issuer, key, None)
        return True

    def compact(self) -> Removed:
        over = [
            name for name, record in self.sessions.items() if record.session_expire_time + AFTERLIFE <= self.clock.now
        ]
        for name in over:
            del self.sessions[name]
        due = [
            entry
            for entry in self.log
            if entry.forget_time is not None and entry.forget_time <= self.clock.now and entry.sequence != self.head
        ]
        self.log = [entry for entry in self.log if entry not in due]
        self.horizon = max([self.horizon, *(entry.sequence for entry in due)])
        return Removed(len(due), len(over))

    def alive(self, issuer: str) -> list[SessionRecord]:
        """By handle."""
        return [
            record
            for (_, handle), record in sorted(self.sessions.items())
            if record.issuer == issuer
            and record.session_expire_time > self.clock.now
            and self.revoked_at(issuer, handle) is None
        ]

    def end(self, ended: list[SessionRecord]) -> int:
        for record in ended:
            forget_time = record.session_expire_time + AFTERLIFE
            self.append(RevocationKind.SESSION, record.issuer, record.session_handle, forget_time)
        return len(ended)
