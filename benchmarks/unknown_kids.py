"""What a flood of tokens with random unknown `kid`s costs good requests, and the issuer.

A real sidecar that fetches its keys over HTTP; a client process that sends good tokens at a fixed rate, every second
one of them seen before; and another that floods, in every second window, so that a busy machine is unfair to neither.
Nobody waits for an answer before the next request leaves. Asserts nothing. Takes about 25 s.

`make bench`, or `PYTHONPATH=. .venv/bin/python benchmarks/unknown_kids.py`.
"""

import asyncio
import multiprocessing
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
from sidegate.v1 import session_pb2, verification_pb2
from sidegate_sidecar.keys.bucket import BURST, PAUSE_SECONDS

from tests.fakes.issuer import FakeIssuer
from tests.fakes.jwks_server import JwksServer
from tests.integration.sidecar.processes import issuers_setting, running_sidecar

GOOD_PER_SECOND = 100
FLOOD_PER_SECOND = 300
WINDOWS = 6  # undisturbed and flooded in turn
WINDOW_SECONDS = 3.0
PAUSE_BETWEEN = 0.3  # for the last answers of a flood
REMEMBERED = 20
CALL_SECONDS = 5.0
PATIENCE_SECONDS = 40.0

ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Request:
    """A token, and when to send it: seconds after the start."""

    at: float
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: its latency in seconds, and `ACCEPTED`, a rejection's reason or an error's status."""

    seconds: float
    outcome: str


class Client:
    """A process of its own that sends requests, each when it is due.

    Args:
        connection: To the process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, at: float) -> None:
        """Tell it when the start is, by the monotonic clock that all processes share."""
        self._connection.send(at)

    def answers(self) -> list[Answer]:
        """One for each request, in order, once all are there."""
        return _received(self._connection)


@contextmanager
def client(target: str, requests: Sequence[Request], warm_up: Sequence[str]) -> Generator[Client]:
    """A connected client that has sent the tokens of `warm_up` once. Ended with the block."""
    spawn = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run_client, args=(target, requests, warm_up, theirs))
    process.start()
    try:
        _received(ours)
        yield Client(ours)
    finally:
        process.kill()
        process.join()
        ours.close()


def _received(connection: Connection) -> list[Answer]:
    if not connection.poll(PATIENCE_SECONDS):
        raise TimeoutError("a client process says nothing")
    received: list[Answer] = connection.recv()
    return received


def _run_client(target: str, requests: Sequence[Request], warm_up: Sequence[str], parent: Connection) -> None:
    asyncio.run(_send_all(target, requests, warm_up, parent))


async def _send_all(target: str, requests: Sequence[Request], warm_up: Sequence[str], parent: Connection) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        await channel.channel_ready()
        parent.send([await _send(channel, token) for token in warm_up])
        start = await asyncio.to_thread(parent.recv)
        under_way: list[asyncio.Task[Answer]] = []
        for request in requests:
            await asyncio.sleep(start + request.at - time.monotonic())
            under_way.append(asyncio.create_task(_send(channel, request.token)))
        parent.send(await asyncio.gather(*under_way))


async def _send(channel: grpc.aio.Channel, token: str) -> Answer:
    verify = channel.unary_unary(
        "/sidegate.v1.VerificationService/Verify",
        request_serializer=verification_pb2.VerifyRequest.SerializeToString,
        response_deserializer=verification_pb2.VerifyResponse.FromString,
    )
    began = time.perf_counter()
    try:
        answer = await verify(verification_pb2.VerifyRequest(access_token=token), timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as failure:
        return Answer(time.perf_counter() - began, failure.code().name)
    seconds = time.perf_counter() - began
    if answer.HasField("session"):
        return Answer(seconds, ACCEPTED)
    return Answer(seconds, session_pb2.RejectionReason.Name(answer.rejection.reason))


def window_start(window: int) -> float:
    """When a window begins, in seconds after the start."""
    return window * (WINDOW_SECONDS + PAUSE_BETWEEN)


def times(windows: Sequence[int], per_second: int) -> list[float]:
    """When to send at a fixed rate in those windows."""
    return [
        window_start(window) + n / per_second for window in windows for n in range(int(WINDOW_SECONDS * per_second))
    ]


def percentiles(answers: Sequence[Answer]) -> tuple[float, float]:
    """p50 and p99, in milliseconds."""
    hundredths = statistics.quantiles((answer.seconds * 1e3 for answer in answers), n=100, method="inclusive")
    return hundredths[49], hundredths[98]


def line(name: str, undisturbed: Sequence[Answer], flooded: Sequence[Answer]) -> str:
    """One line of the table."""
    calm, hard = percentiles(undisturbed), percentiles(flooded)
    return (
        f"{name:18} {calm[0]:7.2f} {calm[1]:7.2f}   {hard[0]:7.2f} {hard[1]:7.2f}"
        f"   {hard[0] / calm[0]:6.2f} {hard[1] / calm[1]:6.2f}"
    )


def table(answers: Sequence[Answer]) -> list[str]:
    """Latencies of the good requests: each pair of neighbouring windows, each kind of token, and all."""
    size = len(answers) // WINDOWS
    windows = [answers[window * size : (window + 1) * size] for window in range(WINDOWS)]
    undisturbed = [answer for window in windows[::2] for answer in window]
    flooded = [answer for window in windows[1::2] for answer in window]
    return [
        f"{'good requests, ms':18} {'undisturbed':>15}   {'flooded':>15}   {'ratio':>13}",
        f"{'':18} {'p50':>7} {'p99':>7}   {'p50':>7} {'p99':>7}   {'p50':>6} {'p99':>6}",
        *(
            line(f"windows {window + 1} and {window + 2}", windows[window], windows[window + 1])
            for window in range(0, WINDOWS, 2)
        ),
        line("seen before", undisturbed[::2], flooded[::2]),
        line("new", undisturbed[1::2], flooded[1::2]),
        line("all", undisturbed, flooded),
    ]


def outcomes(answers: Sequence[Answer]) -> str:
    """How often each came."""
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(a.outcome for a in answers).most_common())


def good_requests(issuer: FakeIssuer, seen_before: Sequence[str]) -> list[Request]:
    """In every window; a token seen before and a new one in turn."""
    return [
        Request(at, issuer.mint("bob", f"new-{n}") if n % 2 else seen_before[n // 2 % REMEMBERED])
        for n, at in enumerate(times(range(WINDOWS), GOOD_PER_SECOND))
    ]


def flood(issuer: FakeIssuer) -> list[Request]:
    """In every second window; each token with a `kid` of its own."""
    return [
        Request(at, issuer.mint("eve", headers={"kid": secrets.token_hex(8)}))
        for at in times(range(1, WINDOWS, 2), FLOOD_PER_SECOND)
    ]


def main() -> None:
    """Measure, and print the table."""
    issuer = FakeIssuer()
    seen_before = [issuer.mint("alice", f"seen-{n}") for n in range(REMEMBERED)]
    good, bad = good_requests(issuer, seen_before), flood(issuer)
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder, JwksServer(issuer.jwks) as keys:
        keys.open()
        entry = {"issuer": issuer.name, "jwks_url": keys.url}
        with (
            running_sidecar(Path(folder), issuers=issuers_setting(entry)) as sidecar,
            client(sidecar.target, good, seen_before) as good_client,
            client(sidecar.target, bad, ()) as flooding_client,
        ):
            asked_before, began = keys.asked, time.monotonic()
            for each in (good_client, flooding_client):
                each.start(began + 0.2)
            good_answers, flood_answers = good_client.answers(), flooding_client.answers()
            asked, elapsed = keys.asked - asked_before, time.monotonic() - began
    errors = sum(answer.outcome != ACCEPTED for answer in good_answers)
    allowed = BURST + int(elapsed / PAUSE_SECONDS)
    lines = [
        *table(good_answers),
        f"the {len(good_answers)} good requests: {errors} errors ({outcomes(good_answers)})",
        f"the {len(flood_answers)} requests of the flood: {outcomes(flood_answers)}",
        f"fetches that the issuer saw in {elapsed:.1f} s: {asked}; the bucket allows {allowed}",
    ]
    print("\n".join(lines))  # noqa: T201  # the table is what a benchmark is run for


if __name__ == "__main__":
    main()
