"""The examples on real servers with several processes: sign in, call, revoke elsewhere, sign out, outage."""

import pytest
from sidegate.testing import FakeSidecar

from tests.integration.web.in_process import Sent
from tests.integration.web.servers import SERVERS, WERKZEUG, cookie, running_server

MANY = 12  # requests, so that each worker is likely to have served one


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_a_session_lives_and_dies_on_every_worker(command: str) -> None:
    with (
        FakeSidecar(tcp=True) as sidecar,
        running_server(command, sidecar.target) as server,
    ):
        tokens = {name: sidecar.issue_token("ada", name) for name in ("kept", "revoked", "signed-out")}
        orders = {name: Sent("GET", "/orders", cookie(token)) for name, token in tokens.items()}
        for sent in orders.values():
            server.until(sent, 200)
            for _ in range(MANY):
                assert server.send(sent).body == {"orders of": "ada"}

        sidecar.revoke_session("revoked")
        assert server.until(orders["revoked"], 401).body["reason"] == "SESSION_REVOKED"

        reply = server.send(Sent("POST", "/sign-out", cookie(tokens["signed-out"])))
        assert (reply.status, reply.body) == (200, {"status": "OK", "revoked_count": 1})
        (cleared,) = reply.all("set-cookie")
        assert cleared.startswith(("session=;", 'session="";'))
        assert server.until(orders["signed-out"], 401).body["reason"] == "SESSION_REVOKED"

        assert server.send(Sent("POST", "/orders/cancel", cookie(tokens["kept"]))).status == 200
        assert server.send(Sent("POST", "/orders/cancel", cookie(tokens["kept"])[:1])).status == 403

        sidecar.stop()
        reply = server.until(orders["kept"], 503)
        assert (reply.one("retry-after"), reply.all("set-cookie")) == ("1", [])

        sidecar.start()
        server.until(orders["kept"], 200)
        assert tokens["kept"] not in server.log.read_text()


@pytest.mark.parametrize("command", [*SERVERS.values(), WERKZEUG], ids=[*SERVERS, "werkzeug, Flask"])
def test_credentials_that_come_twice_are_refused_however_the_server_hands_them_on(command: str) -> None:
    with (
        FakeSidecar(tcp=True) as sidecar,
        running_server(command, sidecar.target) as server,
    ):
        token = sidecar.issue_token()
        server.until(Sent("GET", "/orders", [("Authorization", f"Bearer {token}")]), 200)
        for headers in (
            [("Authorization", f"Bearer {token}")] * 2,
            [("Authorization", "Basic YTpi"), ("Authorization", f"Bearer {token}")],
            [("Cookie", f"session={token}; session={token}")],
            [("Cookie", f"session={token}")] * 2,
            [("Cookie", f"session={token}; x=1"), ("Cookie", f"session={token}")],
            [("Cookie", f"session={token}"), ("Cookie", f"x=1; session={token}")],
            [("Cookie", f'session="{token}"; x="1"'), ("Cookie", f'session="{token}"')],
            [("Cookie", f"session={token}; x=1"), ("Cookie", "y=1"), ("Cookie", f"\tsession={token}")],
        ):
            reply = server.send(Sent("GET", "/orders", headers))
            assert (reply.status, reply.body["error"]) == (401, "invalid_request"), (headers, reply)
