"""A service process whose near cache knows a session, until it is revoked. Run by `near_cache_crowd`.

Takes tokens on its standard input, a line each. Says "kept" once its near cache answers for one, and then, when the
token is refused, the reading of the machine's monotonic clock; or what went wrong.
"""

import asyncio
import sys
import time
from collections.abc import Callable

from sidegate import AsyncSessionClient, SessionClient, SessionRejected, VerificationUnavailable

PAUSE_SECONDS = 0.001  # between two requests of the service
AFTERWARDS = 20  # requests after the refusal, none of which may be accepted


def watch(client: SessionClient | AsyncSessionClient, accepts: Callable[[str], bool]) -> None:
    """Serve the tokens that come."""
    for line in sys.stdin:
        token = line.strip()
        before = client.near_cache_statistics()
        while client.near_cache_statistics().hits == before.hits:
            accepts(token)
            time.sleep(PAUSE_SECONDS)
        print("kept", flush=True)  # noqa: T201 - this is how it speaks
        print(_refusal(client, accepts, token, before.dropped_by_revocation), flush=True)  # noqa: T201 - what its parent reads


def _refusal(
    client: SessionClient | AsyncSessionClient, accepts: Callable[[str], bool], token: str, dropped: int
) -> float | str:
    while True:
        was_told = client.near_cache_statistics().dropped_by_revocation > dropped
        if not accepts(token):
            refused = time.monotonic()
            break
        if was_told:
            return "accepted after the feed had delivered the revocation"
        time.sleep(PAUSE_SECONDS)
    for _ in range(AFTERWARDS):
        if accepts(token):
            return "accepted after it had been refused"
    return refused


def main() -> None:
    """Arguments: the target, and which kind of client."""
    target, kind = sys.argv[1:]
    if kind == "threads":
        with SessionClient(target, timeout=30) as client:
            watch(client, lambda token: _accepted(lambda: client.verify(token)))
        return
    with asyncio.Runner() as runner:
        asynchronous = AsyncSessionClient(target, timeout=30)
        watch(asynchronous, lambda token: _accepted(lambda: runner.run(asynchronous.verify(token))))
        runner.run(asynchronous.close())


def _accepted(verify: Callable[[], object]) -> bool:
    while True:
        try:
            verify()
        except SessionRejected:
            return False
        except VerificationUnavailable:  # no verdict: ask again
            continue
        return True


if __name__ == "__main__":
    main()
