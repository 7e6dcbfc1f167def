"""`sidegate dev` and `sidegate token mint`: a whole sidegate on this machine, with an issuer of its own."""

import os
import secrets
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from sidegate import AsyncRevocationClient

from sidegate_sidecar.app import Listening
from sidegate_sidecar.cli.options import STATE_DIRECTORY
from sidegate_sidecar.cli.outcomes import Exit, duration_option, fail
from sidegate_sidecar.cli.serving import serve_or_exit
from sidegate_sidecar.development import ISSUER, DevelopmentIssuer, write_private
from sidegate_sidecar.durations import HOUR
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.logs import configure_logging
from sidegate_sidecar.model import SECOND
from sidegate_sidecar.settings import Settings, load_settings

TOKEN_LIFETIME = 12 * HOUR
SESSION_LIFETIME = timedelta(days=7)
TOKEN_FILE = "access-token"  # noqa: S105 - a file's name


def serve(listen: str, admin_listen: str, state_dir: Path, *, user: str) -> None:
    """Serve until signalled, with a registered session of the user and its token to play with."""
    configure_logging("warning", "console")
    verification, admin = _on_loopback("--listen", listen), _on_loopback("--admin-listen", admin_listen)
    if admin.clashes_with(verification):
        fail(Exit.USAGE, f"--admin-listen: {admin}: --listen is there already")
    try:
        issuer = DevelopmentIssuer.load_or_create(state_dir)
    except (StartupError, OSError) as failure:
        fail(Exit.UNAVAILABLE, str(failure))

    async def welcome(listening: Listening) -> None:
        data_plane, admin_plane = listening.data_plane[0], listening.admin_plane[0]
        handle = f"session-{secrets.token_hex(4)}"
        token = issuer.mint(user, handle, lifetime=TOKEN_LIFETIME)
        write_private(state_dir / TOKEN_FILE, f"{token}\n".encode())
        async with AsyncRevocationClient(str(admin_plane)) as client:
            await client.register_session(handle, user, session_expire_time=datetime.now(UTC) + SESSION_LIFETIME)
        typer.echo(_welcome(state_dir, data_plane, admin_plane, user, handle, token))

    serve_or_exit(
        _dev_settings(issuer, verification, admin),
        welcome,
        listener_advice="; choose another with --listen or --admin-listen",
    )


def mint(user: str, session: str | None, tenant: str, lifetime: str, state_dir: Path) -> None:
    """Print a token; of a session of that handle, or of a new one."""
    good_for = duration_option("--lifetime", lifetime)
    if good_for < SECOND:  # tokens count in whole seconds: this one would be born expired
        fail(Exit.USAGE, "--lifetime: must be at least 1s")
    try:
        issuer = DevelopmentIssuer.load(state_dir)
    except StartupError as failure:
        fail(Exit.UNAVAILABLE, str(failure))
    handle = session or f"session-{secrets.token_hex(4)}"
    typer.echo(issuer.mint(user, handle, tenant_id=tenant, lifetime=good_for))


def _on_loopback(option: str, text: str) -> Listener:
    try:
        listener = Listener.parse(text)
    except ValueError as fault:
        fail(Exit.USAGE, f"{option}: {fault}")
    if not listener.is_local:
        fail(Exit.USAGE, f"{option}: {listener}: sidegate dev is for this host alone; name a port on loopback")
    return listener


def _dev_settings(issuer: DevelopmentIssuer, listen: Listener, admin_listen: Listener) -> Settings:
    settings = {
        "SIDEGATE_LISTEN": str(listen),
        "SIDEGATE_ADMIN_LISTEN": str(admin_listen),
        "SIDEGATE_STORE_URL": f"sqlite://{(issuer.directory / 'sessions.db').absolute()}",
        "SIDEGATE_ISSUER": ISSUER,
        "SIDEGATE_JWKS_FILE": str(issuer.jwks_file.absolute()),
        "SIDEGATE_TENANT_CLAIM": "tid",
        "SIDEGATE_REFLECTION": "true",
    }
    return load_settings(settings, admin_on_loopback=True)


def _welcome(state_dir: Path, data_plane: Listener, admin_plane: Listener, user: str, handle: str, token: str) -> str:
    command = shlex.quote(os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).is_absolute() else sys.argv[0])
    verify_of = f"{command} verify --target {data_plane}"
    verify = f'{verify_of} "$(cat {shlex.quote(str(state_dir / TOKEN_FILE))})"'
    elsewhere = "" if state_dir == STATE_DIRECTORY else f" --state-dir {shlex.quote(str(state_dir))}"
    return f"""
sidegate dev: verification on {data_plane}, admin on {admin_plane}, state in {state_dir}/

An access token of user {user}, session {handle}, good for {TOKEN_LIFETIME // HOUR} h:

{token}

It is in {state_dir / TOKEN_FILE} too. Try, from a second terminal in this directory:

  # valid
  {verify}

  # valid, and the database says so as well
  {verify} --check-database

  # revoke the session
  {command} revoke session --target {admin_plane} {handle} --reason "trying it out"

  # refused, with and without asking the database
  {verify}
  {verify} --check-database

  # who did that?
  {command} revocations list --target {admin_plane}

  # another token, of a user and session of your own choice
  {verify_of} "$({command} token mint --user bob --session bobs-laptop{elsewhere})"

Ctrl-C ends it.
"""
