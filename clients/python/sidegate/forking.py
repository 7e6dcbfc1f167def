"""What becomes of clients when their process forks.

gRPC runs threads, and a child gets none of them: what they held stays held for ever. So before a fork every client lets
go of its channel and its feed, and on both sides it opens new ones with its next call. Where that is not enough the
child is told so, for it would hang (measured with grpcio 1.85 on Linux):

* With GRPC_ENABLE_FORK_SUPPORT=0, if the parent has used a client: gRPC then does nothing to survive a fork.
* If the parent has used an asyncio client on a loop that is not closed: gRPC's poller stays with the loop, even when
  all channels are closed.
"""

import asyncio
import gc
import os
import threading
import weakref
from typing import Protocol

import grpc

from sidegate.errors import ForkUnsupported

LOCK_SECONDS = 1.0  # nobody holds one of ours for long, unless it is the very thread that forks, in a signal handler

_IS_SUPPORT_OFF = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in {"0", "f", "false", "n", "no"}


class Forkable(Protocol):
    """A client. Its process calls both methods in the thread that forks."""

    def before_fork(self) -> None:
        """Let go of what runs, and let nothing begin until `after_fork`. Waits for a second at most."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Go on, as if never used."""
        ...


class Ending(Protocol):
    """A thread whose client was collected. Known by identity."""

    def stop(self) -> None:
        """Ask it to end. Asking again does nothing."""
        ...

    def join(self) -> None:
        """Wait until it has ended, for a second at most."""
        ...


class _Process:
    """What this process has used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clients: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self.ending: set[Ending] = set()
        self.used = False
        self.loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self.unusable = ""  # why
        self.told: list[Forkable] = []
        self.is_locked_for_fork = False
        self.is_watching = False
        self.why_child_unusable = ""

    def before_fork(self) -> None:
        self.is_locked_for_fork = self.lock.acquire(timeout=LOCK_SECONDS)
        self.told = list(self.clients)
        for client in self.told:
            client.before_fork()
        if not self.used:
            return
        gc.collect()  # calls that have ended are in reference cycles, and keep gRPC running
        for thread in tuple(self.ending):
            thread.stop()
            thread.join()
            self.ending.discard(thread)
        if _IS_SUPPORT_OFF:
            self.why_child_unusable = "GRPC_ENABLE_FORK_SUPPORT is 0"
        elif not all(loop.is_closed() for loop in self.loops):
            self.why_child_unusable = "an asyncio client's event loop was not closed"

    def after_fork_in_parent(self) -> None:
        self.why_child_unusable = ""
        self._go_on(in_child=False)

    def after_fork_in_child(self) -> None:
        self.lock, self.is_locked_for_fork = threading.Lock(), False
        self.unusable = self.unusable or self.why_child_unusable
        self.used = False
        self.loops = weakref.WeakSet()
        self.ending = set()
        self._go_on(in_child=True)

    def _go_on(self, *, in_child: bool) -> None:
        for client in self.told:
            client.after_fork(in_child=in_child)
        self.told = []
        if self.is_locked_for_fork:
            self.lock.release()

    def watch_forks(self) -> None:
        """Have this process call the above when it forks. Under the lock."""
        if self.is_watching or not hasattr(os, "register_at_fork"):  # Windows has none, and does not fork
            return
        self.is_watching = True
        # What is to run before a fork runs in reverse order. gRPC registers its own with the first channel of a
        # process; it then halts its threads, and no channel could be closed any more. So ours has to come later.
        grpc.insecure_channel("unix:///").close()
        os.register_at_fork(
            before=self.before_fork,
            after_in_parent=self.after_fork_in_parent,
            after_in_child=self.after_fork_in_child,
        )


_process = _Process()


def register(client: Forkable) -> None:
    """Let a client know of forks, for as long as it lives."""
    with _process.lock:
        _process.clients.add(client)


def let_forks_wait_for(thread: Ending) -> None:
    """From now on a fork ends that thread first: its client, which would, was collected. Takes no lock."""
    _process.ending.add(thread)


def let_no_fork_wait_for(thread: Ending) -> None:
    """It has ended. Takes no lock."""
    _process.ending.discard(thread)


def about_to_open(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Ask before a channel is opened.

    Args:
        loop: The loop that it will belong to. None: it is for threads.

    Raises:
        ForkUnsupported: It would hang.
    """
    if _process.unusable:
        raise ForkUnsupported(
            f"this process was forked from one that had used sidegate, and {_process.unusable}: gRPC would hang. "
            "Use clients only after forking, or start processes by spawning them"
        )
    if not _process.is_watching:  # asked first, for a fork under way holds the lock
        with _process.lock:
            _process.watch_forks()
    _process.used = True
    if loop is not None:
        with _process.lock:
            _process.loops.add(loop)
