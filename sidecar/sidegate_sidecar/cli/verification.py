"""`sidegate verify` and `sidegate status`: what a service sees."""

import sys
from datetime import timedelta
from typing import Annotated

import typer
from sidegate import Rejection, Session, SessionClient, Verdict, VerificationUnavailable

from sidegate_sidecar.cli.options import Json, Target, Timeout
from sidegate_sidecar.cli.outcomes import Exit, explained_failures, fail, say, to_json

STANDARD_INPUT = "-"

_NEXT = {"REFRESH": "refresh the token", "REAUTHENTICATE": "sign in again"}


def verify(
    token: Annotated[str, typer.Argument(help="The access token; - reads it from standard input.")],
    check_database: Annotated[bool, typer.Option("--check-database", help="Ask the session database too.")] = False,
    audience: Annotated[list[str] | None, typer.Option("--audience", help="An accepted audience; repeatable.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="The tenant that it must belong to.")] = None,
    anti_csrf_token: Annotated[
        str | None, typer.Option("--anti-csrf-token", help="What its anti-CSRF claim must equal.")
    ] = None,
    target: Target = None,
    timeout: Timeout = 1.0,
    as_json: Json = False,
) -> None:
    """Ask the sidecar: is this access token good right now, and whose session is it?

    Exits with 0 if it is good, 1 if it is not, 3 if nobody could say.
    """
    text = sys.stdin.read().strip() if token == STANDARD_INPUT else token.strip()
    with explained_failures(), SessionClient(target, timeout=timeout, near_cache=False) as client:
        try:
            verdict = client.check(
                text,
                check_database=check_database,
                audiences=tuple(audience or ()),
                tenant_id=tenant,
                anti_csrf_token=anti_csrf_token,
            )
        except VerificationUnavailable as failure:
            if as_json:
                error = {"code": failure.code, "reason": failure.reason, "message": failure.message}
                typer.echo(to_json({"verdict": "undecided", "error": error}))
            fail(Exit.UNDECIDED, f"could not decide: {failure}")
    if as_json:
        typer.echo(_as_json(verdict))
    else:
        say(*_as_lines(verdict))
    if isinstance(verdict.outcome, Rejection):
        raise typer.Exit(Exit.REJECTED)


def status(target: Target = None, timeout: Timeout = 1.0, as_json: Json = False) -> None:
    """Print what the sidecar knows and how old it is: key sets, revocation index, store."""
    with explained_failures(), SessionClient(target, timeout=timeout, near_cache=False) as client:
        serving = client.serving_status()
    if as_json:
        typer.echo(to_json(serving))
        return
    say(f"sidegate {serving.version}")
    for keys in serving.key_sets:
        age = "never confirmed" if keys.age is None else f"confirmed {_span(keys.age)} ago"
        trouble = f"; last error: {keys.last_error}" if keys.last_error else ""
        say(f"keys    {keys.issuer}: {keys.key_count}, generation {keys.generation}, {age}{trouble}")
    if serving.index_revision is not None and serving.index_lag is not None:
        say(f"index   at {serving.index_revision.sequence}, complete {_span(serving.index_lag)} ago")
    say(f"store   {serving.store_state.value.lower().replace('_', ' ')}")


def _as_json(verdict: Verdict) -> str:
    outcome = verdict.outcome
    if isinstance(outcome, Rejection):
        return to_json({"verdict": "rejected", "rejection": outcome, "evidence": verdict.evidence})
    session = {
        "issuer": outcome.issuer,
        "session_handle": outcome.session_handle,
        "user_id": outcome.user_id,
        "tenant_id": outcome.tenant_id,
        "token_issue_time": outcome.token_issue_time,
        "token_expire_time": outcome.token_expire_time,
        "claims": outcome.claims,
    }
    return to_json({"verdict": "valid", "session": session, "evidence": verdict.evidence})


def _as_lines(verdict: Verdict) -> list[str]:
    outcome, evidence = verdict.outcome, verdict.evidence
    where = "local" if evidence.source == "LOCAL" else "local and database"
    if evidence.revision is not None and evidence.revocation_lag is not None:
        where += f"; revocation index at {evidence.revision.sequence}, complete {_span(evidence.revocation_lag)} ago"
    match outcome:
        case Session():
            lines = [
                "valid",
                f"  user      {outcome.user_id}",
                f"  session   {outcome.session_handle or '(none)'}",
                f"  tenant    {outcome.tenant_id or '(none)'}",
                f"  issuer    {outcome.issuer}",
                f"  expires   {outcome.token_expire_time.isoformat()}",
            ]
        case Rejection():
            lines = [
                f"rejected: {outcome.reason.value}",
                f"  why       {outcome.message}",
                f"  next      {_NEXT[outcome.next_action.value]}",
            ]
    return [*lines, f"  evidence  {where}"]


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.0f} s"
