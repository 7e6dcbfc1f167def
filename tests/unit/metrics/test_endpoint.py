"""The listener by itself: what a fault of ours looks like from outside, and how it starts and ends."""

from typing import NoReturn

import aiohttp
import pytest
from sidegate_sidecar.errors import ListenerUnavailable
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.metrics.collector import Sources
from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.metrics.endpoint import MetricsEndpoint
from structlog.testing import capture_logs

ANYWHERE = Listener(host="127.0.0.1", port=0)


def fail() -> NoReturn:
    raise ValueError("postgresql://user:password@host")


FAULTY = Sources(
    VerificationCounts(),
    fail,
    index_entries=fail,
    remembered_tokens=fail,
    feed_watches=fail,
    calls_shed=fail,
)


async def test_a_fault_is_logged_by_its_place_and_told_to_nobody() -> None:
    endpoint = MetricsEndpoint(ANYWHERE, FAULTY)
    [listener] = await endpoint.start()
    try:
        with capture_logs() as logged:
            async with aiohttp.ClientSession() as client, client.get(f"http://{listener}/metrics") as answer:
                body = await answer.text()
    finally:
        await endpoint.stop()

    assert answer.status == 500
    [entry] = logged
    assert (entry["event"], entry["exception"]) == ("internal_error", "ValueError")
    assert "fail" in entry["where"]
    assert "password" not in f"{body}{logged}"


async def test_an_address_is_free_again_once_it_has_stopped() -> None:
    first = MetricsEndpoint(ANYWHERE, FAULTY)
    [listener] = await first.start()
    with pytest.raises(ListenerUnavailable, match="in use"):
        await MetricsEndpoint(listener, FAULTY).start()
    await first.stop()

    second = MetricsEndpoint(listener, FAULTY)
    assert await second.start() == [listener]
    await second.stop()


async def test_stopping_what_did_not_start_is_fine() -> None:
    await MetricsEndpoint(ANYWHERE, FAULTY).stop()
