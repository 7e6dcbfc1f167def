"""A verifier whose waits a test holds open: between a question and its answer anything can be made to happen."""

import asyncio
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.model import (
    SECOND,
    Coverage,
    Demand,
    KeySet,
    LogEntry,
    Micros,
    Reason,
    Rejection,
    Revision,
    RevocationKind,
    Session,
    SessionRecord,
    StoreFacts,
    Subject,
    Verdict,
)
from sidegate_sidecar.revocations.index import RevocationIndex
from sidegate_sidecar.tokens import IssuerPolicy
from sidegate_sidecar.verifier import Backing, Verifier

from tests.unit.tokens.minting import ISSUER, KEY_ID, NOW, NOW_MICROS, claims_with, header, mint, signer

ALGORITHM = "EdDSA"  # the cheapest to sign with
STORE = "store-1"
USER = "user-7f3a"
HANDLE = "session-91c2"
POLICY = IssuerPolicy(
    issuer=ISSUER,
    session_claim="sid",
    tenant_claim="tid",
    max_token_lifetime=24 * 3600 * SECOND,
    leeway=30 * SECOND,
    issuer_clock_skew=2 * SECOND,
)
KEYS = KeySet(1, (signer(ALGORITHM).key(),))
THUMBPRINT = KEYS.keys[0].thumbprint
NO_KEYS = KeySet(0, ())
# Of the same name and algorithm, and it has signed nothing here.
ANOTHERS_KEY = replace(KEYS.keys[0], thumbprint="another", public_key=Ed25519PrivateKey.generate().public_key())

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Question, Answer]):
    """A question that waits for the test's answer."""

    question: Question
    _answer: asyncio.Future[Answer]

    def answer(self, value: Answer) -> None:
        self._answer.set_result(value)

    def fail(self, fault: Exception) -> None:
        self._answer.set_exception(fault)

    @property
    def abandoned(self) -> bool:
        return self._answer.cancelled()


class HeldCalls(Generic[Question, Answer]):
    """Each call waits until the test answers it."""

    def __init__(self) -> None:
        self.made: list[Question] = []
        self._arrived: asyncio.Queue[Call[Question, Answer]] = asyncio.Queue()

    async def ask(self, question: Question) -> Answer:
        self.made.append(question)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._arrived.put_nowait(Call(question, answer))
        return await answer

    async def next(self) -> Call[Question, Answer]:
        return await asyncio.wait_for(self._arrived.get(), 30)


class FakeClock:
    def __init__(self) -> None:
        self.now = NOW_MICROS

    def __call__(self) -> Micros:
        return self.now


class FakeKeys:
    """The issuer's keys; None: there are none to be had."""

    def __init__(self) -> None:
        self.current: KeySet | None = KEYS
        self.refetches: HeldCalls[str | None, KeySet] = HeldCalls()

    def key_set(self, issuer: str) -> KeySet:
        if self.current is None:
            raise KeysUnavailable("the issuer has not answered yet")
        return self.current

    async def key_set_with(self, issuer: str, key_id: str | None) -> KeySet:
        self.current = await self.refetches.ask(key_id)
        return self.current


class FakeRevocations:
    """A real index that only the test writes to."""

    def __init__(self) -> None:
        self.index: RevocationIndex | None = RevocationIndex(STORE, bytes(16))
        self.lag_micros: Micros = 0
        self.waits: HeldCalls[Revision, None] = HeldCalls()

    def lag(self) -> Micros:
        return self.lag_micros

    async def reach(self, wanted: Revision, timeout: float) -> None:
        await self.waits.ask(wanted)

    def revoke(
        self,
        kind: RevocationKind = RevocationKind.SESSION,
        subject: str = HANDLE,
        *,
        at: Micros = NOW_MICROS,
        tenant: str | None = None,
        spare: str | None = None,
    ) -> None:
        """Let the next entry of the log arrive."""
        assert self.index is not None
        sequence = self.index.revision.sequence + 1
        entry_id = sequence.to_bytes(16, "big")
        self.index.apply([LogEntry(sequence, entry_id, kind, ISSUER, subject, tenant, spare, at, None)])


class FakeLookup:
    def __init__(self) -> None:
        self.queries: HeldCalls[Subject, StoreFacts] = HeldCalls()

    async def look_up(self, subject: Subject) -> StoreFacts:
        return await self.queries.ask(subject)


class Bench:
    """A verifier and everything that it asks."""

    def __init__(self, policy: IssuerPolicy = POLICY, *, remembered: int = 0) -> None:
        self.clock = FakeClock()
        self.keys = FakeKeys()
        self.revocations = FakeRevocations()
        self.lookup = FakeLookup()
        authenticator = Authenticator([policy], self.keys, remembered=remembered)
        self.verifier = Verifier(authenticator, Backing(self.revocations, self.lookup), clock=self.clock)

    @property
    def waits_made(self) -> int:
        return len(self.keys.refetches.made) + len(self.revocations.waits.made) + len(self.lookup.queries.made)

    async def verify(self, demand: Demand) -> Verdict:
        return await asyncio.wait_for(self.verifier.verify(demand), 30)

    def begin(self, demand: Demand) -> asyncio.Task[Verdict]:
        return asyncio.create_task(self.verify(demand))


def token(*, key_id: str = KEY_ID, **claims: object) -> str:
    return mint(claims_with(**claims), header(ALGORITHM, kid=key_id), algorithm=ALGORITHM)


GOOD = Demand(token())
CHECKED = GOOD._replace(check_database=True)
FRESH = GOOD._replace(at_least_as_fresh=Revision(STORE, 7))
UNKNOWN_KEY = Demand(token(key_id="new"))
ISSUED_AT: Micros = (NOW - 60) * SECOND  # the iat of each of them

HEAD = Revision(STORE, 7)


def facts_of(coverage: Coverage, record: SessionRecord | None, revision: Revision = HEAD) -> StoreFacts:
    return StoreFacts(coverage, record, revision)


NOTHING = facts_of(Coverage(), None)


def record(*, create_time: Micros = NOW_MICROS - 3600 * SECOND, **changes: object) -> SessionRecord:
    registered = SessionRecord(ISSUER, HANDLE, USER, "", create_time, NOW_MICROS + 7200 * SECOND)
    return replace(registered, **changes)  # type: ignore[arg-type]  # each test names the field it changes


def registered(create_time: Micros = NOW_MICROS - 3600 * SECOND) -> StoreFacts:
    return facts_of(Coverage(), record(create_time=create_time))


def is_valid(verdict: Verdict) -> bool:
    return isinstance(verdict.outcome, Session)


def reason_of(verdict: Verdict | Exception) -> Reason:
    assert isinstance(verdict, Verdict), verdict
    assert isinstance(verdict.outcome, Rejection), "the token was accepted"
    return verdict.outcome.reason
