"""Registering sessions in batches: a refusal costs the line that it is about, and none of its neighbours.

A batch is all or nothing, so what is at fault is taken out and the rest sent again. Registering is idempotent, so a
batch of which nobody knows what became of it is simply repeated.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidegate import CallFailed, InvalidRequest, PreconditionFailed, Registration

from sidegate_sidecar.cli.import_journal import Rejected
from sidegate_sidecar.cli.import_lines import Line

_FIRST_PAUSE_SECONDS = 0.2
_LAST_PAUSE_SECONDS = 5.0
_ITEM = re.compile(r"requests\[(\d{1,4})\](?:\.|\Z)", re.ASCII)
_ABOUT_EVERY_LINE = {"STORE_NOT_CONFIGURED", "ISSUER_REQUIRED"}  # errors.proto; no line is at fault


@dataclass(frozen=True, slots=True)
class Item:
    """A line and the session that it describes."""

    line: Line
    registration: Registration


class Registrar:
    """Registers lines through a sidecar.

    Args:
        register: Registers up to MAX_BATCH sessions, all or none: RevocationClient.register_sessions.
        patience: Seconds for which to keep asking a sidecar that gives no answer.
        default_issuer: What --issuer says. If the sidecar does not know it, no line is at fault.
        waiting: Told why, before each pause.
        sleep: Pauses, for that many seconds.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self,
        register: Callable[[Sequence[Registration]], object],
        *,
        patience: float,
        default_issuer: str | None,
        waiting: Callable[[CallFailed], None],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._register = register
        self._patience = patience
        self._default_issuer = default_issuer
        self._waiting = waiting
        self._sleep = sleep
        self._monotonic = monotonic

    def register(self, items: Sequence[Item]) -> list[Rejected]:
        """Register up to MAX_BATCH lines, in their order. What could not be, and why, in their order.

        Raises:
            CallFailed: No line is at fault, and some may be registered.
        """
        waiting, size = list(items), len(items)
        rejected: list[Rejected] = []
        while waiting:
            batch = waiting[:size]
            try:
                self._send(batch)
            except (InvalidRequest, PreconditionFailed) as refusal:
                culprit = _culprit(refusal, len(batch))
                if self._is_about_every_line(refusal, batch[culprit or 0]):
                    raise
                if culprit is None and len(batch) > 1:
                    size = len(batch) // 2
                    continue
                item = waiting.pop(culprit or 0)
                rejected.append(Rejected(item.line, without_position(refusal)))
                # What stands before the culprit was found good and goes first. Where one line in two is bad, batches
                # stay so small that nothing is sent a thousand times.
                size = max(1, culprit or 0)
            else:
                del waiting[: len(batch)]
                size *= 2
        return sorted(rejected, key=lambda each: each.line.number)

    def _send(self, batch: Sequence[Item]) -> None:
        registrations = [item.registration for item in batch]
        pause, until = _FIRST_PAUSE_SECONDS, self._monotonic() + self._patience
        while True:
            try:
                self._register(registrations)
            except CallFailed as failure:
                if not failure.retryable or self._monotonic() + pause > until:
                    raise
                self._waiting(failure)
                self._sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE_SECONDS)
            else:
                return

    def _is_about_every_line(self, refusal: CallFailed, item: Item) -> bool:
        return refusal.reason in _ABOUT_EVERY_LINE or (
            refusal.reason == "UNKNOWN_ISSUER" and item.registration.issuer == self._default_issuer
        )


def without_position(refusal: CallFailed) -> str:
    """What a refusal says, without the position in the batch: the line's number says more."""
    return _ITEM.sub("", str(refusal), count=1)


def _culprit(refusal: CallFailed, size: int) -> int | None:
    """The position in a batch of that size that a refusal names, e.g. in "requests[3].user_id". None: it names none."""
    match = _ITEM.match(refusal.field or "")
    position = int(match[1]) if match else size
    return position if position < size else None
