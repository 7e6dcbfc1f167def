"""How soon a caller is told that there is too much of its kind, and what the others notice of that.

A real sidecar on a real PostgreSQL that lets every look-up wait, for a lock is held on its sessions. A process with 24
connections asks in full batches with `check_database`, so that look-ups take all the places there are. Beside it single
calls come at 50 a second: with `check_database`, which are shed, and without, which are not to notice. First without
the flood. Milliseconds, by what each call came to. Asserts nothing. Takes some 15 s.
"""

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from sidegate.v1 import verification_pb2 as v1
from sidegate.v1 import verification_pb2_grpc

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database, PostgresServer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

SECONDS = 5.0
CONNECTIONS = 24  # 6,144 look-ups, where 4,096 may wait
BATCH = 256
PER_SECOND = 50.0
BACK_OFF_SECONDS = 0.2
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]

Figures = Mapping[str, Sequence[float]]


async def ask_in_batches(target: str, tokens: Sequence[str]) -> None:
    """On one connection, one full batch after another, until cancelled."""
    batch = v1.BatchVerifyRequest(
        requests=[v1.VerifyRequest(access_token=token, check_database=True) for token in tokens]
    )
    async with grpc.aio.insecure_channel(target, OWN_CONNECTION) as channel:
        stub: Any = verification_pb2_grpc.VerificationServiceStub(
            channel
        )  # its stubs know only grpc's blocking channels
        while True:
            try:
                await stub.BatchVerify(batch, timeout=5)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(BACK_OFF_SECONDS)  # it is one of those that are shed


async def flood(target: str, tokens: Sequence[str]) -> None:
    """On all connections at once, until the process is ended."""
    await asyncio.gather(*(ask_in_batches(target, tokens) for _ in range(CONNECTIONS)))


def run_flood(target: str, tokens: Sequence[str]) -> None:
    """In a process of its own."""
    asyncio.run(flood(target, tokens))


async def probe(target: str, token: str, *, check_database: bool) -> Figures:
    """Milliseconds of single calls, by the status that each ended with."""
    figures: dict[str, list[float]] = defaultdict(list)
    request = v1.VerifyRequest(access_token=token, check_database=check_database)
    async with grpc.aio.insecure_channel(target, OWN_CONNECTION) as channel:
        stub: Any = verification_pb2_grpc.VerificationServiceStub(
            channel
        )  # its stubs know only grpc's blocking channels
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            began = time.perf_counter()
            status = grpc.StatusCode.OK
            try:
                await stub.Verify(request, timeout=5)
            except grpc.aio.AioRpcError as error:
                status = error.code()
            figures[status.name].append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(1 / PER_SECOND)
    return figures


async def probe_both(target: str, token: str) -> tuple[Figures, Figures]:
    """With and without `check_database`, at the same time."""
    checked, stateless = await asyncio.gather(
        probe(target, token, check_database=True), probe(target, token, check_database=False)
    )
    return checked, stateless


def lines(name: str, figures: Figures) -> str:
    """A line for each status."""
    return "\n".join(
        f"{name:36} {status:18} {len(each):6} {statistics.median(each):8.1f}"
        f" {sorted(each)[int(0.99 * len(each))]:8.1f} {max(each):8.1f}"
        for status, each in sorted(figures.items())
    )


async def measure(sidecar: Sidecar, database: Database, tokens: Sequence[str]) -> str:
    """The table."""
    calm = await probe_both(sidecar.target, tokens[0])
    context = multiprocessing.get_context("spawn")
    flooding = context.Process(target=run_flood, args=(sidecar.target, tokens), daemon=True)
    async with database.connect() as connection, connection.transaction():
        await connection.execute("LOCK TABLE sidegate.sessions IN ACCESS EXCLUSIVE MODE")
        flooding.start()
        try:
            await asyncio.sleep(3)  # until it has connected, and its tokens are remembered
            flooded = await probe_both(sidecar.target, tokens[0])
        finally:
            flooding.kill()
            flooding.join()
    return "\n".join(
        [
            f"{'':36} {'status':18} {'calls':>6} {'p50':>8} {'p99':>8} {'max':>8}",
            lines("undisturbed, check_database", calm[0]),
            lines("undisturbed, stateless", calm[1]),
            lines("look-ups all taken, check_database", flooded[0]),
            lines("look-ups all taken, stateless", flooded[1]),
        ]
    )


async def run(server: PostgresServer, folder: Path) -> str:
    """The table, of a sidecar on a database of its own."""
    issuer = FakeIssuer()
    tokens = [issuer.mint("ada", f"session-{number}") for number in range(BATCH)]
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder))}
    async with server.database() as database:
        owner = running_sidecar(folder, store_url=database.url, **settings)
        sidecar = await asyncio.to_thread(owner.__enter__)
        try:
            return await measure(sidecar, database, tokens)
        finally:
            await asyncio.to_thread(owner.__exit__, None, None, None)


def main() -> None:
    """Measure, and print the table."""
    server = PostgresServer()
    try:
        with tempfile.TemporaryDirectory(prefix="sg-") as folder:
            print(asyncio.run(run(server, Path(folder))))  # noqa: T201 - the table is what a benchmark is run for
    finally:
        server.close()


if __name__ == "__main__":
    main()
