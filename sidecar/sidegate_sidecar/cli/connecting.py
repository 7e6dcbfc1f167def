"""How the commands that an admin service answers reach one: each takes the same options, written down once."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from sidegate import ClientTls, RevocationClient, TokenFile

from sidegate_sidecar.cli.options import AdminTarget, Timeout
from sidegate_sidecar.cli.outcomes import explained_failures


@dataclass(frozen=True, slots=True)
class Admin:
    """Where an admin service listens, and what to show there."""

    target: str | None
    timeout: float
    tls: ClientTls | None
    token: TokenFile | None

    def client(self) -> RevocationClient:
        """A client, to be closed. Raises ValueError: it cannot be one."""
        return RevocationClient(self.target, timeout=self.timeout, tls=self.tls, token=self.token)


def calls_admin(timeout: float = 5.0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a connection in place of its argument `admin`.

    Args:
        timeout: Seconds to wait for an answer unless the command line says otherwise.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        declared = inspect.signature(command).parameters
        connection = inspect.signature(_admin).parameters
        parameters = [
            *(parameter for name, parameter in declared.items() if name not in ("admin", "as_json")),
            *(
                parameter.replace(default=timeout) if name == "timeout" else parameter
                for name, parameter in connection.items()
            ),
            *(parameter for name, parameter in declared.items() if name == "as_json"),
        ]

        @wraps(command)
        def with_options(**options: object) -> None:
            told: dict[str, Any] = {name: options.pop(name) for name in connection}  # typer has seen to the types
            command(admin=_admin(**told), **options)

        untyped: Any = with_options  # typer reads both of the following
        untyped.__signature__ = inspect.Signature(
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        untyped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate


def _admin(
    target: AdminTarget = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar="SIDEGATE_ADMIN_CA",
            help="The CA certificates to trust there, in PEM. With any of these four options the connection is by TLS.",
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option("--cert", envvar="SIDEGATE_ADMIN_CERT", help="The certificate to show there, in PEM."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", envvar="SIDEGATE_ADMIN_KEY", help="Its private key, in PEM.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="SIDEGATE_ADMIN_TOKEN_FILE",
            help="A file with the token to send there. It is read again for every call.",
        ),
    ] = None,
    timeout: Timeout = 5.0,
) -> Admin:
    """The options, and what they make."""
    with explained_failures():
        return Admin(
            target,
            timeout,
            None if (ca, cert, key, token_file) == (None,) * 4 else ClientTls(ca, cert, key),
            None if token_file is None else TokenFile(token_file),
        )
