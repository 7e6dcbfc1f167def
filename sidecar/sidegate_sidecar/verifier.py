"""The decision: a token, the keys, the revocation index and, if need be, the store make a verdict.

Knows no gRPC and no SQL. Everything that may wait is a collaborator, described here by what the decision needs of it.
"""

import asyncio
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from sidegate_sidecar.authentication import Authenticator, Wait
from sidegate_sidecar.errors import (
    BatchBudgetSpent,
    IndexNotLoaded,
    IndexTooOld,
    InvalidRequest,
    PreconditionFailed,
    Rejected,
    RevisionNotReached,
    SidegateError,
)
from sidegate_sidecar.judgement import check_coverage, check_freshness, check_record
from sidegate_sidecar.model import (
    Clock,
    Coverage,
    Demand,
    Evidence,
    Micros,
    Rejection,
    Revision,
    Session,
    Source,
    StoreFacts,
    Subject,
    Verdict,
)
from sidegate_sidecar.remembered import VerifiedToken
from sidegate_sidecar.tokens import check_claims, check_expiry

MAX_AUDIENCES = 64
FRESHNESS_WAIT_SECONDS = 0.25  # how long `at_least_as_fresh` may wait for the index
BATCH_SLICE_SECONDS = 0.005  # a batch lets others run this often
BATCH_BUDGET_SECONDS = (
    0.25  # and holds the event loop no longer than this in all: 256 hostile tokens would for a second
)


class Index(Protocol):
    """All revocations that can still match, up to a revision."""

    revision: Revision

    def coverage(self, subject: Subject) -> Coverage:
        """Which revocations touch a session."""
        ...


class Revocations(Protocol):
    """The index as it is kept current."""

    @property
    def index(self) -> Index | None:
        """None until it has loaded once."""
        ...

    def lag(self) -> Micros:
        """How long ago the index was last known to be complete."""
        ...

    async def reach(self, wanted: Revision, timeout: float) -> None:
        """Return once the index has that revision. Raises RevisionNotReached, ForeignRevision."""
        ...


class SessionLookup(Protocol):
    """The store, as far as a verdict needs it."""

    async def look_up(self, subject: Subject) -> StoreFacts:
        """What the store knows now of one session. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Backing:
    """What a sidecar with a store has and a stateless one has not."""

    revocations: Revocations
    sessions: SessionLookup


_Steps: TypeAlias = Generator[Wait, Any, Verdict]
"""A decision under way: yields what it has to wait for, is sent the result, returns the verdict.

So one text serves both the single call and the batch, where a demand that need not wait costs no task.
"""


class Verifier:
    """Answers demands. Safe to call from many tasks of one event loop.

    Args:
        authenticator: Says whose token it is, and that its issuer signed it.
        backing: The store's side; None makes the verifier purely stateless.
        clock: The wall clock.
        max_revocation_lag: How old the index may be for an acceptance that rests on it alone. None: as old as it is.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        backing: Backing | None,
        *,
        clock: Clock,
        max_revocation_lag: Micros | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._backing = backing
        self._clock = clock
        self._max_revocation_lag = max_revocation_lag

    async def verify(self, demand: Demand) -> Verdict:
        """The verdict on one token.

        Raises:
            Undecided: Nobody could say.
            PreconditionFailed: The demand needs a store and there is none.
        """
        return await _finish(self._decide(demand))

    async def verify_batch(self, demands: Sequence[Demand]) -> list[Verdict | Exception]:
        """Verdicts in the order asked; for each demand that has none, the exception that `verify` would have raised.

        Those that need no wait are decided in turn; the others wait together, so that they share a query. Past the CPU
        budget the rest is `BatchBudgetSpent`.
        """
        results: list[Verdict | Exception] = [BatchBudgetSpent()] * len(demands)
        waiting: dict[int, asyncio.Task[Verdict]] = {}
        spent, slice_began = 0.0, time.perf_counter()
        try:
            for position, demand in enumerate(demands):
                steps = self._decide(demand)
                try:
                    wait = next(steps)
                except StopIteration as end:
                    results[position] = end.value
                except Exception as fault:  # noqa: BLE001 - an item's fault, whatever it is, is the answer to that item
                    results[position] = fault
                else:
                    waiting[position] = asyncio.create_task(_finish(steps, wait))
                held = time.perf_counter() - slice_began
                if held >= BATCH_SLICE_SECONDS:
                    spent += held
                    if spent >= BATCH_BUDGET_SECONDS:
                        break
                    await asyncio.sleep(0)
                    slice_began = time.perf_counter()
            for position, outcome in zip(
                waiting, await asyncio.gather(*waiting.values(), return_exceptions=True), strict=True
            ):
                if not isinstance(outcome, Verdict | Exception):
                    raise outcome
                results[position] = outcome
        finally:
            for task in waiting.values():
                task.cancel()
        for position, outcome in enumerate(results):
            if isinstance(outcome, Verdict) and self._is_outdated(outcome):
                results[position] = await self._verify_anew(demands[position])
        return results

    async def _verify_anew(self, demand: Demand) -> Verdict | Exception:
        try:
            return await self.verify(demand)
        except SidegateError as failure:
            return failure

    def _is_outdated(self, verdict: Verdict) -> bool:
        """Whether an acceptance rests on an index, or a time, that has moved on while others of its batch waited."""
        if not isinstance(verdict.outcome, Session):
            return False
        revision = self._evidence(Source.LOCAL, None).revision
        return verdict.evidence.revision != revision or verdict.outcome.token_expire_time <= self._clock()

    def _decide(self, demand: Demand) -> _Steps:
        """The decision, step by step as docs/concepts.md, "How Verify decides" numbers them."""
        _check_demand(demand, self._backing)
        source, key_id = Source.LOCAL, None
        try:
            token = self._authenticator.recall(demand.access_token)
            if token is None:
                token = yield from self._authenticator.authenticate(demand.access_token)  # 1, 2, 3
            policy, claims, subject = token.policy, token.claims, token.subject
            key_id = token.key.key_id
            check_claims(claims, policy, token.token_type, demand, self._clock())
            if self._backing is None:
                return Verdict(_session(token), self._evidence(source, key_id))
            revocations, sessions = self._backing.revocations, self._backing.sessions
            facts: StoreFacts | None = None
            if demand.at_least_as_fresh is not None:  # 4
                try:
                    yield partial(revocations.reach, demand.at_least_as_fresh, FRESHNESS_WAIT_SECONDS)
                except RevisionNotReached:
                    seen: StoreFacts = yield partial(sessions.look_up, subject)
                    check_freshness(seen.revision, demand.at_least_as_fresh)
                    facts = seen
            if demand.check_database and facts is None:  # 5
                facts = yield partial(sessions.look_up, subject)
            while True:  # 6: last, and again after every wait
                if facts is not None:
                    source = Source.DATABASE
                    if not self._authenticator.is_current(token):  # a wait may outlast a key
                        token = yield from self._authenticator.authenticate(demand.access_token)
                        key_id = token.key.key_id
                        if token.subject != subject:  # another key vouches for it now; the store was not asked of that
                            subject = token.subject
                            facts = yield partial(sessions.look_up, subject)
                            continue
                    check_coverage(facts.coverage, claims, policy, subject, facts)
                    if demand.check_database:
                        check_record(facts.record, subject, policy, self._clock())
                index = revocations.index
                if index is None:
                    raise IndexNotLoaded("the revocation index has not loaded yet")
                if not check_coverage(index.coverage(subject), claims, policy, subject, facts):
                    break
                facts = yield partial(sessions.look_up, subject)  # 7
            if facts is None:
                self._check_lag(revocations.lag())
            check_expiry(claims, self._clock())
            return Verdict(_session(token), self._evidence(source, key_id))
        except Rejected as refusal:
            rejection = Rejection(refusal.reason, refusal.next_action, refusal.message)
            return Verdict(rejection, self._evidence(source, key_id))

    def _check_lag(self, lag: Micros) -> None:
        if self._max_revocation_lag is not None and lag > self._max_revocation_lag:
            raise IndexTooOld("the revocation index is older than max_revocation_lag")

    def _evidence(self, source: Source, key_id: str | None) -> Evidence:
        revocations = None if self._backing is None else self._backing.revocations
        index = None if revocations is None else revocations.index
        if revocations is None or index is None:
            return Evidence(source, None, None, key_id)
        return Evidence(source, index.revision, revocations.lag(), key_id)


async def _finish(steps: _Steps, wait: Wait | None = None) -> Verdict:
    """Run a decision to its end, `wait` being what it already waits for."""
    try:
        wait = wait if wait is not None else next(steps)
        while True:
            try:
                result = await wait()
            except SidegateError as failure:
                wait = steps.throw(failure)
            else:
                wait = steps.send(result)
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict


def _check_demand(demand: Demand, backing: Backing | None) -> None:
    """Refuse what is the caller's mistake, whatever the token is. Raises InvalidRequest, PreconditionFailed."""
    if not demand.access_token:
        raise InvalidRequest("access_token", "must not be empty")
    if len(demand.accepted_audiences) > MAX_AUDIENCES:
        raise InvalidRequest("accepted_audiences", f"must not hold more than {MAX_AUDIENCES} items")
    if "" in demand.accepted_audiences:
        raise InvalidRequest("accepted_audiences", "must not hold an empty item")
    if demand.tenant_id == "":
        raise InvalidRequest("tenant_id", "must not be empty if it is set")
    if backing is None and (demand.check_database or demand.at_least_as_fresh is not None):
        raise PreconditionFailed(
            "check_database and at_least_as_fresh need a store, and this sidecar has none",
            reason="STORE_NOT_CONFIGURED",
        )


def _session(token: VerifiedToken) -> Session:
    claims = token.claims
    return Session(
        issuer=token.policy.issuer,
        session_handle=claims.session_handle,
        user_id=claims.user_id,
        tenant_id=claims.tenant_id,
        token_issue_time=claims.issue_time,
        token_expire_time=claims.expire_time,
        claims_json=token.claims_json,
    )
