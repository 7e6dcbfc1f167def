"""Noise, and what is nearly right, at every listener: the process lives, gives nothing away, and goes on answering.

SIDEGATE_FUZZ_SECONDS (0.4) says for how long each test sends, SIDEGATE_FUZZ_SEED which inputs: a failure names it.
"""

import os
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.integration.floods.attacker import Prey
from tests.integration.floods.mutation import MARK, WATCH, frames, mutated, mutated_frames, requests
from tests.integration.floods.scene import CALL_SECONDS, Fortress
from tests.integration.sidecar.processes import ROOT, check_output

SECONDS = float(os.environ.get("SIDEGATE_FUZZ_SECONDS", "0.4"))
SEED = int(os.environ.get("SIDEGATE_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
MAX_NOISE_BYTES = 5_000
READING_SECONDS = 0.02  # for what the server has to say to one input
MIB = 1024 * 1024
OPAQUE = re.compile("internal error; incident [0-9a-f]{16} in the sidecar's log")

NOISE: dict[str, Callable[[random.Random, str], bytes]] = {
    "random bytes": lambda chance, _: chance.randbytes(chance.randrange(MAX_NOISE_BYTES)),
    "mutated frames": lambda chance, token: mutated_frames(chance, frames(token)),
}


@pytest.fixture
def chance() -> random.Random:
    """Where all inputs of a test come from."""
    print(f"SIDEGATE_FUZZ_SEED={SEED}")  # noqa: T201 - pytest shows it if the test fails
    return random.Random(SEED)  # noqa: S311 - it has to be repeatable


def published_reasons() -> dict[str, str]:
    """The status code of each reason, as errors.proto says."""
    text = (ROOT / "protos/sidegate/v1/errors.proto").read_text()
    return {name: code for code, name in re.findall(r"  // ([A-Z_]+)\. .*(?:\n  //.*)*\n  ERROR_REASON_(\w+) =", text)}


def send(prey: Prey, noise: bytes, *, through_tls: bool) -> None:
    """Send bytes on a connection of their own, and take in what comes back for a moment."""
    family, address = (socket.AF_UNIX, prey.path) if prey.path else (socket.AF_INET, ("127.0.0.1", prey.port))
    with suppress(OSError), socket.socket(family) as plain:
        plain.settimeout(CALL_SECONDS)
        plain.connect(address)
        connection = plain
        if through_tls:
            context = ssl.create_default_context(cafile=prey.ca_file)
            context.set_alpn_protocols(["h2"])
            connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
        with connection:
            connection.sendall(noise)
            connection.settimeout(READING_SECONDS)
            while connection.recv(MIB):
                pass


def check_after(under_attack: Fortress, before: int) -> None:
    """It lives, serves and has grown but little; and each line of its log is one object that shows on any terminal."""
    assert under_attack.sidecar.process.poll() is None
    assert under_attack.peak() - before < 100 * MIB
    for listener in ("unix", "tcp", "tls"):
        with under_attack.channel(listener) as channel:
            under_attack.ask(channel, listener)
    check_output(under_attack.sidecar.log)
    assert "internal_error" not in under_attack.sidecar.log
    for line in under_attack.sidecar.log.splitlines():
        assert line.startswith("{")
        assert line.isprintable()
    assert MARK not in under_attack.sidecar.log


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("listener", ["unix", "tcp", "tls", "tls, before the handshake"])
def test_noise_does_no_harm(under_attack: Fortress, chance: random.Random, listener: str, kind: str) -> None:
    before = under_attack.memory()
    under_attack.forget_peak()

    prey = under_attack.prey[listener.partition(",")[0]]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        send(prey, NOISE[kind](chance, under_attack.token), through_tls=listener == "tls")

    check_after(under_attack, before)


@pytest.mark.parametrize("listener", ["tcp", "tls"])
def test_every_answer_to_a_mutated_request_is_a_published_one(
    under_attack: Fortress, chance: random.Random, listener: str
) -> None:
    published = published_reasons()
    whole = requests(under_attack.token)[listener]
    before = under_attack.memory()
    under_attack.forget_peak()

    endings: set[tuple[str, str]] = set()
    end = time.monotonic() + SECONDS
    with under_attack.channel(listener) as channel:
        while time.monotonic() < end:
            for method, request in whole.items():
                endings.add(ending(channel, method, mutated(chance, request)))

    assert ("OK", "") in endings
    assert {code for code, _ in endings} > {"OK"}, "some of it was refused"
    assert endings - {("OK", "")} <= {(code, reason) for reason, code in published.items()}
    assert "INTERNAL" not in {code for code, _ in endings}
    check_after(under_attack, before)


def ending(channel: grpc.Channel, method: str, request: bytes) -> tuple[str, str]:
    """The status of a call and the reason in its ErrorInfo. Nothing of ours may be in what a caller is told."""
    untyped: Any = channel  # the stubs know no calls in bytes
    try:
        if method == WATCH:
            events = untyped.unary_stream(method)(request, timeout=CALL_SECONDS)
            next(events)
            events.cancel()
        else:
            untyped.unary_unary(method)(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        failure: Any = error
        info = ErrorInfo()
        for name, value in failure.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                Status.FromString(value).details[0].Unpack(info)
        told = failure.details()
        assert "Traceback" not in told
        assert failure.code() is not grpc.StatusCode.INTERNAL or OPAQUE.fullmatch(told)
        return failure.code().name, info.reason
    return "OK", ""
