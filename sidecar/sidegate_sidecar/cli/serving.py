"""`sidegate run` and `sidegate migrate`: the sidecar itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog
import typer

from sidegate_sidecar.app import migrate_store, run_until_signalled
from sidegate_sidecar.cli.outcomes import Exit, fail
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.logs import configure_logging
from sidegate_sidecar.model import SECOND
from sidegate_sidecar.settings import Settings, SettingsInvalid, load_settings, misspelt_variables

_log = structlog.get_logger(__name__)


def run(config: Path | None) -> None:
    """Run the sidecar until SIGTERM or SIGINT."""
    settings = _settings_or_exit(config)
    configure_logging(settings.log_level, settings.log_format)
    for name, meant in misspelt_variables(os.environ).items():
        _log.warning("unknown_variable", name=name, did_you_mean=meant)
    serve_or_exit(settings, _log_listeners)


def migrate(config: Path | None) -> None:
    """Bring the store's schema up to date, and raise its limits to the settings' where those are higher."""
    settings = _settings_or_exit(config)
    try:
        applied, limits = asyncio.run(migrate_store(settings))
    except StartupError as failure:
        fail(Exit.UNAVAILABLE, str(failure))
    typer.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
    typer.echo(
        f"limits: tokens live at most {limits.max_token_lifetime // SECOND}s, sessions"
        f" {limits.max_session_lifetime // SECOND}s, leeway is at most {limits.leeway // SECOND}s"
    )


def serve_or_exit(
    settings: Settings, started: Callable[[Sequence[Listener], Sequence[Listener]], Awaitable[None]]
) -> None:
    """Serve until signalled; exit with one line where the sidecar cannot start."""
    try:
        asyncio.run(run_until_signalled(settings, started))
    except StartupError as failure:
        fail(Exit.UNAVAILABLE, str(failure))


def _settings_or_exit(config: Path | None) -> Settings:
    try:
        return load_settings(os.environ, config)
    except SettingsInvalid as invalid:
        count = len(invalid.mistakes)
        heading = f"{count} mistake{'s' if count > 1 else ''} in the settings:"
        fail(Exit.USAGE, "\n  ".join([heading, *invalid.mistakes]))


async def _log_listeners(data_plane: Sequence[Listener], admin_plane: Sequence[Listener]) -> None:
    """Told with the ports that the system chose, so that whoever configured port 0 learns them."""
    _log.info("listening", data_plane=[str(at) for at in data_plane], admin_plane=[str(at) for at in admin_plane])
