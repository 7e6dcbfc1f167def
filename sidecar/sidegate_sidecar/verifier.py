"""The decision: a token, the keys, the revocation index and, if need be, the store make a verdict.

Knows no gRPC and no SQL. Everything that may wait is a collaborator, described here by what the decision needs of it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias

from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.batch import Steps, decide_together, finish
from sidegate_sidecar.errors import (
    IndexNotLoaded,
    IndexTooOld,
    InvalidRequest,
    KeysUnavailable,
    PreconditionFailed,
    Rejected,
    RevisionNotReached,
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
    Source,
    StoreFacts,
    Subject,
    Verdict,
)
from sidegate_sidecar.remembered import VerifiedToken
from sidegate_sidecar.tokens import check_claims, check_expiry

MAX_AUDIENCES = 64
FRESHNESS_WAIT_SECONDS = 0.25  # how long `at_least_as_fresh` may wait for the index


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


class _Decision(NamedTuple):
    """A verdict; and, if it is an acceptance, the token that it accepts."""

    verdict: Verdict
    token: VerifiedToken | None


_Steps: TypeAlias = Steps[_Decision]


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
        self._batch_turns = asyncio.Lock()

    async def verify(self, demand: Demand) -> Verdict:
        """The verdict on one token.

        Raises:
            Undecided: Nobody could say.
            PreconditionFailed: The demand needs a store and there is none.
        """
        return (await finish(self._decide(demand))).verdict

    async def verify_batch(self, demands: Sequence[Demand]) -> list[Verdict | Exception]:
        """Verdicts in the order asked; for each demand that has none, the exception that `verify` would have raised.

        All of them hold at the moment of the answer: an acceptance that a revocation, a change of keys or the token's
        end has overtaken, while others of its batch were being decided, is decided anew. What cannot be kept up with,
        or comes when the CPU budget is spent, is `BatchBudgetSpent`.
        """
        decisions = await decide_together(
            len(demands), lambda position: self._decide(demands[position]), self._is_outdated, self._batch_turns
        )
        return [decision.verdict if isinstance(decision, _Decision) else decision for decision in decisions]

    def _is_outdated(self, decision: _Decision) -> bool:
        """Whether an acceptance rests on an index, a key set or a time that has moved on."""
        verdict, token = decision
        if token is None:
            return False
        try:
            has_its_keys = self._authenticator.is_current(token)
        except KeysUnavailable:
            return True
        return (
            not has_its_keys
            or verdict.evidence.revision != self._evidence(Source.LOCAL, None).revision
            or token.claims.expire_time <= self._clock()
        )

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
                return _Decision(Verdict(token.session, self._evidence(source, key_id)), token)
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
                waited = facts is not None or demand.at_least_as_fresh is not None
                if waited and not self._authenticator.is_current(token):  # a wait may outlast a key
                    token = yield from self._authenticator.authenticate(demand.access_token)
                    key_id = token.key.key_id
                    if token.subject != subject:  # another key vouches for it now
                        subject = token.subject
                        if facts is not None:  # the store was not asked of that
                            facts = yield partial(sessions.look_up, subject)
                            continue
                if facts is not None:
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
            return _Decision(Verdict(token.session, self._evidence(source, key_id)), token)
        except Rejected as refusal:
            rejection = Rejection(refusal.reason, refusal.next_action, refusal.message)
            return _Decision(Verdict(rejection, self._evidence(source, key_id)), None)

    def _check_lag(self, lag: Micros) -> None:
        if self._max_revocation_lag is not None and lag > self._max_revocation_lag:
            raise IndexTooOld("the revocation index is older than max_revocation_lag")

    def _evidence(self, source: Source, key_id: str | None) -> Evidence:
        revocations = None if self._backing is None else self._backing.revocations
        index = None if revocations is None else revocations.index
        if revocations is None or index is None:
            return Evidence(source, None, None, key_id)
        return Evidence(source, index.revision, revocations.lag(), key_id)


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
