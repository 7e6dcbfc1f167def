"""The webhook as an HTTPS server: what it takes, and how it ends."""

import asyncio
import json
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import PurePath

import structlog
from aiohttp import web

from sidegate_injector.admission import review
from sidegate_injector.certificate import Certificate
from sidegate_injector.errors import NotAnAdmissionReview
from sidegate_injector.template import Template

MAX_BODY_BYTES = 4 * 1024 * 1024  # an API server takes objects of 3 MiB at most, and sends one with little around it
BODY_SECONDS = 5.0  # after that the API server itself has given up: timeoutSeconds of the webhook's configuration
SHUTDOWN_SECONDS = 5.0  # for calls in flight

INJECT_PATH = "/inject"
HEALTH_PATH = "/healthz"

_log = structlog.get_logger(__name__)


def application(template: Template, excluded: Collection[str]) -> web.Application:
    """The HTTP application: POST /inject, GET /healthz."""

    async def answer(request: web.Request) -> web.Response:
        decision = review(await _document(request), template, excluded)
        _log.info(
            "admission",
            outcome=decision.outcome,
            reason=decision.reason,
            namespace=decision.namespace,
            pod=decision.pod,
        )
        return web.json_response(decision.answer)

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_explain])
    app.router.add_post(INJECT_PATH, answer)
    app.router.add_get(HEALTH_PATH, health)
    return app


@asynccontextmanager
async def serving(app: web.Application, certificate: Certificate, host: str, port: int) -> AsyncGenerator[int]:
    """Serve it while the block runs, with a certificate that follows its files. Yields the port.

    Raises:
        OSError: The address cannot be had.
    """
    # API servers do not compress, and what a small body unpacks to is not small.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, auto_decompress=False)
    await runner.setup()
    reloading = asyncio.create_task(certificate.reload_for_ever())
    try:
        site = web.TCPSite(runner, host, port, ssl_context=certificate.context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        reloading.cancel()
        await asyncio.wait([reloading])
        await runner.cleanup()


async def _document(request: web.Request) -> object:
    """The JSON that was sent. Raises NotAnAdmissionReview, or what aiohttp raises of a body that is too large."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json\n")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not arrive in time\n") from None
    try:
        document: object = json.loads(body)
    except ValueError:  # UnicodeDecodeError is one
        raise NotAnAdmissionReview("the body is not JSON") from None
    return document


@web.middleware
async def _explain(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn failures into answers that say no more than their sender may know."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except NotAnAdmissionReview as wrong:
        _log.warning("not_an_admission_review", reason=str(wrong))
        return web.Response(status=400, text=f"{wrong}\n")
    except RecursionError:  # from parsing as well as from what walks through the parsed
        _log.warning("not_an_admission_review", reason="nested too deeply")
        return web.Response(status=400, text="nested too deeply\n")
    except Exception as fault:  # noqa: BLE001 - a fault of ours; its text may quote the pod, so only its place is told
        _log.error("internal_error", exception=type(fault).__qualname__, where=_places(fault))
        return web.Response(status=500, text="a fault of the injector's own; its log says where\n")


def _places(fault: BaseException) -> str:
    frames = traceback.extract_tb(fault.__traceback__)
    return " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
