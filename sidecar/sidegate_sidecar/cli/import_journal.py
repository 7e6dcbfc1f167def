"""How far an import has come, on disk: what survives whatever ends it.

Two files. The rejected lines are appended to one; the other is replaced after each batch, and says up to where the
first one counts. So a process that is killed between the two writes neither loses a rejected line nor keeps one twice.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from sidegate_sidecar.cli.import_lines import Line

_HEAD_BYTES = 64 * 1024
_PRIVATE = 0o600  # session handles and users


class NotResumable(Exception):
    """What is on disk does not belong to this import. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What has become of the lines so far. Blank lines count among `lines` alone.

    Attributes:
        lines: How many have been dealt with.
        offset: How many bytes of the file they make.
        registered: Sessions that the store has.
        rejected: Lines that are in the file of rejected lines.
    """

    lines: int = 0
    offset: int = 0
    registered: int = 0
    rejected: int = 0

    def after(self, line: Line, *, registered: int, rejected: int) -> "Tally":
        """The tally once everything up to that line has been dealt with, so many more having gone either way."""
        return Tally(line.number, line.end, self.registered + registered, self.rejected + rejected)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that could not be imported, and why."""

    line: Line
    reason: str

    def as_json(self) -> bytes:
        """One line of the file of rejected lines. Bytes that are no UTF-8 are shown as escapes."""
        text = self.line.text.decode(errors="backslashreplace")
        return json.dumps({"line": self.line.number, "reason": self.reason, "text": text}).encode() + b"\n"


def fingerprint_of(file: BinaryIO) -> str:
    """What tells a file from another version of it: its size, and a digest of its head. Leaves it at its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    digest = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    file.seek(0)
    return f"{size}-{digest}"


class Journal:
    """What an import leaves on disk. A context manager; leaving it removes a file of rejected lines that holds none.

    Args:
        rejected_file: Where rejected lines go. What it held before is kept only if the import is resumed.
        progress_file: Where the tally is kept. None: the import cannot be resumed.
        identity: What must be the same for an import to be resumed: which file, and into which store.

    Raises:
        NotResumable: There is a progress file, and it is not of this import.
        OSError: A file cannot be written.
    """

    def __init__(self, rejected_file: Path, progress_file: Path | None, identity: dict[str, str]) -> None:
        self._rejected_file = rejected_file
        self._progress_file = progress_file
        self._identity = identity
        self.tally, rejected_bytes = self._resumed()
        self._rejected = os.fdopen(os.open(rejected_file, os.O_RDWR | os.O_CREAT, _PRIVATE), "r+b", buffering=0)
        if self._rejected.seek(0, os.SEEK_END) < rejected_bytes:
            self._rejected.close()
            raise NotResumable(f"{rejected_file} has lost lines since; remove {progress_file} to begin anew")
        self._rejected.seek(rejected_bytes)
        self._rejected.truncate()

    def record(self, tally: Tally, rejected: Sequence[Rejected]) -> None:
        """Keep how far the import has come, and the lines that were rejected since. On disk when it returns."""
        if rejected:
            self._rejected.write(b"".join(each.as_json() for each in rejected))
            os.fsync(self._rejected.fileno())
        if self._progress_file is not None:
            self._write(self._progress_file, tally)
        self.tally = tally

    def finish(self) -> None:
        """Record that all is done: there is nothing left to resume."""
        if self._progress_file is not None:
            self._progress_file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        is_empty = not self._rejected.tell()
        self._rejected.close()
        if is_empty:
            self._rejected_file.unlink(missing_ok=True)

    def _resumed(self) -> tuple[Tally, int]:
        if self._progress_file is None:
            return Tally(), 0
        try:
            kept: dict[str, Any] = json.loads(self._progress_file.read_bytes())
            tally, rejected_bytes = Tally(**kept["tally"]), int(kept["rejected_bytes"])
            identity = dict(kept["identity"])
        except FileNotFoundError:
            return Tally(), 0
        except (ValueError, TypeError, KeyError):
            raise NotResumable(f"{self._progress_file} is not a progress file; remove it to begin anew") from None
        for name, value in self._identity.items():
            if identity.get(name) != value:
                raise NotResumable(
                    f"{self._progress_file} was left by an import of another {name}; remove it to begin anew"
                )
        return tally, rejected_bytes

    def _write(self, progress_file: Path, tally: Tally) -> None:
        kept = {"identity": self._identity, "rejected_bytes": self._rejected.tell(), "tally": asdict(tally)}
        beside = progress_file.with_name(f"{progress_file.name}.new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as file:
            file.write(json.dumps(kept).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(progress_file)
