"""Micro-batching against a real sidecar: a crowd is answered as each would be alone."""

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sidegate import (
    AsyncSessionClient,
    ClientClosed,
    InvalidRequest,
    Revision,
    SessionClient,
    SessionRejected,
    VerificationUnavailable,
)

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

CALLERS = 32
QUESTIONS = 20  # of each caller


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    entry = file_issuer(issuer, module_folder, tenant_claim="tid")
    with running_sidecar(module_folder, issuers=issuers_setting(entry)) as running:
        yield running


class Questions:
    """What callers ask, and what each must be answered. Every token is used once: no cache has seen it."""

    def __init__(self, issuer: FakeIssuer, sidecar: Sidecar) -> None:
        self._issuer = issuer
        self.revoked = "revoked"
        with sidecar.administration() as admin:
            self.revision = admin.revoke_session(self.revoked).revision

    def of(self, caller: int) -> list[tuple[str, dict[str, object], str]]:
        """Token, options, and what comes of it: the user, or the name of a reason."""
        chance = random.Random(caller)  # noqa: S311 - to vary a test, not to keep a secret
        return [self._question(chance.randrange(8), f"user-{caller}-{number}") for number in range(QUESTIONS)]

    def _question(self, kind: int, user: str) -> tuple[str, dict[str, object], str]:
        good = self._issuer.mint(user, f"session-of-{user}", tid="acme", aud="api")
        match kind:
            case 0:
                return self._issuer.mint(user, self.revoked), {}, "SESSION_REVOKED"
            case 1:
                return self._issuer.mint(user, f"s-{user}", exp=10), {}, "EXPIRED"
            case 2:
                return good, {"tenant_id": "another"}, "WRONG_TENANT"
            case 3:
                return good, {"audiences": [""]}, "accepted_audiences"
            case 4:
                return good, {"audiences": [f"audience-{number}" for number in range(200)]}, "accepted_audiences"
            case 5:
                return good, {"check_database": True}, user
            case 6:
                return good, {"at_least_as_fresh": self.revision}, user
            case _:
                return good, {"audiences": ["api"]}, user


@pytest.fixture(scope="module")
def questions(issuer: FakeIssuer, sidecar: Sidecar) -> Questions:
    return Questions(issuer, sidecar)


def outcome_of(failure: Exception) -> str:
    """What a caller makes of it."""
    match failure:
        case SessionRejected():
            return failure.reason.value
        case InvalidRequest():
            return str(failure.field)
        case _:
            return repr(failure)


def test_every_thread_of_a_crowd_gets_its_own_answers(sidecar: Sidecar, questions: Questions) -> None:
    def ask(caller: int) -> list[tuple[str, str]]:
        outcomes: list[tuple[str, str]] = []
        for token, options, expected in questions.of(caller):
            try:
                found = client.verify(token, timeout=60, **options).user_id  # type: ignore[arg-type]  # of many types
            except (SessionRejected, InvalidRequest, VerificationUnavailable) as failure:
                found = outcome_of(failure)
            outcomes.append((found, expected))
        return outcomes

    with SessionClient(sidecar.target) as client, ThreadPoolExecutor(CALLERS) as pool:
        for outcomes in pool.map(ask, range(CALLERS)):
            assert [found for found, _ in outcomes] == [expected for _, expected in outcomes]


async def test_every_task_of_a_crowd_gets_its_own_answers(sidecar: Sidecar, questions: Questions) -> None:
    async def ask(caller: int) -> list[tuple[str, str]]:
        outcomes: list[tuple[str, str]] = []
        for token, options, expected in questions.of(100 + caller):
            try:
                session = await client.verify(token, timeout=60, **options)  # type: ignore[arg-type]  # of many types
                found = session.user_id
            except (SessionRejected, InvalidRequest, VerificationUnavailable) as failure:
                found = outcome_of(failure)
            outcomes.append((found, expected))
        return outcomes

    async with AsyncSessionClient(sidecar.target) as client:
        for outcomes in await asyncio.gather(*(ask(caller) for caller in range(CALLERS))):
            assert [found for found, _ in outcomes] == [expected for _, expected in outcomes]


async def test_a_revision_of_another_store_makes_only_its_own_question_undecidable(
    sidecar: Sidecar, issuer: FakeIssuer, questions: Questions
) -> None:
    async with AsyncSessionClient(sidecar.target, timeout=60) as client:
        token = issuer.mint("alice", "alices")
        foreign, fresh = await asyncio.gather(
            client.verify(token, at_least_as_fresh=Revision("another", 1)),
            client.verify(token, at_least_as_fresh=questions.revision),
            return_exceptions=True,
        )
    assert isinstance(foreign, VerificationUnavailable)
    assert foreign.reason == "FOREIGN_REVISION"
    assert not isinstance(fresh, BaseException)
    assert fresh.user_id == "alice"


async def test_closing_ends_the_calls_of_all_who_wait(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    client = AsyncSessionClient(sidecar.target, timeout=60)
    asked = [asyncio.create_task(client.verify(issuer.mint(f"user-{number}"))) for number in range(600)]
    await asyncio.sleep(0)  # all have asked, and none has been answered
    await client.close()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ClientClosed}


def test_one_loop_after_another_may_batch(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    client = AsyncSessionClient(sidecar.target, timeout=60)

    async def crowd() -> set[str]:
        asked = [client.verify(issuer.mint(f"user-{number}")) for number in range(50)]
        return {session.user_id for session in await asyncio.gather(*asked)}

    try:
        assert asyncio.run(crowd()) == asyncio.run(crowd()) == {f"user-{number}" for number in range(50)}
    finally:
        asyncio.run(client.close())


def test_a_sidecar_that_is_killed_fails_everybody_who_waits_and_hangs_nobody(issuer: FakeIssuer, folder: Path) -> None:
    entry = file_issuer(issuer, folder)
    tokens = [issuer.mint(f"user-{number}") for number in range(CALLERS)]
    with (
        running_sidecar(folder, issuers=issuers_setting(entry)) as sidecar,
        SessionClient(sidecar.target, timeout=1.0) as client,
        ThreadPoolExecutor(CALLERS) as pool,
    ):

        def ask_until_it_fails(token: str) -> str:
            while True:
                try:
                    client.check(token, check_database=True)
                except VerificationUnavailable as failure:
                    return failure.code

        asking = [pool.submit(ask_until_it_fails, token) for token in tokens]
        client.verify(tokens[0])
        sidecar.kill()
        assert {asked.result(60) for asked in asking} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
