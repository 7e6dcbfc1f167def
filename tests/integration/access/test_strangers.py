"""Strangers in every place of the admin listener, where tokens are accepted and so nobody needs a certificate."""

import resource
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.access.scene import REVOKE, SPIFFE_ID, TIMEOUT, Scene, a_handle, outcome_of, revoking

GRANTS = [
    {"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker"]},
    {"subject": "token:https://admin.example#machine", "roles": ["revoker"]},
]
MORE_THAN_THERE_ARE_PLACES = 520


@pytest.mark.parametrize("most", [None, 1024], ids=["descriptors to spare", "as many as systemd gives"])
def test_callers_go_on_and_newcomers_get_in_though_strangers_have_come_in_every_place(
    folder: Path, most: int | None
) -> None:
    with ExitStack() as held:
        running = held.enter_context(Scene(folder, GRANTS).running())
        if most is not None:  # the hard limit too: up to that one it raises the other by itself
            resource.prlimit(running.sidecar.process.pid, resource.RLIMIT_NOFILE, (most, most))
        caller = held.enter_context(running.connected(running.scene.authority.issue(uris=[SPIFFE_ID])))
        assert outcome_of(caller, REVOKE, revoking(a_handle(), running.scene.issuer.name)).code == "OK"

        context = ssl.create_default_context(cadata=running.scene.authority.bundle.decode())
        context.set_alpn_protocols(["h2"])
        host, _, port = running.address.rpartition(":")
        for _ in range(MORE_THAN_THERE_ARE_PLACES):
            connection = held.enter_context(socket.create_connection((host, int(port)), timeout=TIMEOUT))
            held.enter_context(context.wrap_socket(connection, server_hostname=host))
        assert running.refusals()[-1]["cause"] == "too many connections"

        for _ in range(3):  # each on a connection of its own
            newcomer = running.call(
                REVOKE, revoking(a_handle(), running.scene.issuer.name), token=running.admin_token()
            )
            assert newcomer.code == "OK"
        assert outcome_of(caller, REVOKE, revoking(a_handle(), running.scene.issuer.name)).code == "OK"
        assert {refusal["cause"] for refusal in running.refusals()} == {"too many connections"}
