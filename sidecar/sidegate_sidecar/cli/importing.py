"""`sidegate sessions import`: moving in, with the sessions that another system has begun."""

import os
import stat
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, TypeAlias

import typer
from sidegate import CallFailed, InvalidRequest
from sidegate.targets import ADMIN_TARGET, ADMIN_TARGET_VARIABLE, resolve_target

from sidegate_sidecar.administration import MAX_BATCH
from sidegate_sidecar.cli.connecting import Admin, calls_admin
from sidegate_sidecar.cli.import_batches import Item, Registrar, without_position
from sidegate_sidecar.cli.import_display import Display
from sidegate_sidecar.cli.import_journal import Journal, NotResumable, Rejected, Tally, fingerprint_of
from sidegate_sidecar.cli.import_lines import BadLine, Line, read_lines
from sidegate_sidecar.cli.options import Issuer, Json
from sidegate_sidecar.cli.outcomes import Exit, duration_option, explained_failures, fail, say, to_json
from sidegate_sidecar.model import SECOND

STANDARD_INPUT = "-"
SHOWN_REJECTIONS = 20  # the file has them all

_Register: TypeAlias = Callable[[Sequence[Item]], list[Rejected]]
_Record: TypeAlias = Callable[[Tally, Sequence[Rejected]], None]


@calls_admin(timeout=10.0)
def import_sessions(
    admin: Admin,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - reads standard input.")],
    issuer: Issuer = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read the lines and say which are bad.")] = False,
    rejected_file: Annotated[
        Path | None,
        typer.Option("--rejected-file", help="Where rejected lines go.", show_default="FILE.rejected"),
    ] = None,
    progress_file: Annotated[
        Path | None,
        typer.Option("--progress-file", help="Where it is kept how far it came.", show_default="FILE.progress"),
    ] = None,
    retry_for: Annotated[
        str, typer.Option("--retry-for", help="How long to keep asking while there is no answer: 90s, 15m.")
    ] = "60s",
    as_json: Json = False,
) -> None:
    """Register sessions that a file describes, for moving in.

    Each session is a JSON object on a line of its own. This one is broken
    in two only to be read:

    {"session_handle": "s-1", "user_id": "alice", "create_time":
    "2026-11-02T10:30:00Z", "session_expire_time": 1798761600}

    Times are in RFC 3339 or in seconds since the epoch. "tenant_id" and
    "issuer" may be left out; lines without an issuer are of --issuer.

    Lines that cannot be imported go to FILE.rejected with their numbers
    and the reasons, and no other line is lost for them. After an
    interruption the same command goes on where it was. Standard input has
    to be imported from its beginning again, which does no harm.

    Exits with 0 if every line was imported, 1 if some were rejected, 3 if
    it did not get to the end.
    """
    if file == STANDARD_INPUT:
        if progress_file is not None:
            fail(Exit.USAGE, "--progress-file: an import from standard input cannot be resumed")
        rejected_file = rejected_file or Path("stdin.rejected")
    else:
        rejected_file = rejected_file or Path(f"{file}.rejected")
        progress_file = progress_file or Path(f"{file}.progress")
    patience = duration_option("--retry-for", retry_for) / SECOND
    with _opened(file) as (source, size):
        if dry_run:
            with Display(size, Tally()) as display:
                tally = _deal_with(source, Tally(), issuer, display, register=_register_nothing, record=_record_nothing)
            _conclude(tally, as_json, "can be imported", None)
            return
        with (
            explained_failures(),
            _journal(source, rejected_file, progress_file, admin.target) as journal,
            _explained_stop(journal, is_resumable=progress_file is not None),
            admin.client() as client,
            Display(size, journal.tally, shown_rejections=SHOWN_REJECTIONS) as display,
        ):
            registrar = Registrar(
                client.register_sessions,
                patience=patience,
                default_issuer=issuer,
                waiting=lambda failure: display.say(f"no answer, trying again: {failure}"),
            )
            if journal.tally.lines:
                display.say(f"going on after line {journal.tally.lines}")
                source.seek(journal.tally.offset)
            tally = _deal_with(
                source, journal.tally, issuer, display, register=registrar.register, record=journal.record
            )
            journal.finish()
    _conclude(tally, as_json, "imported", rejected_file)


def _deal_with(
    source: BinaryIO, tally: Tally, issuer: str | None, display: Display, *, register: _Register, record: _Record
) -> Tally:
    """Read what is left of the source, up to MAX_BATCH lines at a time, and do with it what `register` does."""
    lines = read_lines(source, after=tally.lines, offset=tally.offset)
    while chunk := list(islice(lines, MAX_BATCH)):
        items, rejected = _parsed(chunk, issuer)
        refused = register(items)
        rejected = sorted(rejected + refused, key=lambda each: each.line.number)
        tally = tally.after(chunk[-1], registered=len(items) - len(refused), rejected=len(rejected))
        record(tally, rejected)
        display.advance(tally, rejected)
    return tally


def _parsed(lines: Sequence[Line], issuer: str | None) -> tuple[list[Item], list[Rejected]]:
    items: list[Item] = []
    rejected: list[Rejected] = []
    for line in lines:
        try:
            registration = line.registration(issuer)
        except BadLine as fault:
            rejected.append(Rejected(line, str(fault)))
        else:
            if registration is not None:
                items.append(Item(line, registration))
    return items, rejected


def _register_nothing(_: Sequence[Item]) -> list[Rejected]:
    return []


def _record_nothing(_: Tally, __: Sequence[Rejected]) -> None:
    """A dry run leaves nothing on disk."""


@contextmanager
def _opened(file: str) -> Generator[tuple[BinaryIO, int | None]]:
    """What to read, and how many bytes it has. None: nobody knows."""
    if file == STANDARD_INPUT:
        yield sys.stdin.buffer, None
        return
    with ExitStack() as stack:
        try:
            source = stack.enter_context(Path(file).open("rb"))
            status = os.fstat(source.fileno())
        except OSError as failure:
            fail(Exit.USAGE, f"{file}: {failure.strerror}")
        if not stat.S_ISREG(status.st_mode):
            fail(Exit.USAGE, f"{file}: not a regular file; a pipe can be read as {STANDARD_INPUT}")
        yield source, status.st_size


def _journal(source: BinaryIO, rejected_file: Path, progress_file: Path | None, target: str | None) -> Journal:
    identity: dict[str, str] = {}
    if progress_file is not None:
        address = resolve_target(target, ADMIN_TARGET_VARIABLE, ADMIN_TARGET).address
        identity = {"version of the file": fingerprint_of(source), "target": address}
    try:
        return Journal(rejected_file, progress_file, identity)
    except NotResumable as fault:
        fail(Exit.USAGE, str(fault))
    except OSError as failure:
        fail(Exit.USAGE, f"{failure.filename}: {failure.strerror}")


@contextmanager
def _explained_stop(journal: Journal, *, is_resumable: bool) -> Generator[None]:
    """Turn what ends an import before its end into why, how far it came and how to go on."""
    status: Exit
    try:
        yield
    except KeyboardInterrupt:
        status, why = Exit.INTERRUPTED, "interrupted"
    except InvalidRequest as failure:
        status, why = Exit.USAGE, without_position(failure)
    except CallFailed as failure:
        status, why = Exit.UNDECIDED, str(failure)
    except OSError as failure:
        status, why = Exit.UNDECIDED, failure.strerror or type(failure).__name__
    else:
        return
    tally = journal.tally
    far = f"{tally.lines:,} lines were dealt with: {tally.registered:,} registered, {tally.rejected:,} rejected"
    how = "run the same command again to go on" if is_resumable else "import the whole input again; it does no harm"
    fail(status, why, far, how)


def _conclude(tally: Tally, as_json: bool, what: str, rejected_file: Path | None) -> None:
    if as_json:
        counts = {"lines": tally.lines, "registered": tally.registered, "rejected": tally.rejected}
        typer.echo(to_json(counts))
    else:
        say(f"{what}  {tally.registered:,} sessions of {tally.lines:,} lines")
        if tally.rejected:
            say(f"rejected  {tally.rejected:,} lines{'' if rejected_file is None else f'; see {rejected_file}'}")
    if tally.rejected:
        raise typer.Exit(Exit.REJECTED)
