"""Callers that never cease to ask, each with one client of theirs, and what they are told, judged as it comes."""

import asyncio
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sidegate import AsyncSessionClient, SessionClient, SessionRejected, VerificationUnavailable

CALLERS = 2  # for each question
PAUSE_SECONDS = 0.005  # between two calls of one caller: a crowd, and yet the machine is free for what is tested
TIMEOUT_SECONDS = 1.0
PATIENCE_SECONDS = 60.0

Client = SessionClient | AsyncSessionClient


@dataclass(frozen=True)
class Question:
    """What a caller asks, again and again.

    Attributes:
        user_id: Whose session the token is. None: it is never good.
        check_database: Then the sidecar itself has to answer, each time.
    """

    name: str
    token: str
    user_id: str | None
    check_database: bool = False


class Journal:
    """What all callers were told. Times are readings of `time.monotonic`.

    Attributes:
        wrong: What nobody should ever have been told.
        longest: The seconds that the longest call took.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.wrong: list[str] = []
        self.longest = 0.0
        self._changed = threading.Condition()
        self._decided = dict.fromkeys(questions, 0.0)  # when the call began that was last answered
        self._undecided = dict.fromkeys(questions, 0.0)  # and the one that was last not

    def take(self, question: Question, began: float, outcome: str | Exception) -> None:
        """Judge one call by the user that it named, or by what it raised."""
        with self._changed:
            self.longest = max(self.longest, time.monotonic() - began)
            if isinstance(outcome, VerificationUnavailable):
                self._undecided[question] = began
            elif isinstance(outcome, SessionRejected if question.user_id is None else str):
                self._decided[question] = began
                if outcome != question.user_id and question.user_id is not None:
                    self.wrong.append(f"{question.name}: the session of {outcome!r}")
            else:
                self.wrong.append(f"{question.name}: {outcome!r}")
            self._changed.notify_all()

    def wait_until_decided(self, since: float) -> float:
        """When every question had been answered that was asked after that time."""
        return self._wait(self._decided, since, self.questions)

    def wait_until_undecided(self, since: float) -> float:
        """When every question that only the sidecar answers had failed that was asked after that time."""
        return self._wait(self._undecided, since, [each for each in self.questions if each.check_database])

    def last_decided(self, question: Question) -> float:
        """When the call began that was last answered."""
        with self._changed:
            return self._decided[question]

    def _wait(self, begun: dict[Question, float], since: float, questions: Sequence[Question]) -> float:
        with self._changed:
            assert self._changed.wait_for(
                lambda: all(begun[question] > since for question in questions), PATIENCE_SECONDS
            ), f"since {since}: {begun}"
            return time.monotonic()


@contextmanager
def asking_threads(target: str, journal: Journal) -> Generator[SessionClient, None, None]:
    """Load from threads. What is yielded is their client."""
    over = threading.Event()

    def ask(question: Question) -> None:
        while not over.wait(PAUSE_SECONDS):
            began = time.monotonic()
            outcome: str | Exception
            try:
                outcome = client.verify(question.token, check_database=question.check_database).user_id
            except Exception as error:  # noqa: BLE001 - whatever it is, the journal judges it
                outcome = error
            journal.take(question, began, outcome)

    with SessionClient(target, timeout=TIMEOUT_SECONDS) as client:
        threads = [threading.Thread(target=ask, args=(each,)) for each in journal.questions for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield client
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
        assert not any(thread.is_alive() for thread in threads)


@contextmanager
def asking_tasks(target: str, journal: Journal) -> Generator[AsyncSessionClient, None, None]:
    """Load from the tasks of one event loop, in a thread of its own. What is yielded is their client."""
    over = threading.Event()

    async def ask(question: Question) -> None:
        while not over.is_set():
            began = time.monotonic()
            outcome: str | Exception
            try:
                outcome = (await client.verify(question.token, check_database=question.check_database)).user_id
            except Exception as error:  # noqa: BLE001 - whatever it is, the journal judges it
                outcome = error
            journal.take(question, began, outcome)
            await asyncio.sleep(PAUSE_SECONDS)

    async def ask_all() -> None:
        async with client:
            await asyncio.gather(*(ask(each) for each in journal.questions for _ in range(CALLERS)))

    client = AsyncSessionClient(target, timeout=TIMEOUT_SECONDS)
    thread = threading.Thread(target=asyncio.run, args=(ask_all(),))
    thread.start()
    try:
        yield client
    finally:
        over.set()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
