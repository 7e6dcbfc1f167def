"""The command line from outside: what it prints, and how it exits. What `sidegate dev` says to try is tried."""

import base64
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.issuer import FakeIssuer, with_another_signature
from tests.integration.sidecar.development import DevelopmentSidecar, running_dev
from tests.integration.sidecar.processes import (
    BIN,
    ENVIRONMENT,
    PATIENCE_SECONDS,
    ROOT,
    file_issuer,
    issuers_setting,
    run_sidegate,
    running_sidecar,
)

OK, REJECTED, UNDECIDED, USAGE, UNAVAILABLE = 0, 1, 3, 64, 69

COMMANDS = [
    (),
    ("run",),
    ("dev",),
    ("verify",),
    ("status",),
    ("revoke",),
    ("revoke", "session"),
    ("revoke", "user"),
    ("revoke", "tenant"),
    ("revoke", "key"),
    ("sessions",),
    ("sessions", "register"),
    ("sessions", "get"),
    ("sessions", "list"),
    ("sessions", "import"),
    ("revocations",),
    ("revocations", "list"),
    ("migrate",),
    ("token",),
    ("token", "mint"),
]


@pytest.fixture(scope="module")
def dev(module_folder: Path) -> Iterator[DevelopmentSidecar]:
    with running_dev(module_folder) as running:
        yield running


@pytest.fixture
def mint(dev: DevelopmentSidecar) -> Any:
    """Mints a token of a session and user."""

    def run(session: str, user: str = "alice") -> str:
        outcome = run_sidegate("token", "mint", "--user", user, "--session", session, folder=dev.folder)
        assert outcome.returncode == OK
        return outcome.stdout.strip()

    return run


def verify(dev: DevelopmentSidecar, token: str, *options: str) -> tuple[int, str]:
    """The exit status of `sidegate verify`, and what it printed."""
    outcome = run_sidegate("verify", token, *options, folder=dev.folder, SIDEGATE_TARGET=dev.target)
    return outcome.returncode, outcome.stdout


def admin(dev: DevelopmentSidecar, *arguments: str) -> tuple[int, str]:
    """The exit status of an admin command, and what it printed."""
    outcome = run_sidegate(*arguments, folder=dev.folder, SIDEGATE_ADMIN_TARGET=dev.admin_target)
    return outcome.returncode, outcome.stdout


def test_the_walk_that_dev_prints_leads_from_valid_to_refused(folder: Path) -> None:
    with running_dev(folder) as dev:
        assert dev.token in dev.welcome
        outcomes = [dev.run(command) for command in dev.commands]

    assert [outcome.returncode for outcome in outcomes] == [OK, OK, OK, REJECTED, REJECTED, OK, OK]
    valid, in_database, revoked, refused, refused_in_database, trail, another = (out.stdout for out in outcomes)
    assert valid.startswith("valid\n")
    assert "alice" in valid
    assert "local and database" in in_database
    assert revoked.startswith("revoked")
    assert refused.startswith("rejected: SESSION_REVOKED")
    assert refused_in_database.startswith("rejected: SESSION_REVOKED")
    assert "trying it out" in trail
    assert another.startswith("valid\n")
    assert "bobs-laptop" in another


HOSTILE = "x\x1b[2J\x9b31m\u202ey[red]:bomb:"
HARMLESS = "x\\x1b[2J\\x9b31m\\u202ey[red]:bomb:"


@pytest.fixture(scope="module")
def hostile_entries(dev: DevelopmentSidecar) -> None:
    """A session and a user with such names, and what has revoked them."""
    for arguments in (
        ("sessions", "register", HOSTILE, HOSTILE),
        ("revoke", "session", HOSTILE, "--reason", HOSTILE),
        ("revoke", "user", HOSTILE),
    ):
        assert admin(dev, *arguments)[0] == OK


@pytest.mark.usefixtures("hostile_entries")
@pytest.mark.parametrize(
    "arguments",
    [
        ("sessions", "register", f"new {HOSTILE}", "new", "--tenant", HOSTILE),
        ("sessions", "get", HOSTILE),
        ("sessions", "list", HOSTILE),
        ("revoke", "session", HOSTILE, "--reason", HOSTILE),
        ("revoke", "user", HOSTILE, "--reason", HOSTILE),
        ("revoke", "tenant", HOSTILE, "--reason", HOSTILE),
        ("revoke", "session", HOSTILE, "--validate-only"),
        ("revoke", "user", HOSTILE, "--validate-only"),
        ("revoke", "tenant", HOSTILE, "--validate-only"),
        ("revocations", "list", "--session", HOSTILE),
        ("revocations", "list", "--user", HOSTILE),
    ],
    ids=" ".join,
)
def test_no_admin_command_sends_a_terminal_what_it_would_obey(
    dev: DevelopmentSidecar, arguments: tuple[str, ...]
) -> None:
    status, printed = admin(dev, *arguments)

    assert status == OK, printed
    assert HARMLESS in printed
    assert not any(character in printed for character in "\x1b\x9b\u202e")


def test_a_verdict_and_a_status_send_a_terminal_nothing_that_it_would_obey(folder: Path) -> None:
    hostile = FakeIssuer(HOSTILE)
    with running_sidecar(folder, issuers=issuers_setting(file_issuer(hostile, folder))) as sidecar:
        outcomes = [
            run_sidegate(*arguments, folder=folder, SIDEGATE_TARGET=sidecar.target)
            for arguments in (("status",), ("verify", hostile.mint(HOSTILE, "s")))
        ]

    assert [outcome.returncode for outcome in outcomes] == [OK, OK]
    for outcome in outcomes:
        assert HARMLESS in outcome.stdout
        assert not any(character in outcome.stdout for character in "\x1b\x9b\u202e")


def test_a_second_dev_in_the_folder_keeps_key_store_and_revocations(folder: Path) -> None:
    with running_dev(folder) as dev:
        old = dev.token
        assert dev.run(dev.commands[2]).stdout.startswith("revoked")
        kept = run_sidegate("token", "mint", "--session", "kept", folder=folder).stdout.strip()
    with running_dev(folder) as dev:
        assert dev.token != old
        assert verify(dev, old)[0] == REJECTED
        assert verify(dev, kept)[0] == OK
        assert verify(dev, dev.token, "--check-database")[0] == OK


def test_a_state_directory_of_ones_own_is_in_every_command_printed(folder: Path) -> None:
    with running_dev(folder, "--state-dir", "some where") as dev:
        assert not (folder / ".sidegate").exists()
        statuses = [dev.run(command).returncode for command in dev.commands]
    assert statuses == [OK, OK, OK, REJECTED, REJECTED, OK, OK]


def test_the_private_key_of_dev_is_its_owners_alone(dev: DevelopmentSidecar) -> None:
    state = dev.folder / ".sidegate"
    assert state.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.iterdir())


def test_dev_says_in_words_why_it_cannot_start(dev: DevelopmentSidecar, folder: Path) -> None:
    taken = run_sidegate("dev", "--listen", dev.target, "--admin-listen", "127.0.0.1:0", folder=folder)
    assert taken.returncode == UNAVAILABLE
    assert f"cannot listen on {dev.target}: the address is in use" in taken.stderr
    assert taken.stderr.endswith("; choose another with --listen or --admin-listen\n")


@pytest.mark.parametrize("option", ["--listen", "--admin-listen"])
@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("0.0.0.0:0", "0.0.0.0:0: sidegate dev is for this host alone"),
        ("nowhere", "'nowhere': write unix:///path or host:port"),
        ("127.0.0.1:70000", "'127.0.0.1:70000': a port is at most 65535"),
    ],
)
def test_dev_names_the_option_that_will_not_do(folder: Path, option: str, place: str, complaint: str) -> None:
    outcome = run_sidegate("dev", option, place, folder=folder)

    assert outcome.returncode == USAGE
    assert outcome.stderr.startswith(f"sidegate: {option}: {complaint}")
    assert list(folder.iterdir()) == []


def test_dev_does_not_serve_both_planes_in_one_place(folder: Path) -> None:
    outcome = run_sidegate("dev", "--listen", "127.0.0.1:7312", folder=folder)

    assert outcome.returncode == USAGE
    assert outcome.stderr.startswith("sidegate: --admin-listen: 127.0.0.1:7312: ")


def test_a_token_that_would_be_born_expired_is_not_minted(dev: DevelopmentSidecar) -> None:
    for lifetime, complaint in (("999ms", "must be at least 1s"), ("soon", "not a duration")):
        outcome = run_sidegate("token", "mint", "--lifetime", lifetime, folder=dev.folder)
        assert (outcome.returncode, outcome.stdout) == (USAGE, "")
        assert outcome.stderr.startswith(f"sidegate: --lifetime: {complaint}")
    assert run_sidegate("token", "mint", "--lifetime", "1s", folder=dev.folder).returncode == OK


def test_make_run_hands_its_arguments_on() -> None:
    outcome = subprocess.run(
        ["make", "--dry-run", "run", "ARGS=--listen 127.0.0.1:0"],  # noqa: S607 - whichever make there is
        cwd=ROOT,
        # Not those of the make that runs the tests: they would make this one tell of its folder.
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert outcome.stdout.splitlines()[-1].endswith("sidegate dev --listen 127.0.0.1:0")


def test_verify_exits_as_the_verdict_is(dev: DevelopmentSidecar, mint: Any) -> None:
    token = mint("statuses")

    assert verify(dev, token)[0] == OK
    assert verify(dev, with_another_signature(token))[0] == REJECTED
    assert verify(dev, "rubbish")[0] == REJECTED
    assert verify(dev, token, "--tenant", "acme")[0] == REJECTED
    assert verify(dev, "")[0] == USAGE
    assert verify(dev, token, "--audience", "")[0] == USAGE
    assert verify(dev, token, "--target", "unix:///nowhere/s.sock")[0] == UNDECIDED
    assert verify(dev, token, "--nonsense")[0] == USAGE


def test_verify_reads_the_token_from_standard_input(dev: DevelopmentSidecar, mint: Any) -> None:
    outcome = run_sidegate("verify", "-", folder=dev.folder, stdin=f"{mint('stdin')}\n", SIDEGATE_TARGET=dev.target)
    assert outcome.returncode == OK
    assert "stdin" in outcome.stdout


def test_json_is_json(dev: DevelopmentSidecar, mint: Any) -> None:
    valid = json.loads(verify(dev, mint("json"), "--json", "--check-database")[1])
    assert valid["verdict"] == "valid"
    assert valid["session"]["session_handle"] == "json"
    assert valid["evidence"]["source"] == "DATABASE"
    refused = json.loads(verify(dev, "rubbish", "--json")[1])
    assert (refused["verdict"], refused["rejection"]["reason"]) == ("rejected", "MALFORMED")
    undecided = json.loads(verify(dev, "rubbish.rubbish.rubbish", "--json", "--target", "unix:///nowhere/s.sock")[1])
    assert undecided["verdict"] == "undecided"
    status = run_sidegate("status", "--json", folder=dev.folder, SIDEGATE_TARGET=dev.target)
    assert json.loads(status.stdout)["store_state"] == "AVAILABLE"
    assert json.loads(admin(dev, "sessions", "register", "json-1", "erin", "--json")[1])[0]["user_id"] == "erin"
    assert json.loads(admin(dev, "sessions", "get", "json-1", "--json")[1])[0]["state"] == "ACTIVE"
    assert json.loads(admin(dev, "sessions", "list", "erin", "--json")[1])[0]["session_handle"] == "json-1"
    assert json.loads(admin(dev, "revoke", "user", "erin", "--json")[1])["revoked_count"] == 1
    assert json.loads(admin(dev, "revoke", "session", "json-2", "--json")[1])["newly_revoked_handles"] == ["json-2"]
    assert len(json.loads(admin(dev, "revocations", "list", "--user", "erin", "--json")[1])) == 2


def test_the_admin_commands_say_what_came_of_it(dev: DevelopmentSidecar) -> None:
    assert admin(dev, "sessions", "get", "nobody")[0] == REJECTED
    assert admin(dev, "sessions", "register", "words-1", "frank", "--expires-in", "12h")[0] == OK
    assert admin(dev, "sessions", "register", "words-1", "george")[0] == REJECTED
    assert admin(dev, "revoke", "session", "words-1") == (OK, "revoked  words-1\n")
    assert admin(dev, "revoke", "session", "words-1") == (OK, "was revoked before  words-1\n")
    assert admin(dev, "sessions", "register", "words-1", "frank")[0] == REJECTED
    assert admin(dev, "revoke", "user", "george", "--except", "words-1")[0] == USAGE
    assert admin(dev, "sessions", "register", "words-2", "frank", "--expires-in", "soon")[0] == USAGE
    assert admin(dev, "revoke", "session", "x" * 600)[0] == USAGE
    assert (
        admin(dev, "revoke", "session", "x", "--target", "unix:///nowhere/s.sock", "--timeout", "0.5")[0] == UNDECIDED
    )
    assert "words-1" in admin(dev, "revocations", "list")[1]


UNCHANGED = "validated only: nothing was changed\n"


def test_what_is_only_validated_says_that_nothing_was_changed(dev: DevelopmentSidecar, mint: Any) -> None:
    token = mint("careful-1", "harriet")
    key = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"]
    assert admin(dev, "sessions", "register", "careful-1", "harriet")[0] == OK
    assert admin(dev, "revoke", "session", "careful-2")[0] == OK
    trail = admin(dev, "revocations", "list")

    sessions = admin(dev, "revoke", "session", "careful-1", "careful-2", "--validate-only")
    user = admin(dev, "revoke", "user", "harriet", "--validate-only")
    tenant = admin(dev, "revoke", "tenant", "red", "--validate-only")
    by_id = admin(dev, "revoke", "key", key, "--validate-only")

    assert sessions == (OK, f"would be revoked  careful-1\nwas revoked before  careful-2\n{UNCHANGED}")
    count = "registered ones are alive"
    assert user == (OK, f"would be revoked  every session of harriet begun before now; 1 {count}\n{UNCHANGED}")
    assert tenant == (OK, f"would be revoked  every session of red begun before now; 0 {count}\n{UNCHANGED}")
    assert by_id == (OK, f"would be revoked  every token of the key {key}, for good\n{UNCHANGED}")
    assert json.loads(admin(dev, "revoke", "user", "harriet", "--validate-only", "--json")[1])["revoked_count"] == 1
    assert admin(dev, "revocations", "list") == trail
    assert verify(dev, token, "--check-database")[0] == OK


def test_a_tenant_and_a_key_are_revoked_by_hand(dev: DevelopmentSidecar) -> None:
    thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # RFC 7638 §3.1
    assert admin(dev, "sessions", "register", "of-green", "ian", "--tenant", "green")[0] == OK

    tenant = admin(dev, "revoke", "tenant", "green")
    key = admin(dev, "revoke", "key", "--thumbprint", thumbprint)

    assert tenant == (OK, "revoked  every session of green begun before now; 1 registered ones were alive\n")
    assert key == (OK, f"revoked  every token of the key {thumbprint}, for good\n")
    newest = json.loads(admin(dev, "revocations", "list", "--limit", "3", "--json")[1])
    assert [each["kind"] for each in newest] == ["KEY", "SESSION", "TENANT"]


@pytest.mark.parametrize(
    "arguments",
    [(), ("k1", "--thumbprint", "A" * 43), ("no-such-key",), ("--thumbprint", "too-short"), ("",)],
    ids=["none", "both", "an unknown kid", "no thumbprint", "an empty kid"],
)
def test_a_key_must_be_named_in_one_way_that_exists(dev: DevelopmentSidecar, arguments: tuple[str, ...]) -> None:
    assert admin(dev, "revoke", "key", *arguments)[0] == USAGE


def test_status_says_what_the_sidecar_knows(dev: DevelopmentSidecar) -> None:
    outcome = run_sidegate("status", folder=dev.folder, SIDEGATE_TARGET=dev.target)
    assert outcome.returncode == OK
    assert re.search(r"^keys    sidegate-dev: 1, generation 1", outcome.stdout, re.MULTILINE)
    assert "store   available" in outcome.stdout
    assert run_sidegate("status", "--target", "unix:///nowhere/s.sock", folder=dev.folder).returncode == UNDECIDED


def test_migrate_makes_a_store_and_says_so_once(folder: Path) -> None:
    variables = {"SIDEGATE_STORE_URL": f"sqlite://{folder}/sessions.db"}
    first = run_sidegate("migrate", folder=folder, **variables)
    again = run_sidegate("migrate", "--after-deploy", folder=folder, **variables)
    nowhere = run_sidegate("migrate", folder=folder)

    assert (first.returncode, again.returncode, nowhere.returncode) == (OK, OK, UNAVAILABLE)
    assert first.stdout.startswith("applied 0001")
    assert first.stdout.endswith("\nlimits: tokens live at most 24h, sessions 30d, leeway is at most 2s\n")
    assert again.stdout.startswith("the schema is up to date")
    assert "store_url is not set" in nowhere.stderr
    assert run_sidegate("migrate", folder=folder, SIDEGATE_LEEWAY="2m").returncode == USAGE


def test_mint_without_a_development_key_says_who_makes_one(folder: Path) -> None:
    outcome = run_sidegate("token", "mint", folder=folder)
    assert outcome.returncode == UNAVAILABLE
    assert "`sidegate dev` makes one" in outcome.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=shlex.join)
def test_help_teaches(folder: Path, command: tuple[str, ...]) -> None:
    outcome = run_sidegate(*command, "--help", folder=folder)
    assert outcome.returncode == OK
    assert outcome.stdout.lstrip().startswith(f"Usage: {shlex.join(('sidegate', *command))}")
    # Every option and every command says what it is for: no row of the help ends at its name.
    rows = re.findall(r"^[|│] (.*) [|│]$", outcome.stdout, re.MULTILINE)
    assert rows
    assert all(re.search(r"\S {2,}\S.*[a-z]", row) or row.startswith(" ") for row in rows), rows


@pytest.mark.parametrize(
    ("command", "default"),
    [
        (("status",), "unix:///run/sidegate/sidegate.sock"),
        (("revoke", "user"), "unix:///run/sidegate/admin.sock"),
        (("token", "mint"), "a new one"),
    ],
    ids=["the sidecar", "the admin services", "a session handle"],
)
def test_help_says_what_is_taken_where_nothing_is_given(folder: Path, command: tuple[str, ...], default: str) -> None:
    assert f"[default: ({default})]" in run_sidegate(*command, "--help", folder=folder).stdout


def test_what_is_no_command_is_a_usage_error(folder: Path) -> None:
    for arguments in (("nonsense",), ("revoke",), ("verify",), ("sessions", "get")):
        outcome = run_sidegate(*arguments, folder=folder)
        assert outcome.returncode == USAGE, arguments
        assert "Usage: sidegate" in outcome.stdout + outcome.stderr


def test_the_version_is_the_packages(folder: Path) -> None:
    outcome = run_sidegate("--version", folder=folder)
    assert outcome.returncode == os.EX_OK
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", outcome.stdout)


def test_without_a_standard_output_a_command_ends_as_with_one(folder: Path) -> None:
    outcome = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" --version >&-', BIN / "sidegate"],
        cwd=folder,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (outcome.returncode, outcome.stderr) == (os.EX_OK, "")
