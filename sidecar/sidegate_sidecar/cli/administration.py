"""`sidegate revoke`, `sidegate sessions` and `sidegate revocations`: what an admin service can do, by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from sidegate import RegisteredSession, SessionsEnded

from sidegate_sidecar.cli.connecting import Admin, calls_admin
from sidegate_sidecar.cli.options import Issuer, Json
from sidegate_sidecar.cli.outcomes import duration_option, explained_failures, say, to_json
from sidegate_sidecar.escaping import escaped

PIPED_WIDTH = 2000  # wide enough for whoever reads by line; a terminal folds instead

revoke = typer.Typer(no_args_is_help=True, help="End sessions, or refuse a signing key.")
sessions = typer.Typer(no_args_is_help=True, help="Register sessions and look them up.")
revocations = typer.Typer(no_args_is_help=True, help="The audit trail.")

_Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit trail.")]
_RequestId = Annotated[
    str | None, typer.Option("--request-id", help="A UUID; repeating a call with the same one is safe.")
]
_ValidateOnly = Annotated[bool, typer.Option("--validate-only", help="Say what it would come to, and change nothing.")]
_Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]


@revoke.command("session")
@calls_admin()
def revoke_session(
    admin: Admin,
    handles: Annotated[list[str], typer.Argument(metavar="HANDLE...", help="Session handles, up to 1,000.")],
    issuer: Issuer = None,
    reason: _Reason = "",
    request_id: _RequestId = None,
    validate_only: _ValidateOnly = False,
    as_json: Json = False,
) -> None:
    """Revoke sessions, registered or not: all of them or none."""
    with explained_failures(), admin.client() as client:
        outcome = client.revoke_sessions(
            handles, issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
    if as_json:
        typer.echo(to_json(outcome))
        return
    newly = set(outcome.newly_revoked_handles)
    done = "would be revoked" if validate_only else "revoked"
    for handle in dict.fromkeys(handles):
        say(f"{done if handle in newly else 'was revoked before'}  {handle}")
    _say_if_unchanged(validate_only)


@revoke.command("user")
@calls_admin()
def revoke_user(
    admin: Admin,
    user: Annotated[str, typer.Argument(help="Whose sessions.")],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only sessions in this tenant.")] = None,
    except_session: Annotated[
        str | None, typer.Option("--except", metavar="HANDLE", help="Spare this session of the user.")
    ] = None,
    issuer: Issuer = None,
    reason: _Reason = "",
    request_id: _RequestId = None,
    validate_only: _ValidateOnly = False,
    as_json: Json = False,
) -> None:
    """Revoke every session of a user that began before now, registered or not."""
    with explained_failures(), admin.client() as client:
        outcome = client.revoke_user_sessions(
            user,
            tenant_id=tenant,
            except_session_handle=except_session,
            issuer=issuer,
            reason=reason,
            request_id=request_id,
            validate_only=validate_only,
        )
    _tell_ended(user, outcome, validate_only, as_json)


@revoke.command("tenant")
@calls_admin()
def revoke_tenant(
    admin: Admin,
    tenant: Annotated[str, typer.Argument(help="The tenant whose sessions end.")],
    issuer: Issuer = None,
    reason: _Reason = "",
    request_id: _RequestId = None,
    validate_only: _ValidateOnly = False,
    as_json: Json = False,
) -> None:
    """Revoke every session of a tenant that began before now, registered or not."""
    with explained_failures(), admin.client() as client:
        outcome = client.revoke_tenant_sessions(
            tenant, issuer=issuer, reason=reason, request_id=request_id, validate_only=validate_only
        )
    _tell_ended(tenant, outcome, validate_only, as_json)


@revoke.command("key")
@calls_admin()
def revoke_key(
    admin: Admin,
    key_id: Annotated[
        str | None, typer.Argument(metavar="[KEY_ID]", help="The kid of one of the issuer's current keys.")
    ] = None,
    thumbprint: Annotated[
        str | None,
        typer.Option(
            "--thumbprint", help="In place of the kid: the RFC 7638 thumbprint of any key, a withdrawn one too."
        ),
    ] = None,
    issuer: Issuer = None,
    reason: _Reason = "",
    request_id: _RequestId = None,
    validate_only: _ValidateOnly = False,
    as_json: Json = False,
) -> None:
    """Refuse every token that a signing key verifies, everywhere, at once and for good. There is no way back.

    Let the issuer sign with another key first, or nobody can sign in again.
    """
    with explained_failures(), admin.client() as client:
        outcome = client.revoke_signing_key(
            key_id=key_id,
            key_thumbprint=thumbprint,
            issuer=issuer,
            reason=reason,
            request_id=request_id,
            validate_only=validate_only,
        )
    if as_json:
        typer.echo(to_json(outcome))
        return
    say(
        f"{'would be revoked' if validate_only else 'revoked'}  every token of the key {key_id or thumbprint}, for good"
    )
    _say_if_unchanged(validate_only)


@sessions.command("register")
@calls_admin()
def register_session(
    admin: Admin,
    handle: Annotated[str, typer.Argument(help="The session handle, as its tokens carry it.")],
    user: Annotated[str, typer.Argument(help="Whose session.")],
    expires_in: Annotated[str, typer.Option("--expires-in", help="How long it may live: 12h, 30d.")] = "30d",
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant, if any.")] = "",
    issuer: Issuer = None,
    as_json: Json = False,
) -> None:
    """Record a session. Registering it again moves its end."""
    ends = datetime.now(UTC) + timedelta(microseconds=duration_option("--expires-in", expires_in))
    with explained_failures(), admin.client() as client:
        session = client.register_session(handle, user, session_expire_time=ends, tenant_id=tenant, issuer=issuer)
    _print_sessions([session], as_json)


@sessions.command("get")
@calls_admin()
def get_session(
    admin: Admin,
    handle: Annotated[str, typer.Argument(help="The session handle.")],
    issuer: Issuer = None,
    as_json: Json = False,
) -> None:
    """Print what the store knows of one session. Exits with 1 if nobody registered it."""
    with explained_failures(), admin.client() as client:
        session = client.get_session(handle, issuer=issuer)
    _print_sessions([session], as_json)


@sessions.command("list")
@calls_admin()
def list_sessions(
    admin: Admin,
    user: Annotated[str, typer.Argument(help="Whose sessions.")],
    limit: _Limit = 1000,
    issuer: Issuer = None,
    as_json: Json = False,
) -> None:
    """List a user's registered sessions, revoked and expired ones included."""
    with explained_failures(), admin.client() as client:
        found = list(islice(client.list_sessions(user, issuer=issuer), limit))
    _print_sessions(found, as_json)


@revocations.command("list")
@calls_admin()
def list_revocations(
    admin: Admin,
    session: Annotated[str | None, typer.Option("--session", help="Only the revocation of this session.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only revocations of this user.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only revocations of or within this tenant.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this caller did.")] = None,
    limit: _Limit = 100,
    issuer: Issuer = None,
    as_json: Json = False,
) -> None:
    """List what was revoked, by whom, when and why; newest first."""
    with explained_failures(), admin.client() as client:
        found = list(
            islice(
                client.list_revocations(
                    issuer=issuer, session_handle=session, user_id=user, tenant_id=tenant, actor=actor
                ),
                limit,
            )
        )
    if as_json:
        typer.echo(to_json(found))
        return
    rows = [
        (
            str(entry.revision.sequence),
            entry.revoke_time.isoformat(timespec="seconds"),
            entry.kind.value.lower(),
            entry.session_handle or entry.user_id or entry.tenant_id or entry.key_thumbprint,
            entry.actor,
            entry.reason,
        )
        for entry in found
    ]
    _print_table(("#", "when", "what", "whose", "by", "why"), rows)


def _tell_ended(whose: str, outcome: SessionsEnded, validate_only: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(outcome))
        return
    done, were = ("would be revoked", "are") if validate_only else ("revoked", "were")
    say(f"{done}  every session of {whose} begun before now; {outcome.revoked_count} registered ones {were} alive")
    _say_if_unchanged(validate_only)


def _say_if_unchanged(validate_only: bool) -> None:
    if validate_only:
        say("validated only: nothing was changed")


def _print_sessions(found: Sequence[RegisteredSession], as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(list(found)))
        return
    rows = [
        (
            session.session_handle,
            session.user_id,
            session.tenant_id,
            session.state.value.lower(),
            session.create_time.isoformat(timespec="seconds"),
            session.session_expire_time.isoformat(timespec="seconds"),
        )
        for session in found
    ]
    _print_table(("session", "user", "tenant", "state", "began", "ends"), rows)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*(Column(heading, overflow="fold") for heading in headings), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(escaped(cell)) for cell in row))  # Text, for rich reads markup and emoji in plain strings
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=PIPED_WIDTH)).print(table)
