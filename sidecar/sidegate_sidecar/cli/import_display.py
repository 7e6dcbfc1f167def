"""What a person sees of an import under way: a bar on a terminal, a line now and then anywhere else."""

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from sidegate_sidecar.cli.import_journal import Rejected, Tally
from sidegate_sidecar.escaping import escaped

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Shows an import on standard error. A context manager.

    Args:
        total: How many bytes there are to read. None: nobody knows.
        begun: What an earlier run had done.
        shown_rejections: How many rejected lines are shown, each on a line. None: all.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        total: int | None,
        begun: Tally,
        *,
        shown_rejections: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begun = self._tally = begun
        self._unshown = shown_rejections
        self._monotonic = monotonic
        self._start = self._last_line = monotonic()
        console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(self._words(), total=total, completed=begun.offset)

    def advance(self, tally: Tally, rejected: Sequence[Rejected]) -> None:
        """Take in what has been done by now, and the lines rejected since the last time."""
        self._tally = tally
        for each in rejected:
            self._show(each)
        self._bar.update(self._task, description=self._words(), completed=tally.offset)
        now = self._monotonic()
        if self._bar.disable and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.say(self._words())

    def say(self, message: str) -> None:
        """A line of its own."""
        if self._bar.disable:
            sys.stderr.write(f"sidegate: {escaped(message)}\n")
        else:
            self._bar.console.print(Text(escaped(message)))  # Text, for rich reads markup and emoji in plain strings

    def rate(self) -> float:
        """Lines a second, of this run."""
        return (self._tally.lines - self._begun.lines) / max(self._monotonic() - self._start, 1e-9)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def _show(self, rejected: Rejected) -> None:
        if self._unshown is not None:
            self._unshown -= 1
            if self._unshown < 0:
                return
        self.say(f"line {rejected.line.number}: {rejected.reason}")
        if self._unshown == 0:
            self.say("further rejected lines are not shown here")

    def _words(self) -> str:
        tally = self._tally
        return (
            f"{tally.lines:,} lines, {tally.registered:,} registered, {tally.rejected:,} rejected, {self.rate():,.0f}/s"
        )
