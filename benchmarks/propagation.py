"""How soon a revocation is known everywhere: real sidecars on one real PostgreSQL, 100 revocations a second.

One sidecar takes the revocations; its feed and those of all others are watched. A sidecar tells of a revocation only
once its index refuses the session, so the moment at which its feed delivers one is the moment by which every stateless
verify there refuses it; for one in twenty that is tried with a real token. Milliseconds from the return of the Revoke
call, which the sidecar that took it must have been before (0.0). Everything shares this machine's cores.

Asserts nothing, but says how many of the tokens tried were still accepted: there must be none. Takes about two minutes.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from sidegate import AsyncRevocationClient, AsyncSessionClient
from sidegate.v1 import feed_pb2, feed_pb2_grpc
from sidegate.verdicts import Session

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import PostgresServer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

SIDECARS = (2, 4, 8, 20)
REVOCATIONS = 1000
PER_SECOND = 100
TRIED = 20  # one in so many
HEADING = "sidecars   call p50      p99    own p99   others p50      p99      max  a second   accepted"


@dataclass
class Watched:
    """What one sidecar's feed has delivered.

    Attributes:
        known: When each sequence, from 1 on, was known there; `time.perf_counter()`.
        progress: Set with every delivery.
        accepted: How many revoked tokens were still accepted after that.
    """

    target: str
    known: list[float] = field(default_factory=list[float])
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: int = 0

    async def watch(self, tokens: Sequence[str], ready: asyncio.Event) -> None:
        """Follow the feed until cancelled, trying one in TRIED of the tokens as soon as it should be refused."""
        async with (
            grpc.aio.insecure_channel(self.target) as channel,
            AsyncSessionClient(self.target, near_cache=False) as client,
        ):
            feed: Any = feed_pb2_grpc.RevocationFeedServiceStub(channel)  # its stubs know only grpc's blocking channels
            async for message in feed.WatchRevocations(feed_pb2.WatchRevocationsRequest()):
                now = time.perf_counter()
                ready.set()
                if not message.HasField("revocations"):
                    continue
                before, after = len(self.known), message.revocations.revision.sequence
                self.known.extend([now] * (after - before))
                self.progress.set()
                for position in range(before, after):
                    if position % TRIED == 0:
                        verdict = await client.check(tokens[position])
                        self.accepted += isinstance(verdict.outcome, Session)


async def revoke_all(target: str, handles: Sequence[str]) -> tuple[list[float], list[float]]:
    """Revoke them one after the other, PER_SECOND a second if the calls allow. When each was called, and returned."""
    called: list[float] = []
    returned: list[float] = []
    async with AsyncRevocationClient(target) as client:
        began = time.perf_counter()
        for position, handle in enumerate(handles):
            await asyncio.sleep(began + position / PER_SECOND - time.perf_counter())
            called.append(time.perf_counter())
            await client.revoke_session(handle)
            returned.append(time.perf_counter())
    return called, returned


def quantile(figures: Sequence[float], share: float) -> float:
    """The figure below which that share lies."""
    return sorted(figures)[min(len(figures) - 1, int(share * len(figures)))]


async def measure(sidecars: Sequence[Sidecar], tokens: Sequence[str], handles: Sequence[str]) -> str:
    """The figures. The first of the sidecars takes the revocations."""
    watched = [Watched(sidecar.target) for sidecar in sidecars]
    ready = [asyncio.Event() for _ in watched]
    watches = [asyncio.create_task(each.watch(tokens, event)) for each, event in zip(watched, ready, strict=True)]
    await asyncio.gather(*(event.wait() for event in ready))
    called, returned = await revoke_all(sidecars[0].admin_target, handles)
    for each in watched:
        while len(each.known) < REVOCATIONS:
            each.progress.clear()
            await asyncio.wait_for(each.progress.wait(), 30)
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)
    own = [max(0.0, known - back) * 1e3 for known, back in zip(watched[0].known, returned, strict=True)]
    others = [
        max(0.0, known - back) * 1e3 for each in watched[1:] for known, back in zip(each.known, returned, strict=True)
    ]
    calls = [(back - call) * 1e3 for call, back in zip(called, returned, strict=True)]
    rate = REVOCATIONS / (returned[-1] - called[0])
    accepted = sum(each.accepted for each in watched)
    return (
        f"{len(sidecars):8} {statistics.median(calls):10.1f} {quantile(calls, 0.99):8.1f} {quantile(own, 0.99):10.1f}"
        f" {statistics.median(others):12.1f} {quantile(others, 0.99):8.1f} {max(others):8.1f} {rate:9.0f} {accepted:10}"
    )


def start(count: int, url: str, issuer: FakeIssuer, folder: Path, owned: ExitStack) -> list[Sidecar]:
    """That many sidecars on one database, the first alone with the admin services."""
    sidecars: list[Sidecar] = []
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        settings = {"issuers": issuers_setting(file_issuer(issuer, place)), "store_url": url}
        settings |= {"admin_listen": ""} if number else {}
        sidecars.append(owned.enter_context(running_sidecar(place, **settings)))
    return sidecars


async def line_for(count: int, server: PostgresServer, folder: Path) -> str:
    """One line of the table, on a database of its own."""
    issuer = FakeIssuer()
    handles = [f"session-{number}" for number in range(REVOCATIONS)]
    tokens = [issuer.mint("ada", handle) for handle in handles]
    async with server.database() as database:
        with ExitStack() as owned:
            sidecars = await asyncio.to_thread(start, count, database.url, issuer, folder, owned)
            return await measure(sidecars, tokens, handles)


def main() -> None:
    """The table, a line at a time."""
    print(HEADING)  # noqa: T201  # the table is what a benchmark is run for
    server = PostgresServer()
    try:
        for count in SIDECARS:
            with tempfile.TemporaryDirectory(prefix="sg-") as folder:
                print(asyncio.run(line_for(count, server, Path(folder))), flush=True)  # noqa: T201  # as above
    finally:
        server.close()


if __name__ == "__main__":
    main()
