"""The command line: serve the webhook, or look what it would do."""

import asyncio
import json
import signal
import sys
from enum import IntEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias

import structlog
import typer
import yaml
from aiohttp import web

from sidegate_injector.certificate import Certificate
from sidegate_injector.errors import CertificateUnusable, Refused, TemplateInvalid
from sidegate_injector.kubernetes_yaml import parse_document
from sidegate_injector.preview import preview as preview_of
from sidegate_injector.server import application, serving
from sidegate_injector.template import Template, parse_template

STANDARD_INPUT = Path("-")
CLICK_USAGE_ERROR = 2
KUBERNETES_OWN = ("kube-system", "kube-public", "kube-node-lease")

_log = structlog.get_logger(__name__)


class Exit(IntEnum):
    """The exit statuses, those of `sidegate` where both have them."""

    OK = 0
    REFUSED = 1  # the webhook would refuse that
    USAGE = 64  # sysexits.h EX_USAGE: the command line, or a file that it names
    UNAVAILABLE = 69  # sysexits.h EX_UNAVAILABLE: the address cannot be had
    SOFTWARE = 70  # sysexits.h EX_SOFTWARE: a fault of ours


TemplateFile: TypeAlias = Annotated[
    Path | None, typer.Option("--template", help="What to inject.", show_default="the one that comes with sidegate")
]
Image: TypeAlias = Annotated[
    str | None, typer.Option("--image", envvar="SIDEGATE_INJECTOR_IMAGE", help="The sidecar's, not the template's.")
]
Excluded: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-namespace",
        envvar="SIDEGATE_INJECTOR_EXCLUDE_NAMESPACE",
        help=f"Leave its pods alone, as those of {', '.join(KUBERNETES_OWN)}; repeatable.",
    ),
]

app = typer.Typer(
    name="sidegate-injector",
    help="Give pods their sidecar.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def serve(
    certificate: Annotated[Path, typer.Option("--certificate", help="The certificate chain, in PEM.")],
    key: Annotated[Path, typer.Option("--key", help="Its private key, in PEM.")],
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "0.0.0.0",  # noqa: S104 - a pod's
    port: Annotated[int, typer.Option("--port", help="The port; 0: any.", min=0, max=65_535)] = 8443,
    template: TemplateFile = None,
    image: Image = None,
    exclude_namespace: Excluded = None,
) -> None:
    """Serve the admission webhook over HTTPS until SIGTERM or SIGINT."""
    _log_as_json()
    webhook = application(_template(template, image), {*KUBERNETES_OWN, *(exclude_namespace or ())})
    try:
        asyncio.run(_serve_until_signalled(Certificate(certificate, key), webhook, host, port))
    except CertificateUnusable as fault:
        _fail(Exit.USAGE, str(fault))
    except OSError as fault:
        _fail(Exit.UNAVAILABLE, f"cannot listen on {host}:{port}: {fault.strerror}")


@app.command()
def preview(
    file: Annotated[Path, typer.Option("--file", "-f", help="Manifests in YAML; - reads them from standard input.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of manifests that name none.")] = "default",
    template: TemplateFile = None,
    image: Image = None,
    exclude_namespace: Excluded = None,
) -> None:
    """Print the manifests as the webhook would make them, were their namespaces opted in.

    Exits with 1 if it would refuse one of them.
    """
    # Whoever reads no more than the beginning ends this as any filter, not with a status that says something else.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    checked = _template(template, image)
    try:
        # As bytes, for a locale is no property of a manifest.
        manifests = (sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()).decode()
    except OSError as fault:
        _fail(Exit.USAGE, f"{file}: {fault.strerror}")
    except UnicodeDecodeError:
        _fail(Exit.USAGE, f"{file}: not UTF-8")
    try:
        after = preview_of(
            manifests,
            checked,
            namespace=namespace,
            excluded={*KUBERNETES_OWN, *(exclude_namespace or ())},
            tell=_tell,
        )
    except Refused as refusal:
        _fail(Exit.REFUSED, str(refusal))
    sys.stdout.buffer.write(after.encode())


def run() -> int:
    """Run the command line on sys.argv. The exit status. A fault of ours is one line."""
    try:
        app()
    except SystemExit as end:
        return Exit.USAGE if end.code == CLICK_USAGE_ERROR else int(end.code or 0)
    except Exception as fault:  # noqa: BLE001 - the last line of defence before the terminal
        sys.stderr.write(f"sidegate-injector: internal error: {type(fault).__qualname__}\n")
        return Exit.SOFTWARE
    return Exit.OK


async def _serve_until_signalled(certificate: Certificate, webhook: web.Application, host: str, port: int) -> None:
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    async with serving(webhook, certificate, host, port) as bound:
        _log.info("listening", host=host, port=bound)
        await signalled.wait()
        _log.info("draining")
    _log.info("stopped")


def _template(path: Path | None, image: str | None) -> Template:
    try:
        text = (path or files("sidegate_injector") / "template.yaml").read_text(encoding="utf-8")
        return parse_template(parse_document(text), image=image)
    except OSError as fault:
        _fail(Exit.USAGE, f"{path}: {fault.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as fault:
        _fail(Exit.USAGE, f"{path}: not YAML: {' '.join(str(fault).split())}")
    except TemplateInvalid as invalid:
        _fail(Exit.USAGE, f"{path or 'the template'}:", *invalid.mistakes)


def _tell(line: str) -> None:
    sys.stderr.write(f"{_escaped(line)}\n")


def _fail(status: Exit, message: str, *details: str) -> NoReturn:
    """Say why on standard error, each detail on a line of its own, and end the command."""
    sys.stderr.write("sidegate-injector: " + "\n  ".join(map(_escaped, (message, *details))) + "\n")
    raise typer.Exit(status)


def _escaped(text: str) -> str:
    """Safe for a terminal: names in manifests may hold control characters."""
    return json.dumps(text)[1:-1].replace('\\"', '"')


def _log_as_json() -> None:
    """One JSON object a line on standard error, escaped by JSON itself."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
