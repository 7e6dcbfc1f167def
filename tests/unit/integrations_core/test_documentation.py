"""The guides are programs: their Python runs, their names exist, and what they point to is there."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sidegate import RejectionReason
from sidegate.integrations import guard
from sidegate.integrations.policy import AntiCsrf, WebPolicy
from sidegate.integrations.refusals import CredentialsProblem

DOCS = Path(__file__).resolve().parents[3] / "docs"
GUIDES = ("web-frameworks.md", "migrating-from-supertokens.md")
PROGRAMS = [
    pytest.param(program, id=f"{guide}-{number}")
    for guide in GUIDES
    for number, program in enumerate(
        re.findall(r"^```python\n(.*?)^```$", (DOCS / guide).read_text(), re.MULTILINE | re.DOTALL)
    )
]


def section(title: str) -> str:
    """A part of the first guide, under its heading."""
    return (DOCS / GUIDES[0]).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_its_python_runs(program: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.parametrize("guide", GUIDES)
def test_what_it_points_to_is_there(guide: str) -> None:
    named = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", (DOCS / guide).read_text())

    assert named
    assert [name for name in named if not (DOCS / name).exists()] == []


def test_every_setting_of_a_policy_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section("How tokens travel: `WebPolicy`"), re.MULTILINE)

    assert sorted(listed) == sorted(WebPolicy.__dataclass_fields__)


def test_every_argument_of_a_route_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section("What a route can ask"), re.MULTILINE)

    assert sorted(listed) == sorted(inspect.signature(guard.route_rules).parameters)


def test_every_reason_that_is_not_the_sidecars_is_listed() -> None:
    answered = section("What is answered")

    assert {problem for problem in CredentialsProblem if f"`{problem}`" not in answered} == set()
    assert {rule for rule in AntiCsrf if f"`{rule}`" not in (DOCS / GUIDES[0]).read_text()} == set()
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", answered))
    assert named - set(CredentialsProblem) - set(RejectionReason) == {
        "CSRF_HEADER_MISSING",
        "CLAIM_REQUIREMENT_FAILED",
        "VERIFICATION_UNAVAILABLE",
    }
