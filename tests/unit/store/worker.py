"""A process of its own that uses a store, for tests of several processes and of sudden death.

worker.py migrate FILE
worker.py revoke FILE PREFIX COUNT        prints the sequence and the handle of each acknowledged revocation
worker.py revoke-user FILE MOMENT         kills itself at that moment of revoking "ada"; see MOMENTS
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from sidegate_sidecar.model import Attribution, SessionsEnded, SessionsRevoked, StoreLimits, wall_clock
from sidegate_sidecar.store import replay
from sidegate_sidecar.store.sqlite import SqliteStore

from tests.contract.fakes import ISSUER, LIMITS

Answer: TypeAlias = SessionsRevoked | SessionsEnded

MOMENTS = ("locked", "written", "acknowledged")
"""With the log lock held and nothing written, with everything written and nothing committed, after the call."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def migrate(path: Path, limits: StoreLimits) -> None:
    for name in await SqliteStore(path).migrate(limits):
        say(name)


async def revoke(path: Path, prefix: str, count: int) -> None:
    store = SqliteStore(path)
    await store.open()
    for number in range(count):
        outcome = await store.revoke_sessions(ISSUER, [f"{prefix}{number}"], Attribution(prefix))
        say(f"{outcome.revision.sequence} {prefix}{number}")
    await store.close()


async def revoke_user(path: Path, moment: str) -> None:
    def clock() -> int:
        if moment == "locked":
            die()
        return wall_clock()

    def dying(
        keep: Callable[[SessionsRevoked | SessionsEnded], str],
    ) -> Callable[[SessionsRevoked | SessionsEnded], str]:
        def kept(answer: SessionsRevoked | SessionsEnded) -> str:
            if moment == "written":
                die()
            return keep(answer)

        return kept

    replay.kept = dying(replay.kept)  # what a transaction does last before it commits
    store = SqliteStore(path, clock=clock)
    await store.open()
    say("begin")
    await store.revoke_user(
        ISSUER,
        "ada",
        tenant_id=None,
        except_session_handle=None,
        accept_unknown_exception=False,
        attribution=Attribution("ops", request_id="r1"),
    )
    say("acknowledged")
    if moment == "acknowledged":
        die()
    await store.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["migrate", file]:
            asyncio.run(migrate(Path(file), LIMITS))
        case ["revoke", file, prefix, count]:
            asyncio.run(revoke(Path(file), prefix, int(count)))
        case ["revoke-user", file, moment]:
            asyncio.run(revoke_user(Path(file), moment))
        case _:
            sys.exit(64)
