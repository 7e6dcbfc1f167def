"""Any sequence of operations, under any clock, beside a model that keeps everything in plain lists."""

import asyncio
import copy
import itertools
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sidegate_sidecar.errors import RequestRefused
from sidegate_sidecar.model import (
    KeyRevoked,
    Micros,
    Registration,
    Revision,
    SessionRecord,
    SessionsEnded,
    SessionsRevoked,
    Subject,
)
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.backends import Backend, Backends
from tests.contract.fakes import DAY, LIMITS, OPS, compact_all, log_of
from tests.contract.store_model import (
    HANDLES,
    ISSUERS,
    KEYS,
    TENANTS,
    USERS,
    Model,
    Refused,
    handles,
    issuers,
    keys,
    offsets,
    tenants,
    users,
)

T = TypeVar("T")


class StoreBesideModel(RuleBasedStateMachine):
    """Two stores on one database take turns, as two processes would."""

    def __init__(self, backends: Backends) -> None:
        super().__init__()
        self.backends = backends
        self.runner = asyncio.Runner()
        self.owned = AsyncExitStack()

    @initialize()
    def begin(self) -> None:
        backend = self.runner.run(self.owned.enter_async_context(self.backends.fresh()))
        self.clock = backend.clock
        self.model = Model(self.clock)
        self.stores = itertools.cycle([self.runner.run(self.opened(backend)) for _ in range(2)])
        self.store_id = self.runner.run(next(self.stores).read_log(1, 1)).store_id

    async def opened(self, backend: Backend) -> SessionStore:
        store = backend.new_store()
        self.owned.push_async_callback(store.close)
        await store.migrate(LIMITS)
        await store.open()
        return store

    def teardown(self) -> None:
        self.runner.run(self.owned.aclose())
        self.runner.close()

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
        if hasattr(self, "stores"):
            subjects = [Subject(*each) for each in itertools.product(ISSUERS, (*HANDLES, ""), USERS, TENANTS, KEYS)]
            known = self.runner.run(next(self.stores).look_up(subjects))
            assert known == [self.model.facts(subject, self.store_id) for subject in subjects]

    @invariant()
    def logs_agree(self) -> None:
        if hasattr(self, "stores"):
            log = self.runner.run(log_of(next(self.stores)))
            assert [entry._replace(entry_id=b"") for entry in log] == self.model.log
            page = self.runner.run(next(self.stores).read_log(1, 1))
            assert (page.head, page.horizon) == (self.model.head, self.model.horizon)


def test_a_store_does_what_the_model_says(backends: Backends) -> None:
    class Machine(StoreBesideModel):
        def __init__(self) -> None:
            super().__init__(backends)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=backends.examples,
            stateful_step_count=25,
            deadline=None,  # a disk takes the time it takes
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
