"""What holds for every file that somebody wrote by hand."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# "A file past about 300 lines is two files." Empty lines do not count; "about" is this much.
MAX_LINES = 300
TOLERANCE = 15
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
PACKAGES = ("sidecar/", "clients/", "k8s/", "tools/")

DIRECTIVE = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?"
    r"|(?:type|pyright):\s*ignore(?:\[[\w\s,-]*\])?"
    r"|pragma:\s*no (?:cover|branch)|nosec(?:\s+B\d+)?)"
)
REASON = re.compile(r"\w+\W+\w+")  # two words at least

# A registry's address, or the folders that a machine of ours happens to have. Written so as not to match itself.
MACHINE_BOUND = re.compile(
    r"(?:pypi|pythonhosted|npmjs)\.(?:org|com)|registry\.[a-z]+js|--(?:extra-)?index-url|--find-link[s][ =]"
    r"|(?<![\w.])/(?:work|root|home/\w+|opt/(?:wheels|pypi)[\w-]*)/"
)


def committed_files() -> list[Path]:
    """Every file that git knows, or would if it were added now."""
    # Whoever owns the clone: git would else refuse to list what another user checked out.
    git = ["git", "-c", "safe.directory=*"]
    listing = subprocess.run(
        [*git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = {ROOT / name for name in listing.stdout.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def named(path: Path) -> str:
    """How a file is called in a report."""
    return path.relative_to(ROOT).as_posix()


def is_generated(path: Path) -> bool:
    """Whether a tool wrote the file."""
    return "_pb2" in path.name or path.suffix == ".lock"


def hand_written_python() -> list[Path]:
    """Our Python files."""
    return [path for path in committed_files() if path.suffix == ".py" and not is_generated(path)]


def unexplained(source: str) -> Iterator[tuple[int, str]]:
    """The lines whose comment switches a check off without saying why."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and DIRECTIVE.search(token.string):
            said = DIRECTIVE.sub("", token.string)
            if not REASON.search(said):
                yield token.start[0], token.string


def test_no_file_of_the_packages_is_two_files() -> None:
    lengths = {
        named(path): sum(1 for line in path.read_text().splitlines() if line.strip())
        for path in hand_written_python()
        if named(path).startswith(PACKAGES)
    }

    assert lengths
    assert {name: length for name, length in lengths.items() if length > MAX_LINES + TOLERANCE} == {}


def test_no_name_says_nothing() -> None:
    def says_nothing(path: Path) -> bool:
        return any(Path(part).stem.lower() in EMPTY_NAMES for part in path.relative_to(ROOT).parts)

    assert [named(path) for path in committed_files() if says_nothing(path)] == []


def test_every_lint_exception_carries_its_reason() -> None:
    found = [
        f"{named(path)}:{line}: {comment}"
        for path in hand_written_python()
        for line, comment in unexplained(path.read_text())
    ]

    assert found == []


@pytest.mark.parametrize(
    ("comment", "explained"),
    [
        ("# noqa: S104", False),
        ("# noqa", False),
        ("# type: ignore[misc]", False),
        ("# pyright: ignore[reportPrivateUsage]", False),
        ("# type: ignore[misc]  # noqa: S104", False),
        ("# noqa: S104, S105", False),
        ("# noqa: S104 - loopback only", True),
        ("# type: ignore[misc]  # grpc has no types", True),
        ("# pyright: ignore[reportPrivateUsage] - the only way in", True),
        ("# an ordinary comment", True),
    ],
)
def test_a_reason_is_told_from_its_absence(comment: str, explained: bool) -> None:
    assert (list(unexplained(f"x = 1  {comment}\n")) == []) is explained


def test_nothing_committed_is_bound_to_a_registry_or_a_machine() -> None:
    found = [
        f"{named(path)}:{number}: {match.group()}"
        for path in committed_files()
        if path.suffix != ".binpb"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (match := MACHINE_BOUND.search(line))
    ]

    assert found == []


def test_the_locks_hold_no_address_at_all() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock"))

    assert locks
    assert [lock.name for lock in locks if "://" in lock.read_text()] == []


@pytest.mark.parametrize(
    "text",
    ["--index-" + "url=x", "see " + "https://" + "pypi" + ".org/simple", "/" + "work/main", "'/" + "root/.cache'"],
)
def test_a_registry_or_a_machine_is_recognized(text: str) -> None:
    assert MACHINE_BOUND.search(text)
