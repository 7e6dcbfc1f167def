"""From a revocation to its refusal in every service process: eight of them, each with the session in its near cache.

A real sidecar with a SQLite store; the processes ask once a millisecond, half of them with threads and half on asyncio.
Milliseconds from the call of RevokeSession to the refusal; and from the call to its own return, for comparison: by then
the sidecar itself refuses the session.

Asserts nothing. REVOCATIONS=20 is over sooner.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.issuer import FakeIssuer
from tests.integration.clients.near_cache_crowd import near_cache_crowd
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar

PROCESSES = 8
REVOCATIONS = int(os.environ.get("REVOCATIONS", "200"))


def line(name: str, seconds: Sequence[float]) -> str:
    """One line of the table."""
    in_order = sorted(seconds)
    p50, p99 = in_order[len(in_order) // 2], in_order[int(0.99 * len(in_order))]
    return f"{name:30} {len(in_order):6} {p50 * 1e3:8.1f} {p99 * 1e3:8.1f} {in_order[-1] * 1e3:8.1f}"


def main() -> None:
    """The table."""
    issuer = FakeIssuer()
    refusals: list[float] = []
    returns: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sg-") as place:
        folder = Path(place)
        with (
            running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as sidecar,
            sidecar.administration() as admin,
            near_cache_crowd(sidecar.target, PROCESSES) as crowd,
        ):

            def revoke(handle: str) -> None:
                began = time.monotonic()
                admin.revoke_session(handle)
                returns.append(time.monotonic() - began)

            for number in range(REVOCATIONS):
                handle = f"session-{number}"
                refusals += crowd.revoke(issuer.mint("ada", handle), lambda handle=handle: revoke(handle))
    print("milliseconds                    count      p50      p99      max")  # noqa: T201  # it is run for its table
    print(line("RevokeSession returns", returns))  # noqa: T201  # it is run for its table
    print(line(f"refused by {PROCESSES} processes", refusals))  # noqa: T201  # it is run for its table


if __name__ == "__main__":
    main()
