"""Processes that fork with clients in them. Each runs by itself, with every wait bounded: what fails, hangs."""

import os
import subprocess
import sys

import pytest

from tests.unit.client.feed_server import FeedServer

FORKS = int(os.environ.get("FORKS", "3"))  # `make test-forks` asks for more: what fails, fails now and then

PRELUDE = """
import asyncio, multiprocessing, os, signal, sys, threading, time
from sidegate import AsyncSessionClient, ForkUnsupported, RevocationClient, SessionClient
from sidegate import VerificationUnavailable

TARGET, FORKS = sys.argv[1], int(sys.argv[2])
client = SessionClient(TARGET, timeout=20)
asynchronous = AsyncSessionClient(TARGET, timeout=20)

def use():
    # The near cache included: a call that is answered from it shows that a feed is up.
    before = client.near_cache_statistics().hits
    while client.near_cache_statistics().hits == before:
        client.verify("s-1")

async def use_on_a_loop():
    before = asynchronous.near_cache_statistics().hits
    while asynchronous.near_cache_statistics().hits == before:
        await asynchronous.verify("s-1")

def outcome(do):
    try:
        do()
    except ForkUnsupported:
        return 3
    return 0

def in_child(do):
    # The exit status: 0 done, 3 refused, negative if it hung.
    child = os.fork()
    if not child:
        signal.alarm(30)
        status = 1
        try:
            status = outcome(do)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def environment_with(support: str | None) -> dict[str, str]:
    """This process's own, with that GRPC_ENABLE_FORK_SUPPORT. None: unset."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    return environment if support is None else environment | {"GRPC_ENABLE_FORK_SUPPORT": support}


def run(script: str, server: FeedServer, support: str | None, *, forks: int = FORKS) -> str:
    """What it printed."""
    ended = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, server.target, str(forks)],
        env=environment_with(support),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


supports = pytest.mark.parametrize("support", [None, "1", "0"], ids=["unset", "1", "0"])
