"""The thread that reads the feed: how often it opens streams, and how it ends."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sidegate import SessionClient, feed_thread
from sidegate.feed_calls import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, Pauses
from sidegate.feed_thread import Feed

from tests.unit.client.feed_server import PATIENCE_SECONDS, FeedServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FeedServer]:
    server = FeedServer(f"unix://{tmp_path / 's'}")
    yield server
    server.stop()


class Clock:
    """One that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Asked(Pauses):
    """Pauses that are over at once, and known."""

    def __init__(self) -> None:
        super().__init__(lambda: 1.0)
        self.seconds: list[float] = []

    def after(self, code: str | None) -> float:
        self.seconds.append(super().after(code))
        return 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(feed_thread, "steady_clock", clock)
    return clock


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(feed_thread, "Pauses", lambda: asked)
    return asked


@pytest.mark.parametrize("beating", [False, True], ids=["its hello", "its first checkpoint"])
def test_streams_that_a_sidecar_ends_right_after_are_opened_ever_more_rarely(
    server: FeedServer, clock: Clock, asked: Asked, beating: bool
) -> None:
    server.beating = beating
    with SessionClient(server.target, timeout=20.0) as client:
        client.verify("s-1")
        for number in range(1, 9):
            server.wait_for_stream(number).events.put(None)
        server.wait_for_stream(9)
    assert asked.seconds[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_a_stream_that_has_lasted_is_opened_again_soon(server: FeedServer, clock: Clock, asked: Asked) -> None:
    server.beating = False  # so that a slow machine finds no checkpoint late, and ends no stream by itself
    with SessionClient(server.target, timeout=20.0) as client:
        client.verify("s-1")
        for number in range(1, 5):
            server.wait_for_stream(number).events.put(None)
        stream = server.wait_for_stream(5)
        clock.now += LAST_PAUSE_SECONDS
        stream.events.put(None)
        server.wait_for_stream(6).events.put(None)
        server.wait_for_stream(7)
    assert asked.seconds[3:6] == [0.4, 0.05, 0.1]


def test_whatever_ends_streams_they_are_not_opened_more_often_than_about_once_a_second() -> None:
    """However long each lasts."""
    for lasting in (0.0, 0.3, 0.999, 1.0, 5.0):
        pauses, now, opened = Pauses(lambda: 0.0), 0.0, list[float]()
        for _ in range(20):
            opened.append(now)
            pauses.lasted(lasting)
            now += lasting + pauses.after("UNAVAILABLE")
        settled = opened[6:]
        assert min(later - earlier for earlier, later in pairwise(settled)) >= LAST_PAUSE_SECONDS / 2


def test_pauses_are_spread() -> None:
    assert (Pauses(lambda: 0.0).after(None), Pauses(lambda: 1.0).after(None)) == (
        FIRST_PAUSE_SECONDS / 2,
        FIRST_PAUSE_SECONDS,
    )


@pytest.mark.parametrize("holder", ["the feed", "its pause", "gRPC"])
def test_a_client_is_collected_wherever_that_happens(server: FeedServer, holder: str) -> None:
    """The garbage collector may run in the very thread that holds what stopping the feed takes, and must not wait."""
    client = SessionClient(server.target, timeout=20.0)
    client.verify("s-1")
    server.wait_for_stream(1)
    feed: dict[str, Feed] = vars(client)
    thread: Any = vars(feed["_feed"])["_thread"]
    while thread._stream is None:  # the server knows of it first
        time.sleep(0.001)
    lock: AbstractContextManager[object] = {
        "the feed": thread._lock,
        "its pause": thread._stopping._cond,
        "gRPC": thread._stream._state.condition,
    }[holder]
    last_references, collected = [client], threading.Event()
    del client, feed, thread

    def collect() -> None:
        last_references.clear()
        gc.collect()
        collected.set()

    with lock:
        # In another thread than this one, which has to go on; and gRPC's lock may be taken twice by one.
        threading.Thread(target=collect, daemon=True).start()
        was_collected = collected.wait(PATIENCE_SECONDS)
    assert was_collected
    assert server.wait_for_stream(1).ended.wait(PATIENCE_SECONDS)


UNCLOSED = """
import sys
from sidegate import SessionClient
client = SessionClient(sys.argv[1], timeout=20.0)
client.verify("s-1")
print("asked", flush=True)
sys.stdin.readline()
"""


def test_a_process_that_closes_nothing_ends_its_stream_and_says_nothing(server: FeedServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNCLOSED, server.target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        stream = server.wait_for_stream(1)
        _, errors = process.communicate("\n", PATIENCE_SECONDS)
        assert (process.returncode, errors) == (0, "")
    assert stream.ended.wait(PATIENCE_SECONDS)
