"""Key rings to test with, and waiting for what they do."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from sidegate_sidecar.keys import IssuerKeysConfig, JwksUrl, KeyRing
from sidegate_sidecar.model import Clock, KeySet
from structlog.testing import CapturingLogger

from tests.integration.keys.issuer_server import IssuerServer

TIME_LAPSE = 100.0


async def time_lapse(seconds: float) -> None:
    """A refresh that is due in a second is due in ten milliseconds."""
    await asyncio.sleep(seconds / TIME_LAPSE)


@asynccontextmanager
async def started(
    *configs: IssuerKeysConfig, now: Clock | None = None, log: CapturingLogger | None = None
) -> AsyncGenerator[KeyRing]:
    logger = structlog.wrap_logger(log or CapturingLogger(), processors=[])
    ring = (
        KeyRing(configs, sleep=time_lapse, log=logger)
        if now is None
        else KeyRing(configs, sleep=time_lapse, now=now, log=logger)
    )
    await ring.start()
    try:
        yield ring
    finally:
        await ring.close()


def by_url(issuer: IssuerServer, *, refresh: float = 300.0, saved_copy_dir: Path | None = None) -> IssuerKeysConfig:
    return IssuerKeysConfig(
        "issuer",
        JwksUrl(issuer.url + "/keys"),
        min_refresh=min(refresh, 60.0),
        default_refresh=refresh,
        saved_copy_dir=saved_copy_dir,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for happens inside the ring, which tells nobody
            await asyncio.sleep(0.005)


def key_ids(key_set: KeySet) -> set[str]:
    return set(key_set.by_id)


def errors(ring: KeyRing) -> Sequence[str]:
    return [status.last_error for status in ring.status()]
