"""Any sequence of operations, under any clock, beside a model that keeps everything in plain lists."""

import asyncio
import copy
import itertools
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sidegate_sidecar.errors import RequestRefused
from sidegate_sidecar.model import (
    SECOND,
    Coverage,
    KeyRevoked,
    LogEntry,
    Micros,
    Registration,
    Removed,
    Revision,
    RevocationKind,
    SessionRecord,
    SessionsEnded,
    SessionsRevoked,
    StoreFacts,
    Subject,
)
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import DAY, LIMITS, OPS, FakeClock, compact_all, log_of

T = TypeVar("T")

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


class StoreBesideModel(RuleBasedStateMachine):
    """Two stores on one database take turns, as two processes would."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.model = Model(self.clock)
        self.stores = itertools.cycle([self.runner.run(self.opened()), self.runner.run(self.opened())])
        self.store_id = self.runner.run(next(self.stores).read_log(1, 1)).store_id

    async def opened(self) -> SessionStore:
        store = SqliteStore(Path(self.folder.name) / "sessions.db", clock=self.clock)
        await store.migrate(LIMITS)
        await store.open()
        return store

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            for _ in range(2):
                self.runner.run(next(self.stores).close())
            self.runner.close()
            self.folder.cleanup()

    @rule(step=offsets)
    def step_the_clock(self, step: Micros) -> None:
        self.clock.now += step

    @rule(days=st.integers(1, 40))
    def let_days_pass(self, days: int) -> None:
        self.clock.now += days * DAY

    @rule(limit=st.integers(1, 5))
    def compact(self, limit: int) -> None:
        expected = self.model.compact()

        assert self.runner.run(compact_all(next(self.stores), limit)) == expected

    @rule(
        batch=st.lists(
            st.builds(
                Registration,
                issuer=issuers,
                session_handle=handles,
                user_id=users,
                tenant_id=tenants,
                create_time=st.none() | offsets,
                session_expire_time=offsets | st.just(DAY),
            ),
            min_size=1,
            max_size=3,
        )
    )
    def register(self, batch: list[Registration]) -> None:
        """Its times count from now."""
        batch = [
            replace(
                each,
                create_time=None if each.create_time is None else self.clock.now + each.create_time,
                session_expire_time=self.clock.now + each.session_expire_time,
            )
            for each in batch
        ]
        expected: list[SessionRecord] | str
        try:
            expected = self.model.register(batch)
        except Refused as refused:
            expected = str(refused)

        assert self.outcome_of(next(self.stores).register(batch)) == expected

    @rule(issuer=issuers, wanted=st.lists(handles, min_size=1, max_size=4), validate_only=st.booleans())
    def revoke_sessions(self, issuer: str, wanted: list[str], validate_only: bool) -> None:
        model = self.model_to_change(validate_only)
        expected = model.revoke_sessions(issuer, wanted)

        outcome = self.runner.run(next(self.stores).revoke_sessions(issuer, wanted, OPS, validate_only=validate_only))

        assert outcome == SessionsRevoked(expected, Revision(self.store_id, self.model.head))

    @rule(
        issuer=issuers,
        user=users,
        tenant=st.none() | tenants.filter(bool),
        spare=st.none() | handles,
        accept_unknown=st.booleans(),
        validate_only=st.booleans(),
    )
    def revoke_user(
        self, issuer: str, user: str, tenant: str | None, spare: str | None, accept_unknown: bool, validate_only: bool
    ) -> None:
        model = self.model_to_change(validate_only)
        expected: SessionsEnded | str
        try:
            count = model.revoke_user(issuer, user, tenant, spare, accept_unknown)
            expected = SessionsEnded(count, Revision(self.store_id, self.model.head))
        except Refused as refused:
            expected = str(refused)

        outcome = self.outcome_of(
            next(self.stores).revoke_user(
                issuer,
                user,
                tenant_id=tenant,
                except_session_handle=spare,
                accept_unknown_exception=accept_unknown,
                attribution=OPS,
                validate_only=validate_only,
            )
        )

        assert outcome == expected

    @rule(issuer=issuers, tenant=tenants.filter(bool), validate_only=st.booleans())
    def revoke_tenant(self, issuer: str, tenant: str, validate_only: bool) -> None:
        expected = self.model_to_change(validate_only).revoke_tenant(issuer, tenant)

        outcome = self.runner.run(next(self.stores).revoke_tenant(issuer, tenant, OPS, validate_only=validate_only))

        assert outcome == SessionsEnded(expected, Revision(self.store_id, self.model.head))

    @rule(issuer=issuers, key=keys, validate_only=st.booleans())
    def revoke_key(self, issuer: str, key: str, validate_only: bool) -> None:
        expected = self.model_to_change(validate_only).revoke_key(issuer, key)

        outcome = self.runner.run(
            next(self.stores).revoke_key(issuer, key, OPS, key_id=None, validate_only=validate_only)
        )

        assert outcome == KeyRevoked(expected, Revision(self.store_id, self.model.head))

    def model_to_change(self, validate_only: bool) -> Model:
        """The model itself, or one to throw away."""
        return copy.deepcopy(self.model) if validate_only else self.model

    def outcome_of(self, call: Coroutine[Any, Any, T]) -> T | str:
        """What it returns, or the reason of its refusal."""
        try:
            return self.runner.run(call)
        except RequestRefused as refused:
            return refused.reason

    @invariant()
    def look_ups_agree(self) -> None:
        if hasattr(self, "runner"):
            subjects = [Subject(*each) for each in itertools.product(ISSUERS, (*HANDLES, ""), USERS, TENANTS, KEYS)]
            known = self.runner.run(next(self.stores).look_up(subjects))
            assert known == [self.model.facts(subject, self.store_id) for subject in subjects]

    @invariant()
    def logs_agree(self) -> None:
        if hasattr(self, "runner"):
            log = self.runner.run(log_of(next(self.stores)))
            assert [replace(entry, entry_id=b"") for entry in log] == self.model.log
            page = self.runner.run(next(self.stores).read_log(1, 1))
            assert (page.head, page.horizon) == (self.model.head, self.model.horizon)


StoreBesideModel.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,  # a disk takes the time it takes
    suppress_health_check=[HealthCheck.too_slow],
)
TestStoreBesideModel = StoreBesideModel.TestCase
