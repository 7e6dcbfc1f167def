"""Commands that need the sidecar itself: what they are called with.

Each imports it when it is run, for the other commands start in a third of the time without it.
"""

from typing import Annotated

import typer

from sidegate_sidecar.cli.options import STATE_DIRECTORY, Config, StateDirectory

DEVELOPMENT_USER = "alice"


def run(config: Config = None) -> None:
    """Run the sidecar until SIGTERM or SIGINT.

    It is configured by SIDEGATE_* variables or a TOML file. The least that it needs is an issuer:
    SIDEGATE_ISSUER=https://login.example.com
    """
    from sidegate_sidecar.cli import serving

    serving.run(config)


def migrate(
    config: Config = None,
    after_deploy: Annotated[
        bool,
        typer.Option(
            "--after-deploy", help="Apply also what is safe only once no sidecar of an older release runs any more."
        ),
    ] = False,
) -> None:
    """Bring the store's schema up to date, and raise its limits to the settings' where those are higher.

    Run it before a deploy, and with --after-deploy after it. It needs SIDEGATE_STORE_URL, and of the other settings
    only the limits.
    """
    from sidegate_sidecar.cli import serving

    serving.migrate(config, after_deploy=after_deploy)


def dev(
    listen: Annotated[str, typer.Option("--listen", help="The verification service, on loopback.")] = "127.0.0.1:7311",
    admin_listen: Annotated[
        str, typer.Option("--admin-listen", help="The admin services, on loopback.")
    ] = "127.0.0.1:7312",
    state_dir: StateDirectory = STATE_DIRECTORY,
) -> None:
    """Try sidegate out: a store, a signing key, both services on loopback, and a token to play with.

    Everything it keeps lies in one directory, and nothing of it is fit for production: whoever can reach the ports can
    revoke.
    """
    from sidegate_sidecar.cli import development

    development.serve(listen, admin_listen, state_dir, user=DEVELOPMENT_USER)


def mint(
    user: Annotated[str, typer.Option("--user", help="Whose token.")] = DEVELOPMENT_USER,
    session: Annotated[
        str | None, typer.Option("--session", help="The session handle.", show_default="a new one")
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant, if any.")] = "",
    lifetime: Annotated[str, typer.Option("--lifetime", help="How long it is good: 90s, 12h; at least 1s.")] = "12h",
    state_dir: StateDirectory = STATE_DIRECTORY,
) -> None:
    """Print an access token signed with the development key. For a `sidegate dev` that uses the same directory."""
    from sidegate_sidecar.cli import development

    development.mint(user, session, tenant, lifetime, state_dir)
