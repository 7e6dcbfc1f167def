"""What a verification costs a Python service: near cache, micro-batching, plain calls, and jwt.decode.

Beside them two calls of a bare stub, bytes in and bytes out: a Verify, and an RPC that does nothing. What the first
takes longer is what the sidecar takes to verify a remembered token: the p50 of each round over that of the other.

A real sidecar on a Unix socket, and this process as the service, with 1, 8, 32 and 128 callers at once: tasks of one
event loop, then threads. Tokens are of 1 kB, RS256, and known to the sidecar; all but the near cache's are new to the
client each time. The contenders take turns in short rounds, for this machine's speed varies. Microseconds from one
verification to the next (the inverse of the throughput), median and spread over the rounds; and how long one caller
waited, p50 and p99 over all.

Asserts nothing. Takes about four minutes; ROUNDS=2 is over sooner.
"""

import asyncio
import itertools
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
from grpc_health.v1 import health_pb2
from sidegate import AsyncSessionClient, SessionClient
from sidegate.v1.verification_pb2 import VerifyRequest

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

ROUNDS = int(os.environ.get("ROUNDS", "7"))
ROUND_SECONDS = 0.4
CALLERS = (1, 8, 32, 128)
TOKENS = 2000
VERIFY = "/sidegate.v1.VerificationService/Verify"
HEALTH = "/grpc.health.v1.Health/Check"
# As the clients retry: a connection takes 128 calls at once, and one too many is refused.
RETRYING: dict[str, Any] = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
OPTIONS = (("grpc.service_config", json.dumps(RETRYING)),)
CLAIMS: dict[str, Any] = {
    "aud": "orders",
    "scope": "openid email profile",
    "permissions": [f"orders:{number}" for number in range(16)],
    "realm_access": {"roles": ["offline_access", "uma_authorization", "buyer", "seller"]},
}


class Figures:
    """What the rounds of one contender gave. Both in seconds."""

    def __init__(self) -> None:
        self.per_call: list[float] = []
        self.p50s: list[float] = []
        self.waits: list[float] = []

    def add(self, elapsed: float, waits: Sequence[float]) -> None:
        """One round."""
        self.per_call.append(elapsed / len(waits))
        self.p50s.append(statistics.median(waits))
        self.waits.extend(waits)

    def __str__(self) -> str:
        least, most = min(self.per_call) * 1e6, max(self.per_call) * 1e6
        waits = sorted(self.waits)
        return (
            f"{statistics.median(self.per_call) * 1e6:9.1f} {f'({least:.1f}-{most:.1f})':>18}"
            f" {waits[len(waits) // 2] * 1e6:10.1f} {waits[int(0.99 * len(waits))] * 1e6:10.1f}"
        )


async def round_of_tasks(callers: int, call: Callable[[], Awaitable[object]]) -> tuple[float, list[float]]:
    """Let that many tasks call again and again. How long it took, and how long each call waited."""
    waits: list[float] = []
    began = time.perf_counter()
    end = began + ROUND_SECONDS

    async def go_on() -> None:
        while (before := time.perf_counter()) < end:
            await call()
            waits.append(time.perf_counter() - before)

    await asyncio.gather(*(go_on() for _ in range(callers)))
    return time.perf_counter() - began, waits


def round_of_threads(callers: int, call: Callable[[], object]) -> tuple[float, list[float]]:
    """Likewise with threads."""
    waits: list[list[float]] = [[] for _ in range(callers)]
    ready = threading.Barrier(callers + 1)

    def go_on(mine: list[float]) -> None:
        ready.wait()
        end = time.perf_counter() + ROUND_SECONDS
        while (before := time.perf_counter()) < end:
            call()
            mine.append(time.perf_counter() - before)

    threads = [threading.Thread(target=go_on, args=(mine,)) for mine in waits]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, list(itertools.chain.from_iterable(waits))


@asynccontextmanager
async def asyncio_contenders(
    sidecar: Sidecar, tokens: Sequence[str], decode: Callable[[], object]
) -> AsyncGenerator[dict[str, Callable[[], Awaitable[object]]], None]:
    """By name."""
    turn = itertools.cycle(tokens)
    async with AsyncExitStack() as opened:
        near = await opened.enter_async_context(AsyncSessionClient(sidecar.target, timeout=30))
        batched = await opened.enter_async_context(AsyncSessionClient(sidecar.target, timeout=30, near_cache=False))
        unary = await opened.enter_async_context(
            AsyncSessionClient(sidecar.target, timeout=30, near_cache=False, batching=False)
        )
        channel: Any = await opened.enter_async_context(grpc.aio.insecure_channel(sidecar.target, OPTIONS))
        empty: Callable[[bytes], Awaitable[bytes]] = channel.unary_unary(HEALTH)
        stub: Callable[[bytes], Awaitable[bytes]] = channel.unary_unary(VERIFY)
        request = health_pb2.HealthCheckRequest().SerializeToString()
        questions = itertools.cycle(questions_about(tokens))
        while not near.near_cache_statistics().hits:
            await near.verify(tokens[0])
            await asyncio.sleep(0.01)

        async def in_process() -> object:
            return decode()

        yield {
            "near cache": lambda: near.verify(tokens[0]),
            "batched": lambda: batched.verify(next(turn)),
            "unary": lambda: unary.verify(next(turn)),
            "raw Verify": lambda: stub(next(questions)),
            "empty RPC": lambda: empty(request),
            "jwt.decode": in_process,
        }


def thread_contenders(
    sidecar: Sidecar, tokens: Sequence[str], decode: Callable[[], object], opened: ExitStack
) -> dict[str, Callable[[], object]]:
    """By name."""
    turn = itertools.cycle(tokens)
    near = opened.enter_context(SessionClient(sidecar.target, timeout=30))
    batched = opened.enter_context(SessionClient(sidecar.target, timeout=30, near_cache=False))
    unary = opened.enter_context(SessionClient(sidecar.target, timeout=30, near_cache=False, batching=False))
    channel: Any = opened.enter_context(grpc.insecure_channel(sidecar.target, OPTIONS))
    empty: Callable[[bytes], bytes] = channel.unary_unary(HEALTH)
    stub: Callable[[bytes], bytes] = channel.unary_unary(VERIFY)
    request = health_pb2.HealthCheckRequest().SerializeToString()
    questions = itertools.cycle(questions_about(tokens))
    while not near.near_cache_statistics().hits:
        near.verify(tokens[0])
        time.sleep(0.01)
    return {
        "near cache": lambda: near.verify(tokens[0]),
        "batched": lambda: batched.verify(next(turn)),
        "unary": lambda: unary.verify(next(turn)),
        "raw Verify": lambda: stub(next(questions)),
        "empty RPC": lambda: empty(request),
        "jwt.decode": decode,
    }


def questions_about(tokens: Sequence[str]) -> list[bytes]:
    """As a stub would send them, serialized."""
    return [VerifyRequest(access_token=token).SerializeToString() for token in tokens]


def report(kind: str, callers: int, figures: dict[str, Figures]) -> None:
    """The lines of one number of callers."""
    for name, each in figures.items():
        print(f"{kind:8} {callers:7} {name:11} {each}", flush=True)  # noqa: T201  # a benchmark is run for its table
    pairs = zip(figures["raw Verify"].p50s, figures["empty RPC"].p50s, strict=True)
    ratio = statistics.median(verify / empty for verify, empty in pairs)
    print(f"{kind:8} {callers:7} raw Verify : empty RPC, p50  {ratio:.2f}", flush=True)  # noqa: T201  # it is run for its table


async def measure_tasks(sidecar: Sidecar, tokens: Sequence[str], decode: Callable[[], object]) -> None:
    """Asyncio."""
    async with asyncio_contenders(sidecar, tokens, decode) as contenders:
        for callers in CALLERS:
            figures = {name: Figures() for name in contenders}
            for _ in range(ROUNDS):
                for name, call in contenders.items():
                    figures[name].add(*await round_of_tasks(callers, call))
            report("asyncio", callers, figures)


def measure_threads(sidecar: Sidecar, tokens: Sequence[str], decode: Callable[[], object]) -> None:
    """Threads."""
    with ExitStack() as opened:
        contenders = thread_contenders(sidecar, tokens, decode, opened)
        for callers in CALLERS:
            figures = {name: Figures() for name in contenders}
            for _ in range(ROUNDS):
                for name, call in contenders.items():
                    figures[name].add(*round_of_threads(callers, call))
            report("threads", callers, figures)


def main() -> None:
    """The table."""
    issuer = FakeIssuer()
    tokens = [issuer.mint("ada", f"session-{number}", algorithm="RS256", **CLAIMS) for number in range(TOKENS)]
    [key] = [key for key in jwt.PyJWKSet.from_json(issuer.jwks().decode()).keys if key.algorithm_name == "RS256"]

    def decode() -> object:
        return jwt.decode(tokens[0], key, algorithms=["RS256"], audience="orders", issuer=issuer.name)

    print("kind     callers contender   us per call           (spread)   p50 us    p99 us")  # noqa: T201  # its table
    with tempfile.TemporaryDirectory(prefix="sg-") as place:
        folder = Path(place)
        with running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as sidecar:
            with SessionClient(sidecar.target, timeout=30, near_cache=False) as client:
                for token in tokens:
                    client.verify(token)
            asyncio.run(measure_tasks(sidecar, tokens, decode))
            measure_threads(sidecar, tokens, decode)


if __name__ == "__main__":
    main()
