"""The command line: what there is, and how every command ends."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from sidegate_sidecar.cli import administration, deferred, importing, verification
from sidegate_sidecar.cli.outcomes import Exit

CLICK_USAGE_ERROR = 2
SOFTWARE_ERROR = 70  # sysexits.h EX_SOFTWARE

app = typer.Typer(
    name="sidegate",
    help="Is this access token good right now, and whose session is it?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
token = typer.Typer(no_args_is_help=True, help="Tokens of the development issuer.")

app.command()(deferred.run)
app.command()(deferred.dev)
app.command()(verification.verify)
app.command()(verification.status)
app.add_typer(administration.revoke, name="revoke")
administration.sessions.command("import")(importing.import_sessions)
app.add_typer(administration.sessions, name="sessions")
app.add_typer(administration.revocations, name="revocations")
app.command()(deferred.migrate)
app.add_typer(token, name="token")
token.command("mint")(deferred.mint)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("sidegate"))
        raise typer.Exit(Exit.OK)


@app.callback()
def _common(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Nothing: the option's own callback does it, for this body runs only when there is a command as well."""


def run() -> int:
    """Run the command line on sys.argv. The exit status.

    A fault of ours is one line: a traceback can show a token.
    """
    try:
        app()
    except SystemExit as end:
        return Exit.USAGE if end.code == CLICK_USAGE_ERROR else int(end.code or 0)
    except Exception as fault:  # noqa: BLE001 - the last line of defence before the terminal
        sys.stderr.write(f"sidegate: internal error: {type(fault).__qualname__}\n")
        return SOFTWARE_ERROR
    return Exit.OK
