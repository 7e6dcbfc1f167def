"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

STATE_DIRECTORY = Path(".sidegate")

Target: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--target",
        envvar="SIDEGATE_TARGET",
        help="Where the sidecar listens: unix:///path or host:port.",
        show_default="unix:///run/sidegate/sidegate.sock",
    ),
]
AdminTarget: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--target",
        envvar="SIDEGATE_ADMIN_TARGET",
        help="Where the admin services listen: unix:///path or host:port.",
        show_default="unix:///run/sidegate/admin.sock",
    ),
]
Timeout: TypeAlias = Annotated[float, typer.Option("--timeout", help="Seconds to wait for an answer.", min=0.001)]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="SIDEGATE_CONFIG",
        help="A TOML file of settings. SIDEGATE_* variables win over it.",
    ),
]
Issuer: TypeAlias = Annotated[
    str | None, typer.Option("--issuer", help="The issuer. Needed only where the sidecar trusts several.")
]
StateDirectory: TypeAlias = Annotated[
    Path, typer.Option("--state-dir", help="Where the development key, store and token are kept.")
]
