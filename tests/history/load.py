"""Clients that do what services do all day: log in, verify, log out, through any sidecar, until they are stopped."""

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Self

from tests.fakes.issuer import FakeIssuer
from tests.history.operations import Outcome, Revocation
from tests.history.recording import Login, Recorder

PAUSE_SECONDS = 0.004  # between two steps of a client: a load, not a benchmark
PATIENCE_SECONDS = 60.0
ALIVE = 30  # how many sessions there are to begin with, and about so many later
REMEMBERED = 60  # how many revoked ones are asked about again


class Load:
    """Two threads verify, two log in and out. A context manager; the exception of a thread is raised at the end.

    Args:
        recorders: Of each sidecar one. All have an admin plane.
        issuer: Signs the tokens.
        seed: The same steps for the same seed, as far as threads have an order.
    """

    def __init__(self, recorders: Sequence[Recorder], issuer: FakeIssuer, *, seed: int = 1) -> None:
        self._recorders = recorders
        self._issuer = issuer
        self._numbers = count()
        self._sessions = threading.Lock()  # held to pick one: a deque must not change meanwhile
        self._alive: deque[Login] = deque()
        self._revoked: deque[tuple[Login, Revocation]] = deque(maxlen=REMEMBERED)
        self._stopping = threading.Event()
        self._progress = threading.Condition()
        self._steps = 0
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._repeat, args=(step, random.Random(f"{seed} {number}")))  # noqa: S311 - a load
            for number, step in enumerate((self._verify, self._verify, self._log_in_and_out, self._log_in_and_out))
        ]

    def log_in(self, recorder: Recorder, *, registered: bool) -> Login:
        """A session of a new user."""
        number = next(self._numbers)
        user_id, handle = f"user-{number}", f"session-{number}"
        login = Login(handle, user_id, self._issuer.mint(user_id, handle))
        if registered:
            recorder.register(login)
        return login

    def wait_for_steps(self, steps: int) -> None:
        """Return after so many further verifications, whatever their answers. Raises: AssertionError, none come."""
        with self._progress:
            wanted = self._steps + steps
            arrived = self._progress.wait_for(lambda: self._steps >= wanted or self._failures, PATIENCE_SECONDS)
        assert arrived, "the load stands still"
        self._raise_failures()

    def __enter__(self) -> Self:
        for number in range(ALIVE):
            self._alive.append(self.log_in(self._recorders[0], registered=number % 2 == 0))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        if exc is None:
            self._raise_failures()

    def _raise_failures(self) -> None:
        if self._failures:
            raise ExceptionGroup("clients failed", [Exception(repr(failure)) for failure in self._failures])

    def _repeat(self, step: Callable[[random.Random], None], choices: random.Random) -> None:
        try:
            while not self._stopping.wait(PAUSE_SECONDS):
                step(choices)
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever waits
            self._failures.append(failure)
            with self._progress:
                self._progress.notify_all()

    def _verify(self, choices: random.Random) -> None:
        recorder = choices.choice(self._recorders)
        revision = None
        with self._sessions:
            if self._revoked and choices.random() < 0.5:
                login, revocation = choices.choice(self._revoked)
                if choices.random() < 0.3:
                    revision = revocation.revision
            else:
                login = choices.choice(self._alive)
        recorder.verify(login, check_database=choices.random() < 0.3, at_least_as_fresh=revision)
        with self._progress:
            self._steps += 1
            self._progress.notify_all()

    def _log_in_and_out(self, choices: random.Random) -> None:
        recorder, neighbour = choices.choices(self._recorders, k=2)
        newest = self.log_in(recorder, registered=choices.random() < 0.5)
        with self._sessions:
            self._alive.append(newest)
            login = self._alive.popleft()
        alone = choices.random() < 0.8
        revocation = recorder.revoke(login) if alone else recorder.revoke_user(login.user_id)
        with self._sessions:
            self._revoked.append((login, revocation))
        recorder.verify(login)
        neighbour.verify(login, check_database=True)
        if revocation.outcome is Outcome.ACKNOWLEDGED:
            neighbour.verify(login, at_least_as_fresh=revocation.revision)
