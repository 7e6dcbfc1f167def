"""Strangers who begin to shake hands and stop hold no place that somebody else needs."""

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from tests.integration.floods.attacks import CLIENT_HELLO
from tests.integration.floods.scene import Fortress
from tests.integration.sidecar.processes import eventually

MORE_THAN_THERE_ARE_PLACES = 600


@contextmanager
def held(port: int, sent: bytes) -> Generator[None, None, None]:
    """Connections on which no more than that was said."""
    with ExitStack() as held:
        for _ in range(MORE_THAN_THERE_ARE_PLACES):
            stranger = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            stranger.sendall(sent)
        yield


def test_whoever_shakes_hands_gets_in_though_strangers_have_come_in_every_place(under_attack: Fortress) -> None:
    before = under_attack.sidecar.log.count("too many connections")
    with held(under_attack.prey["tls"].port, CLIENT_HELLO):
        eventually(
            lambda: under_attack.sidecar.log.count("too many connections") > before or None,
            "the places were not all taken",
        )
        for _ in range(3):
            with under_attack.channel("tls") as channel:
                under_attack.ask(channel, "tls")
