"""Real sidecars on one store, what they answered under load and through faults, and how soon they recovered."""

import statistics
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.issuer import FakeIssuer
from tests.history.checker import DATABASE_SECONDS, violations
from tests.history.load import Load
from tests.history.operations import Answer, Downtime, History, Outage, Outcome
from tests.history.recording import Login, Recorder
from tests.integration.sidecar.processes import Sidecar, eventually, file_issuer, issuers_setting, running_sidecar

LOG_CHARACTERS = 3000  # of a sidecar, shown if a test fails
RECOVERY_SECONDS = 3.0  # what is promised, once a fault has ended
BUSY_SECONDS = 3.0  # what a machine may take on top that runs two sidecars, a load and a test beside others
BUSY_PATIENCE = 1.0  # likewise, for one answer of `check_database` during an outage; the median has to keep the promise


class Scene:
    """Sidecars by name, each with its recorder; all write into one history. A context manager.

    Args:
        folder: For sockets: its path must be short.
        settings: Of every sidecar.
    """

    def __init__(self, folder: Path, issuer: FakeIssuer, **settings: str) -> None:
        self.history = History()
        self.issuer = issuer
        self.recorders: dict[str, Recorder] = {}
        self._folder = folder
        self._settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), **settings}
        self._sidecars: dict[str, Sidecar] = {}
        self._store_urls: dict[str, str] = {}
        self._running = ExitStack()

    def add_sidecar(self, name: str, store_url: str) -> Recorder:
        """A sidecar that serves, and who asks it."""
        (self._folder / name).mkdir()
        self._store_urls[name] = store_url
        sidecar = self._start(name)
        recorder = Recorder(name, sidecar.target, sidecar.admin_target, self.history)
        self.recorders[name] = self._running.enter_context(recorder)
        return recorder

    def sidecar(self, name: str) -> Sidecar:
        """The process that goes by that name now."""
        return self._sidecars[name]

    def kill_sidecar(self, name: str) -> None:
        """kill -9."""
        self._sidecars[name].kill()

    @contextmanager
    def downtime(self, name: str) -> Generator[None]:
        """Note that the sidecar is down, or may be, within the block, at whose end it is started again."""
        began = time.monotonic()
        yield
        self._start(name)
        login, recorder = self.log_in(f"waits-for-{name}"), self.recorders[name]
        eventually(
            lambda: recorder.verify(login).answer is not Answer.UNAVAILABLE or None,  # the client has to notice too
            f"{name} does not come back",
        )
        self.history.downtimes.append(Downtime(sidecar=name, began=began, ended=time.monotonic()))

    @contextmanager
    def outage(self, sidecar: str | None = None) -> Generator[None]:
        """Note that the database is away from one sidecar, or from all, from the block's beginning to its end."""
        began = time.monotonic()
        yield
        self.history.outages.append(Outage(sidecar=sidecar, began=began, ended=time.monotonic()))

    def load(self) -> Load:
        """Clients of every sidecar. To be entered."""
        return Load(list(self.recorders.values()), self.issuer)

    def log_in(self, handle: str, user_id: str = "probe") -> Login:
        """A session that nobody registers."""
        return Login(handle, user_id, self.issuer.mint(user_id, handle))

    def recover(self, what: str) -> None:
        """Wait until all is well again, the fault having ended just now: every sidecar answers `check_database`, and
        refuses what is revoked after the fault through any other. Prints how long that took, and fails if too long.
        """
        ended = time.monotonic()
        live = self.log_in(f"live-after-{ended}")
        for taker in self.recorders.values():
            revoked = self.log_in(f"revoked-after-{ended}-through-{taker.name}")
            eventually(
                partial(_answers, taker, live, Answer.VALID, check_database=True),
                f"{taker.name} does not reach the database after: {what}",
            )
            eventually(
                partial(_acknowledges, taker, revoked),
                f"{taker.name} takes no revocation after: {what}",
            )
            for recorder in self.recorders.values():
                eventually(
                    partial(_answers, recorder, revoked, Answer.REVOKED),
                    f"{recorder.name} has not heard of a revocation after: {what}",
                )
        took = time.monotonic() - ended
        print(f"{what}: recovered {took:.2f} s after its end")  # noqa: T201 - the figure is wanted
        assert took < RECOVERY_SECONDS + BUSY_SECONDS

    def check(self) -> None:
        """Read the log and find nothing wrong with the history."""
        next(iter(self.recorders.values())).read_log()
        found = violations(self.history, patience=BUSY_PATIENCE)
        assert not found, f"{len(found)} violations, the first of which:\n" + "\n".join(map(str, found[:5]))
        self._check_not_vacuous()
        self._check_patience()

    def close(self) -> None:
        """Stop the sidecars."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            for name, sidecar in self._sidecars.items():
                print(f"the end of the log of {name}:\n{sidecar.log[-LOG_CHARACTERS:]}")  # noqa: T201 - pytest shows it
        self.close()

    def _start(self, name: str) -> Sidecar:
        settings = {**self._settings, "store_url": self._store_urls[name]}
        self._sidecars[name] = self._running.enter_context(running_sidecar(self._folder / name, **settings))
        return self._sidecars[name]

    def _check_not_vacuous(self) -> None:
        """A history in which nothing was accepted, refused or acknowledged proves nothing."""
        answers = {verification.answer for verification in self.history.verifications}
        assert {Answer.VALID, Answer.REVOKED} <= answers
        assert any(revocation.outcome is Outcome.ACKNOWLEDGED for revocation in self.history.revocations)

    def _check_patience(self) -> None:
        spans = sorted(
            verification.ended - verification.began
            for verification in self.history.verifications
            if verification.check_database and any(outage.contains(verification) for outage in self.history.outages)
        )
        if not self.history.outages:
            return
        assert spans, "nobody asked the database during the outage"
        median = statistics.median(spans)
        print(  # noqa: T201 - the figures are wanted
            f"check_database without a database: p50 {median * 1000:.0f} ms, worst {spans[-1] * 1000:.0f} ms"
        )
        assert median <= DATABASE_SECONDS


# True or None, for `eventually` waits until there is something.


def _answers(recorder: Recorder, login: Login, wanted: Answer, *, check_database: bool = False) -> bool | None:
    return recorder.verify(login, check_database=check_database).answer is wanted or None


def _acknowledges(recorder: Recorder, login: Login) -> bool | None:
    return recorder.revoke(login).outcome is Outcome.ACKNOWLEDGED or None
