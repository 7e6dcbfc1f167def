"""Floods: whatever one client sends to a listener, the others are answered, on every listener, and memory is bounded.

Nothing here is about how fast: benchmarks/floods.py prints that.
"""

from dataclasses import replace
from typing import Any

import grpc
import pytest
from sidegate.v1 import verification_pb2 as v1

from tests.fakes.wire import BATCH_VERIFY
from tests.integration.floods.attacker import attacking
from tests.integration.floods.attacks import ATTACKS, COSTLY
from tests.integration.floods.scene import CALL_SECONDS, OWN_CONNECTION, Fortress
from tests.integration.sidecar.processes import check_output

SECONDS = 0.5
LONGER_THAN_AN_END_MAY_TAKE = 60.0
MIB = 1024 * 1024
FLOODS = [
    *((name, "tcp") for name in ATTACKS if name not in COSTLY),
    # What is served on the socket, and behind TLS, is served by the same code: these are about the way there.
    ("rapid resets", "unix"),
    ("idle connections", "unix"),
    ("rapid resets", "tls"),
    ("pings", "tls"),
    ("answers without a window", "tls"),
    ("unfinished requests", "tls"),
    ("garbage", "tls"),
    ("silent connections", "tls"),
    ("half handshakes", "tls"),
]


def check_after(under_attack: Fortress, before: int, megabytes: int) -> None:
    """It lives, its memory has its bound, its log is clean, and whoever comes now is served."""
    assert under_attack.sidecar.process.poll() is None
    assert under_attack.peak() - before < megabytes * MIB
    for listener in ("unix", "tcp", "tls"):
        with under_attack.channel(listener) as channel:
            under_attack.ask(channel, listener)
    check_output(under_attack.sidecar.log)


def check_flood(under_attack: Fortress, name: str, listener: str, **others: int) -> None:
    """Flood it, and fail if a good client's call does. Others: an attack's `connections` and `megabytes`."""
    attack = replace(ATTACKS[name], **others)
    before = under_attack.memory()
    under_attack.forget_peak()

    with (
        under_attack.good_clients() as clients,
        attacking(
            name, under_attack.prey[listener], under_attack.token, SECONDS, connections=attack.connections
        ) as attacker,
    ):
        damage = attacker.damage()

    assert {listener: client.faults for listener, client in clients.items()} == {"unix": [], "tcp": [], "tls": []}
    assert all(client.seconds for client in clients.values())
    assert damage.connections >= attack.connections, "the attack came about"
    check_after(under_attack, before, attack.megabytes)


@pytest.mark.parametrize(("name", "listener"), [pytest.param(*flood, id=" on ".join(flood)) for flood in FLOODS])
def test_a_flood_fails_no_call_of_others(under_attack: Fortress, name: str, listener: str) -> None:
    check_flood(under_attack, name, listener)


@pytest.mark.parametrize("name", COSTLY)
def test_a_flood_of_headers_fails_no_call_of_others(under_its_own_attack: Fortress, name: str) -> None:
    check_flood(under_its_own_attack, name, "tcp")


@pytest.mark.parametrize("name", COSTLY)
def test_headers_of_strangers_on_other_hosts_cost_no_memory(under_its_own_attack: Fortress, name: str) -> None:
    """A hundred connections, of which grpc would keep more than a gigabyte."""
    check_flood(under_its_own_attack, name, "tls", connections=100, megabytes=150)


@pytest.mark.parametrize("name", ["pings", "header bombs"])
def test_it_ends_when_it_is_told_to_though_a_client_floods_it(under_its_own_attack: Fortress, name: str) -> None:
    sidecar = under_its_own_attack.sidecar

    with attacking(name, under_its_own_attack.prey["tcp"], under_its_own_attack.token, LONGER_THAN_AN_END_MAY_TAKE):
        assert sidecar.stop() == 0

    check_output(sidecar.log)


def test_a_flood_of_the_worst_batches_fails_no_call_of_others(under_attack: Fortress) -> None:
    """256 tokens of 16 KiB in each, of which nothing can be known before they have been parsed."""
    worst = f"{under_attack.token.split('.')[0]}.{'W1tb' * 3900}.{'A' * 86}"
    asked = v1.BatchVerifyRequest(requests=[v1.VerifyRequest(access_token=worst)] * 256).SerializeToString()
    before = under_attack.memory()
    under_attack.forget_peak()

    with (
        under_attack.good_clients() as clients,
        grpc.insecure_channel(under_attack.sidecar.tcp_target, [OWN_CONNECTION]) as channel,
    ):
        untyped: Any = channel  # the stubs know no calls in bytes
        batches: list[Any] = [untyped.unary_unary(BATCH_VERIFY).future(asked, timeout=CALL_SECONDS) for _ in range(8)]
        endings = {batch.code() for batch in batches}

    assert endings <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert {listener: client.faults for listener, client in clients.items()} == {"unix": [], "tcp": [], "tls": []}
    check_after(under_attack, before, 150)  # 8 times 4 MiB on their way, as bytes and as messages
