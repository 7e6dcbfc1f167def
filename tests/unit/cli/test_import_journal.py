"""What an import leaves on disk, whatever ends it."""

import io
import json
from pathlib import Path

import pytest
from sidegate_sidecar.cli.import_journal import Journal, NotResumable, Rejected, Tally, fingerprint_of
from sidegate_sidecar.cli.import_lines import Line

IDENTITY = {"file": "17-abc", "target": "unix:///a"}
BAD = Rejected(Line(2, 10, b'{"caf\xe9'), "not UTF-8")
WORSE = Rejected(Line(3, 20, b"session"), "not JSON")
FIRST = Tally(lines=2, offset=10, registered=1, rejected=1)
SECOND = Tally(lines=3, offset=20, registered=1, rejected=2)


@pytest.fixture
def rejected_file(tmp_path: Path) -> Path:
    return tmp_path / "rejected"


@pytest.fixture
def progress_file(tmp_path: Path) -> Path:
    return tmp_path / "progress"


def rejected_numbers(rejected_file: Path) -> list[int]:
    return [json.loads(line)["line"] for line in rejected_file.read_bytes().splitlines()]


def test_a_rejected_line_is_kept_with_its_number_its_reason_and_itself(rejected_file: Path) -> None:
    with Journal(rejected_file, None, {}) as journal:
        journal.record(FIRST, [BAD])
    assert json.loads(rejected_file.read_bytes()) == {"line": 2, "reason": "not UTF-8", "text": '{"caf\\xe9'}
    assert rejected_file.stat().st_mode & 0o777 == 0o600


def test_an_import_goes_on_where_the_last_one_was(rejected_file: Path, progress_file: Path) -> None:
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        assert journal.tally == Tally()
        journal.record(FIRST, [BAD])
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        assert journal.tally == FIRST
        journal.record(SECOND, [WORSE])
    assert rejected_numbers(rejected_file) == [2, 3]
    assert {path.name for path in progress_file.parent.iterdir()} == {"progress", "rejected"}


def test_lines_that_were_rejected_just_before_a_kill_are_there_once_after_it(
    rejected_file: Path, progress_file: Path
) -> None:
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        journal.record(FIRST, [BAD])
    with rejected_file.open("ab") as file:  # what `record` writes first
        file.write(WORSE.as_json() + WORSE.as_json()[:9])

    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        journal.record(SECOND, [WORSE])

    assert rejected_numbers(rejected_file) == [2, 3]


def test_a_finished_import_leaves_only_what_was_rejected(rejected_file: Path, progress_file: Path) -> None:
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        journal.record(FIRST, [BAD])
        journal.finish()
    assert [path.name for path in progress_file.parent.iterdir()] == ["rejected"]


def test_a_new_import_forgets_what_an_earlier_one_rejected(rejected_file: Path, progress_file: Path) -> None:
    rejected_file.write_bytes(BAD.as_json())
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        journal.record(Tally(1, 5, 1, 0), [])
        journal.finish()
    assert list(progress_file.parent.iterdir()) == []


@pytest.mark.parametrize("name", IDENTITY)
def test_another_file_or_another_target_is_not_resumed(rejected_file: Path, progress_file: Path, name: str) -> None:
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        journal.record(FIRST, [BAD])
    before = (rejected_file.read_bytes(), progress_file.read_bytes())

    with pytest.raises(NotResumable, match=f"of another {name}; remove it to begin anew"):
        Journal(rejected_file, progress_file, IDENTITY | {name: "another"})

    assert (rejected_file.read_bytes(), progress_file.read_bytes()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"tally": {"lines": 1, "other": 2}, "rejected_bytes": 0, "identity": {}}',
        b'{"tally": {}, "rejected_bytes": 0, "identity": 5}',
    ],
)
def test_what_is_no_progress_file_is_left_alone(rejected_file: Path, progress_file: Path, content: bytes) -> None:
    progress_file.write_bytes(content)
    with pytest.raises(NotResumable, match="is not a progress file"):
        Journal(rejected_file, progress_file, IDENTITY)
    assert progress_file.read_bytes() == content


def test_rejected_lines_that_went_missing_are_noticed(rejected_file: Path, progress_file: Path) -> None:
    with Journal(rejected_file, progress_file, IDENTITY) as journal:
        journal.record(FIRST, [BAD])
    rejected_file.unlink()
    with pytest.raises(NotResumable, match="has lost lines since"):
        Journal(rejected_file, progress_file, IDENTITY)


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"a\nb\n", b"a\nc\n"), (b"a\n", b"a\nb\n"), (b"x" * 70_000, b"x" * 70_001)],
    ids=["head", "appended", "past the head"],
)
def test_a_file_that_was_changed_has_another_fingerprint(one: bytes, other: bytes) -> None:
    stream = io.BytesIO(one)
    assert fingerprint_of(stream) == fingerprint_of(io.BytesIO(one))
    assert fingerprint_of(stream) != fingerprint_of(io.BytesIO(other))
    assert stream.tell() == 0
