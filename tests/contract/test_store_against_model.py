"""Any sequence of operations, under any clock, beside a model that keeps everything in plain lists."""

import asyncio
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
    LogEntry,
    Micros,
    Registration,
    Revision,
    RevocationKind,
    SessionRecord,
    SessionsEnded,
    StoreFacts,
    Subject,
)
from sidegate_sidecar.store.protocol import SessionStore
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import DAY, LIMITS, NOW, OPS, FakeClock, log_of

T = TypeVar("T")

ISSUERS = ("i1", "i2")
HANDLES = ("h1", "h2", "h3")
USERS = ("ada", "bob")
TENANTS = ("", "red")
AFTERLIFE = LIMITS.max_token_lifetime + LIMITS.leeway

issuers = st.sampled_from(ISSUERS)
handles = st.sampled_from(HANDLES)
users = st.sampled_from(USERS)
tenants = st.sampled_from(TENANTS)
offsets = st.integers(-3, 3).map(lambda seconds: seconds * SECOND)


class Refused(Exception):
    """The model refuses, for this reason."""


@dataclass
class Model:
    """What the protocol's sentences say, without any cleverness. Entries of the log have no id here."""

    clock: FakeClock
    sessions: dict[tuple[str, str], SessionRecord] = field(default_factory=dict[tuple[str, str], SessionRecord])
    log: list[LogEntry] = field(default_factory=list[LogEntry])

    def append(self, kind: RevocationKind, issuer: str, subject: str, forget_time: Micros, **more: str | None) -> None:
        self.log.append(
            LogEntry(
                sequence=len(self.log) + 1,
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

    def watermark(self, subject: Subject) -> Micros | None:
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

    def facts(self, subject: Subject, store_id: str) -> StoreFacts:
        revoke_time = self.revoked_at(subject.issuer, subject.session_handle)
        record = self.sessions.get((subject.issuer, subject.session_handle))
        return StoreFacts(
            Coverage(session_revoked=revoke_time is not None, user_watermark=self.watermark(subject)),
            record and replace(record, revoke_time=revoke_time),
            Revision(store_id, len(self.log)),
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
            watermark = self.watermark(Subject(*name, each.user_id, each.tenant_id))
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
            for (_, handle), record in sorted(self.sessions.items())
            if (record.issuer, record.user_id) == (issuer, user)
            and tenant in (None, record.tenant_id)
            and handle != spare
            and record.session_expire_time > self.clock.now
            and self.revoked_at(issuer, handle) is None
        ]
        forget_time = self.clock.now + LIMITS.max_session_lifetime + AFTERLIFE
        self.append(RevocationKind.USER, issuer, user, forget_time, tenant_id=tenant, except_session_handle=spare)
        for record in ended:
            self.append(RevocationKind.SESSION, issuer, record.session_handle, record.session_expire_time + AFTERLIFE)
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

    @rule(
        batch=st.lists(
            st.builds(
                Registration,
                issuer=issuers,
                session_handle=handles,
                user_id=users,
                tenant_id=tenants,
                create_time=st.none() | offsets.map(lambda offset: NOW + offset),
                session_expire_time=(offsets | st.just(DAY)).map(lambda offset: NOW + offset),
            ),
            min_size=1,
            max_size=3,
        )
    )
    def register(self, batch: list[Registration]) -> None:
        expected: list[SessionRecord] | str
        try:
            expected = self.model.register(batch)
        except Refused as refused:
            expected = str(refused)

        assert self.outcome_of(next(self.stores).register(batch)) == expected

    @rule(issuer=issuers, wanted=st.lists(handles, min_size=1, max_size=4))
    def revoke_sessions(self, issuer: str, wanted: list[str]) -> None:
        expected = self.model.revoke_sessions(issuer, wanted)

        outcome = self.runner.run(next(self.stores).revoke_sessions(issuer, wanted, OPS))

        assert (outcome.newly_revoked, outcome.revision.sequence) == (expected, len(self.model.log))

    @rule(
        issuer=issuers,
        user=users,
        tenant=st.none() | tenants.filter(bool),
        spare=st.none() | handles,
        accept_unknown=st.booleans(),
    )
    def revoke_user(self, issuer: str, user: str, tenant: str | None, spare: str | None, accept_unknown: bool) -> None:
        expected: SessionsEnded | str
        try:
            count = self.model.revoke_user(issuer, user, tenant, spare, accept_unknown)
            expected = SessionsEnded(count, Revision(self.store_id, len(self.model.log)))
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
            )
        )

        assert outcome == expected

    def outcome_of(self, call: Coroutine[Any, Any, T]) -> T | str:
        """What it returns, or the reason of its refusal."""
        try:
            return self.runner.run(call)
        except RequestRefused as refused:
            return refused.reason

    @invariant()
    def look_ups_agree(self) -> None:
        if hasattr(self, "runner"):
            subjects = [Subject(*each) for each in itertools.product(ISSUERS, (*HANDLES, ""), USERS, TENANTS)]
            known = self.runner.run(next(self.stores).look_up(subjects))
            assert known == [self.model.facts(subject, self.store_id) for subject in subjects]

    @invariant()
    def logs_agree(self) -> None:
        if hasattr(self, "runner"):
            log = self.runner.run(log_of(next(self.stores)))
            assert [replace(entry, entry_id=b"") for entry in log] == self.model.log


StoreBesideModel.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,  # a disk takes the time it takes
    suppress_health_check=[HealthCheck.too_slow],
)
TestStoreBesideModel = StoreBesideModel.TestCase
