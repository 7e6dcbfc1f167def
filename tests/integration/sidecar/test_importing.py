"""`sidegate sessions import` against a real sidecar: nothing is lost, whatever is wrong with a line or is killed."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sidegate import RevocationClient, SessionNotRegistered, SessionState

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import (
    BIN,
    ENVIRONMENT,
    PATIENCE_SECONDS,
    Sidecar,
    check_output,
    eventually,
    file_issuer,
    issuers_setting,
    run_sidegate,
    running_sidecar,
)

OK, REJECTED, UNDECIDED, USAGE, INTERRUPTED = 0, 1, 3, 64, 130
MANY = 30_000  # 30 batches, some seconds


@pytest.fixture
def sidecar(issuer: FakeIssuer, folder: Path) -> Iterator[Sidecar]:
    with running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as running:
        yield running


@pytest.fixture
def admin(sidecar: Sidecar) -> Iterator[RevocationClient]:
    with sidecar.administration() as connected:
        yield connected


def line(handle: str, **members: object) -> str:
    session = {"session_handle": handle, "user_id": "alice", "create_time": 1793615400, "session_expire_time": 4e9}
    return json.dumps(session | members) + "\n"


def import_file(sidecar: Sidecar, file: Path | str, *options: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return run_sidegate(
        *("sessions", "import", file, *options),
        folder=sidecar.folder,
        stdin=stdin,
        SIDEGATE_ADMIN_TARGET=sidecar.admin_target,
    )


def rejected_lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(each) for each in Path(f"{file}.rejected").read_text().splitlines()]


def registered(sidecar: Sidecar) -> int:
    database = sqlite3.connect(f"file:{sidecar.folder}/sessions.db?mode=ro", uri=True)
    try:
        (count,) = database.execute("SELECT count(*) FROM sessions").fetchone()
    finally:
        database.close()
    return int(count)


def test_bad_lines_are_told_by_number_and_all_others_are_registered(
    sidecar: Sidecar, admin: RevocationClient, folder: Path
) -> None:
    file = folder / "moving.jsonl"
    admin.revoke_session("revoked")
    lines = [
        line("first", tenant_id="acme", create_time="2026-11-02T10:30:00Z"),
        "no session\n",
        "\n",
        line("revoked"),
        line("second", user_id=7),
        line("last"),
    ]
    file.write_text("".join(lines))

    outcome = import_file(sidecar, file)

    assert outcome.returncode == REJECTED
    assert outcome.stdout == f"imported  2 sessions of 6 lines\nrejected  3 lines; see {file}.rejected\n"
    found = rejected_lines(file)
    assert [(each["line"], each["text"]) for each in found] == [(n, lines[n - 1].rstrip("\n")) for n in (2, 4, 5)]
    assert found[1]["reason"] == "SESSION_REVOKED: The session was revoked; its handle can never be registered again."
    assert [outcome.stderr.count(f"line {number}: ") for number in (2, 4, 5)] == [1, 1, 1]
    first = admin.get_session("first")
    assert (first.tenant_id, first.create_time.isoformat()) == ("acme", "2026-11-02T10:30:00+00:00")
    assert admin.get_session("last").state is SessionState.ACTIVE
    with pytest.raises(SessionNotRegistered):
        admin.get_session("second")
    assert not Path(f"{file}.progress").exists()


def test_rejected_lines_can_be_mended_and_imported_again(
    sidecar: Sidecar, admin: RevocationClient, folder: Path
) -> None:
    file, mended = folder / "moving.jsonl", folder / "mended.jsonl"
    file.write_text(line("good") + line("bad", user_id=7))
    assert import_file(sidecar, file).returncode == REJECTED
    (bad,) = rejected_lines(file)
    mended.write_text(str(bad["text"]).replace("7", '"alice"', 1))

    assert import_file(sidecar, mended).returncode == OK

    assert admin.get_session("bad").user_id == "alice"
    assert not Path(f"{mended}.rejected").exists()


def test_a_dry_run_asks_nobody_and_leaves_nothing(folder: Path) -> None:
    file = folder / "moving.jsonl"
    file.write_text(line("first") + "no session\n")

    outcome = run_sidegate("sessions", "import", file, "--dry-run", "--json", folder=folder)

    assert outcome.returncode == REJECTED
    assert json.loads(outcome.stdout) == {"lines": 2, "registered": 1, "rejected": 1}
    assert outcome.stderr == "sidegate: line 2: not JSON\n"
    assert list(folder.iterdir()) == [file]


def test_standard_input_is_imported_and_leaves_no_progress(
    sidecar: Sidecar, admin: RevocationClient, folder: Path
) -> None:
    outcome = import_file(sidecar, "-", stdin=line("piped") + "no session\n")

    assert outcome.returncode == REJECTED
    assert admin.get_session("piped").user_id == "alice"
    assert (folder / "stdin.rejected").exists()
    assert list(folder.glob("*.progress")) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("absent.jsonl",), "absent.jsonl: No such file or directory"),
        ((".",), ".: Is a directory"),
        (("/dev/null",), "/dev/null: not a regular file; a pipe can be read as -"),
        (("-", "--progress-file", "p"), "--progress-file: an import from standard input cannot be resumed"),
        (("-", "--retry-for", "soon"), "--retry-for: not a duration"),
        (("-", "--rejected-file", "nowhere/r"), "nowhere/r: No such file or directory"),
        (("-", "--target", "http://x"), "is a URL"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_before_anything_is(
    folder: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    outcome = run_sidegate("sessions", "import", *arguments, folder=folder)
    assert outcome.returncode == USAGE
    assert complaint in outcome.stderr
    assert list(folder.iterdir()) == []


def test_without_a_sidecar_it_ends_and_says_how_to_go_on(folder: Path) -> None:
    file = folder / "moving.jsonl"
    file.write_text(line("first"))
    options = ("--retry-for", "1ms", "--target", f"unix://{folder}/nobody.sock")

    outcome = run_sidegate("sessions", "import", file, *options, folder=folder)

    assert outcome.returncode == UNDECIDED
    assert "0 lines were dealt with" in outcome.stderr
    assert "run the same command again to go on" in outcome.stderr
    assert list(folder.iterdir()) == [file]


def test_an_issuer_that_is_missing_or_misspelt_on_the_command_line_rejects_no_line(folder: Path) -> None:
    entries = [file_issuer(FakeIssuer(name), folder) for name in ("https://one.example", "https://two.example")]
    file = folder / "moving.jsonl"
    file.write_text(line("ours") + line("theirs", issuer="https://three.example"))
    with running_sidecar(folder, issuers=issuers_setting(*entries)) as sidecar, sidecar.administration() as admin:
        for options, reason in ((), "ISSUER_REQUIRED"), (("--issuer", "https://on.example"), "UNKNOWN_ISSUER"):
            outcome = import_file(sidecar, file, *options)
            assert outcome.returncode == USAGE
            assert reason in outcome.stderr
            assert "0 rejected" in outcome.stderr

        outcome = import_file(sidecar, file, "--issuer", "https://one.example")

        assert outcome.returncode == REJECTED
        assert [each["line"] for each in rejected_lines(file)] == [2]
        assert admin.get_session("ours", issuer="https://one.example").user_id == "alice"


class Importing:
    """An import of MANY lines that has come some way, and has some way to go."""

    def __init__(self, sidecar: Sidecar, *options: str) -> None:
        self.file = sidecar.folder / "many.jsonl"
        if not self.file.exists():
            self.file.write_text("".join(line(f"s-{n}", user_id=f"u-{n}") for n in range(MANY)))
        self.progress = Path(f"{self.file}.progress")
        self._errors = sidecar.folder / "import-errors"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [BIN / "sidegate", "sessions", "import", self.file, "--target", sidecar.admin_target, *options],
                cwd=sidecar.folder,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        try:
            eventually(lambda: self.progress.exists() or None, "the import never began")
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def said(self) -> str:
        """What it wrote so far on standard error."""
        return self._errors.read_text()

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """End it, or wait for its end. The exit status, and what it said."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_SECONDS)
        check_output(self.said())
        return status, self.said()


def went_on(outcome: subprocess.CompletedProcess[str]) -> bool:
    return "sidegate: going on after line " in outcome.stderr


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGINT, INTERRUPTED, "interrupted"), (signal.SIGKILL, -signal.SIGKILL, "")],
    ids=["Ctrl-C", "kill -9"],
)
def test_an_import_that_was_ended_goes_on_where_it_was(
    sidecar: Sidecar, number: signal.Signals, status: int, words: str
) -> None:
    importing = Importing(sidecar)
    ended, said = importing.end(number)
    assert ended == status
    assert words in said
    assert importing.progress.exists()

    outcome = import_file(sidecar, importing.file)

    assert outcome.returncode == OK
    assert went_on(outcome)
    assert outcome.stdout == f"imported  {MANY:,} sessions of {MANY:,} lines\n"
    assert registered(sidecar) == MANY
    assert not importing.progress.exists()


def test_an_import_waits_for_a_sidecar_that_was_killed_and_loses_nothing(
    sidecar: Sidecar, issuer: FakeIssuer, folder: Path
) -> None:
    importing = Importing(sidecar)
    sidecar.kill()
    eventually(lambda: "no answer, trying again" in importing.said() or None, "it never tried again")
    with running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as again:
        assert importing.end()[0] == OK
        assert registered(again) == MANY


def test_an_import_gives_up_in_time_and_can_be_resumed_later(
    sidecar: Sidecar, issuer: FakeIssuer, folder: Path
) -> None:
    importing = Importing(sidecar, "--retry-for", "1ms")
    sidecar.kill()
    status, said = importing.end()
    assert status == UNDECIDED
    assert "run the same command again to go on" in said
    with running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as again:
        outcome = import_file(again, importing.file)
        assert (outcome.returncode, went_on(outcome)) == (OK, True)
        assert registered(again) == MANY


def test_a_file_that_was_changed_since_is_not_resumed_by_mistake(sidecar: Sidecar) -> None:
    importing = Importing(sidecar)
    importing.end(signal.SIGKILL)
    with importing.file.open("a") as file:
        file.write(line("added"))

    outcome = import_file(sidecar, importing.file)

    assert outcome.returncode == USAGE
    assert "was left by an import of another version of the file; remove it to begin anew" in outcome.stderr


def test_on_a_terminal_a_bar_shows_how_far_it_is(sidecar: Sidecar, folder: Path) -> None:
    file = folder / "moving.jsonl"
    file.write_text(line("first") + "\x1b[2J\n")
    ours, theirs = pty.openpty()
    try:
        with os.fdopen(theirs, "wb") as terminal:
            status = subprocess.run(
                [BIN / "sidegate", "sessions", "import", file, "--target", sidecar.admin_target],
                cwd=folder,
                env=ENVIRONMENT | {"TERM": "xterm"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=terminal,
                check=False,
                timeout=PATIENCE_SECONDS,
            ).returncode
            shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    assert status == REJECTED
    assert "━" in shown
    assert "line 2: not JSON" in shown
    assert "2J" not in shown
