"""What each flood of one client costs the others, and the sidecar's memory.

A real sidecar; good clients that ask 100 times a second on connections of their own; and an attacker, a process with as
many connections as its attack takes, in every second window, so that a busy machine is unfair to neither. Each attack
has a sidecar of its own. Asserts nothing. Takes some two minutes; SECONDS (2) is the length of a window.

`make bench`, or `PYTHONPATH=. .venv/bin/python benchmarks/floods.py`; names of attacks as arguments choose among them.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.integration.floods.attacker import attacking
from tests.integration.floods.attacks import ATTACKS
from tests.integration.floods.scene import Fortress, GoodClient, fortress

SECONDS = float(os.environ.get("SECONDS", "2"))
ROUNDS = 2  # of an undisturbed window and a flooded one
MIB = 1024 * 1024


def percentiles(seconds: Sequence[float]) -> str:
    """p50 and p99, in milliseconds."""
    if len(seconds) < 2:
        return f"{'-':>7} {'-':>7}"
    hundredths = statistics.quantiles((1e3 * each for each in seconds), n=100, method="inclusive")
    return f"{hundredths[49]:7.1f} {hundredths[98]:7.1f}"


def window(serving: Fortress, name: str | None, listener: str) -> GoodClient:
    """The good client of the attacked listener, after one window. Name None: undisturbed."""
    if name is None:
        with serving.good_clients() as clients:
            time.sleep(SECONDS)
    else:
        prey = serving.prey[listener]
        with attacking(name, prey, serving.token, SECONDS) as attacker, serving.good_clients() as clients:
            attacker.damage()
    return clients[listener]


def line(name: str, listener: str) -> str:
    """One line of the table: undisturbed and flooded windows in turn."""
    calm: list[float] = []
    flooded: list[float] = []
    faults = 0
    with tempfile.TemporaryDirectory(prefix="sidegate-") as folder, fortress(Path(folder)) as serving:
        window(serving, None, listener)  # warm
        memory = serving.memory()
        serving.forget_peak()
        for _ in range(ROUNDS):
            calm += window(serving, None, listener).seconds
            client = window(serving, name, listener)
            flooded += client.seconds
            faults += len(client.faults)
        peak = serving.peak()
    return (
        f"{name:28} {listener:4} {percentiles(calm)}   {percentiles(flooded)}   {faults:6}"
        f"   {memory / MIB:6.0f} {peak / MIB:6.0f}"
    )


def main() -> None:
    """Measure, and print the table."""
    times = f"{'p50':>7} {'p99':>7}"
    rows = [
        f"{'':33} {'undisturbed, ms':>15}   {'flooded, ms':>15}   {'':6}   {'RSS, MiB':>13}",
        f"{'flood':28} {'on':4} {times}   {times}   {'errors':>6}   {'calm':>6} {'peak':>6}",
    ]
    print("\n".join(rows), flush=True)  # noqa: T201 - the table is what a benchmark is run for
    for name in sys.argv[1:] or ATTACKS:
        print(line(name, "tcp"), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main()
