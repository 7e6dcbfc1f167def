"""`sidegate run` and `sidegate migrate`: the sidecar itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import structlog
import typer

from sidegate_sidecar.app import Listening, run_until_signalled
from sidegate_sidecar.cli.outcomes import Exit, fail
from sidegate_sidecar.durations import format_duration
from sidegate_sidecar.errors import ListenerUnavailable, StartupError
from sidegate_sidecar.logs import configure_logging
from sidegate_sidecar.settings import (
    Settings,
    SettingsInvalid,
    load_settings,
    load_store_settings,
    misspelt_variables,
)
from sidegate_sidecar.stores import migrate_store

_log = structlog.get_logger(__name__)


def run(config: Path | None) -> None:
    """Run the sidecar until SIGTERM or SIGINT."""
    with _told_mistakes():
        settings = load_settings(os.environ, config)
    configure_logging(settings.log_level, settings.log_format)
    for name, meant in misspelt_variables(os.environ).items():
        _log.warning("unknown_variable", name=name, did_you_mean=meant)
    serve_or_exit(settings, log_listeners)


def migrate(config: Path | None, *, after_deploy: bool) -> None:
    """Bring the store's schema up to date, and raise its limits to the settings' where those are higher."""
    with _told_mistakes():
        settings = load_store_settings(os.environ, config)
    try:
        applied, limits = asyncio.run(migrate_store(settings, after_deploy=after_deploy))
    except StartupError as failure:
        fail(Exit.UNAVAILABLE, str(failure))
    typer.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
    typer.echo(
        f"limits: tokens live at most {format_duration(limits.max_token_lifetime)}, sessions"
        f" {format_duration(limits.max_session_lifetime)}, leeway is at most {format_duration(limits.leeway)}"
    )


def serve_or_exit(
    settings: Settings,
    started: Callable[[Listening], Awaitable[None]],
    *,
    listener_advice: str = "",
) -> None:
    """Serve until signalled; exit with one line where the sidecar cannot start.

    Args:
        settings: What it is told.
        started: Called once it listens, with where.
        listener_advice: What to add where it cannot listen.
    """
    try:
        asyncio.run(run_until_signalled(settings, started))
    except ListenerUnavailable as failure:
        fail(Exit.UNAVAILABLE, f"{failure}{listener_advice}")
    except StartupError as failure:
        fail(Exit.UNAVAILABLE, str(failure))


@contextmanager
def _told_mistakes() -> Generator[None]:
    """Exit with every mistake in the settings; under them the variables that nothing reads, which may be the cause."""
    try:
        yield
    except SettingsInvalid as invalid:
        count = len(invalid.mistakes)
        heading = f"{count} mistake{'s' if count > 1 else ''} in the settings:"
        unread = [
            f"{name} is set, and nothing reads it; did you mean {meant}?"
            for name, meant in misspelt_variables(os.environ).items()
        ]
        fail(Exit.USAGE, heading, *invalid.mistakes, *unread)


async def log_listeners(listening: Listening) -> None:
    """Told with the ports that the system chose, so that whoever configured port 0 learns them."""
    for at in listening.data_plane:
        if not at.is_local:  # neither encrypted nor authenticated: whoever reads that network reads tokens
            _log.warning("listening_beyond_this_host", listener=str(at))
    _log.info(
        "listening",
        data_plane=[str(at) for at in listening.data_plane],
        admin_plane=[str(at) for at in listening.admin_plane],
        health=[str(at) for at in listening.health],
        metrics=[str(at) for at in listening.metrics],
    )
