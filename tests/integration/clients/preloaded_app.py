"""A service that uses its client while it is loaded, which gunicorn with --preload does before it forks its workers."""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from sidegate import ForkUnsupported, SessionClient

TOKEN = os.environ["TOKEN"]

client = SessionClient(timeout=20)


def use() -> str:
    """Verify until the near cache answers, so that channel, batching and feed have all been used. The user."""
    before = client.near_cache_statistics().hits
    while True:
        session = client.verify(TOKEN)
        if client.near_cache_statistics().hits > before:
            return session.user_id
        time.sleep(0.005)


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Answer with the process's own id, and what came of using the client."""
    try:
        outcome = use()
    except ForkUnsupported as unsupported:
        outcome = type(unsupported).__name__
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [f"{os.getpid()} {outcome}".encode()]


use()
