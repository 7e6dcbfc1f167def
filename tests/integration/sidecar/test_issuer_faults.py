"""Issuers change their keys, are down and hang, while the sidecar serves or starts."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from sidegate import RejectionReason, SessionClient, SessionRejected, VerificationUnavailable

from tests.fakes.issuer import FakeIssuer
from tests.fakes.jwks_server import JwksServer
from tests.integration.sidecar.processes import (
    VERIFICATION,
    Sidecar,
    eventually,
    file_issuer,
    health,
    issuers_setting,
    running_sidecar,
    starting_sidecar,
)


def by_url(issuer: FakeIssuer, server: JwksServer) -> dict[str, str]:
    """Settings of a stateless sidecar that trusts one issuer."""
    return {
        "issuer": issuer.name,
        "jwks_url": server.url,
        "store_url": "",
        "admin_listen": "",
    }


def refused_as(client: SessionClient, token: str) -> RejectionReason:
    with pytest.raises(SessionRejected) as refused:
        client.verify(token)
    return refused.value.reason


def undecided(client: SessionClient, token: str) -> str | None:
    """Why nobody can say; it is a failure if somebody can."""
    with pytest.raises(VerificationUnavailable) as failed:
        client.verify(token)
    assert failed.value.code == "UNAVAILABLE"
    return failed.value.reason


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_key_rotated_behind_a_url_is_taken_up_at_once(folder: Path, algorithm: str) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.open()
        with running_sidecar(folder, **by_url(issuer, server)) as sidecar, sidecar.verification() as client:
            old = issuer.mint(algorithm=algorithm)
            other = issuer.mint(algorithm="RS256")
            assert client.verify(old).user_id == "alice"

            key_id = issuer.rotate(algorithm)
            session = client.verify(issuer.mint(algorithm=algorithm))

            assert session.evidence.key_id == key_id
            assert client.serving_status().key_sets[0].generation == 2
            # The old key is published no longer, and a remembered verdict made with it ends with it.
            assert refused_as(client, old) is RejectionReason.UNKNOWN_KEY
            assert client.verify(other).user_id == "alice"


def test_a_key_file_replaced_while_serving_is_taken_up_at_once(folder: Path) -> None:
    issuer = FakeIssuer()
    entry = file_issuer(issuer, folder)
    settings = {"issuers": issuers_setting(entry), "store_url": "", "admin_listen": ""}
    with running_sidecar(folder, **settings) as sidecar, sidecar.verification() as client:
        old = issuer.mint()
        assert client.verify(old).user_id == "alice"

        issuer.rotate("ES256")
        draft = folder / "draft"
        draft.write_bytes(issuer.jwks())
        draft.replace(str(entry["jwks_file"]))

        assert client.verify(issuer.mint()).evidence.key_id == issuer.key_id("ES256")
        assert refused_as(client, old) is RejectionReason.UNKNOWN_KEY


def test_a_key_file_that_is_broken_costs_no_key(folder: Path) -> None:
    issuer = FakeIssuer()
    entry = file_issuer(issuer, folder)
    settings = {"issuers": issuers_setting(entry), "store_url": "", "admin_listen": ""}
    with running_sidecar(folder, **settings) as sidecar, sidecar.verification() as client:
        Path(str(entry["jwks_file"])).write_bytes(issuer.jwks()[:-40])
        eventually(lambda: client.serving_status().key_sets[0].last_error or None, "the file was never looked at")

        assert client.verify(issuer.mint()).user_id == "alice"


@pytest.mark.parametrize("down", ["refusing connections", "answering 503", "answering HTML"])
def test_with_the_issuer_down_at_start_nobody_can_say_until_it_is_up(folder: Path, down: str) -> None:
    issuer = FakeIssuer()
    published: Callable[[], bytes] = issuer.jwks
    with JwksServer(published) as server:
        if down != "refusing connections":
            server.open()
        if down == "answering 503":
            server.status = 503
        if down == "answering HTML":
            server.document = lambda: b"<html>We are down</html>"
        with (
            starting_sidecar(folder, **by_url(issuer, server)) as sidecar,
            sidecar.verification() as client,
            grpc.insecure_channel(sidecar.target) as channel,
        ):
            sidecar.wait_for_event("keys_not_loaded")
            assert [health(channel, name) for name in ("", VERIFICATION)] == ["NOT_SERVING", "NOT_SERVING"]
            assert undecided(client, issuer.mint()) == "KEYS_UNAVAILABLE"
            assert client.serving_status().key_sets[0].last_error
            # It needs no key to see that this is none.
            assert refused_as(client, "rubbish") is RejectionReason.MALFORMED

            server.status = 200
            server.document = issuer.jwks
            if down == "refusing connections":
                server.open()

            sidecar.wait_until_serving()
            assert health(channel, VERIFICATION) == "SERVING"
            assert client.verify(issuer.mint()).user_id == "alice"


def test_known_keys_go_on_working_while_the_issuer_is_down(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.open()
        with running_sidecar(folder, **by_url(issuer, server)) as sidecar, sidecar.verification() as client:
            server.status = 503
            assert client.verify(issuer.mint()).user_id == "alice"

            issuer.rotate("ES256")

            # It cannot be said that the issuer has no such key: it did not answer.
            assert undecided(client, issuer.mint()) == "KEYS_UNAVAILABLE"
            assert client.verify(issuer.mint(algorithm="RS256")).user_id == "alice"


def test_one_issuer_down_leaves_the_other_alone(folder: Path) -> None:
    down, up = FakeIssuer("https://down.example"), FakeIssuer("https://up.example")
    with JwksServer(down.jwks) as server:
        entries: list[dict[str, object]] = [{"issuer": down.name, "jwks_url": server.url}, file_issuer(up, folder)]
        settings = {"issuers": issuers_setting(*entries), "store_url": "", "admin_listen": ""}
        with running_sidecar(folder, **settings) as sidecar, sidecar.verification() as client:
            assert client.verify(up.mint()).issuer == up.name
            assert undecided(client, down.mint()) == "KEYS_UNAVAILABLE"


def test_an_issuer_that_hangs_holds_up_nobody_else(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.open()
        with running_sidecar(folder, **by_url(issuer, server)) as sidecar, sidecar.verification() as client:
            server.hold()
            issuer.rotate("ES256")
            waiting = _InBackground(lambda: undecided(client, issuer.mint()))
            server.wait_until_asked(2)

            known = [client.verify(issuer.mint(algorithm="RS256")).user_id for _ in range(50)]

            assert known == ["alice"] * 50
            assert waiting.outcome() == "KEYS_UNAVAILABLE"


def test_a_flood_of_unknown_keys_asks_the_issuer_no_more_than_the_bucket_allows(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.open()
        with running_sidecar(folder, **by_url(issuer, server)) as sidecar, sidecar.verification() as client:
            began, asked_before = time.monotonic(), server.asked
            for number in range(300):
                # Refused, or undecided where the bucket is empty: but never asked for.
                with pytest.raises((SessionRejected, VerificationUnavailable)):
                    client.verify(issuer.mint(headers={"kid": f"flood-{number}"}), timeout=5)
            elapsed = time.monotonic() - began

            # docs/concepts.md, "How Verify decides", step 2: a burst of 3, then one per 2 s.
            assert 1 <= server.asked - asked_before <= 3 + elapsed / 2 + 1
            assert client.verify(issuer.mint()).user_id == "alice"


def test_a_saved_copy_serves_a_restart_while_the_issuer_is_down(folder: Path) -> None:
    issuer = FakeIssuer()
    with JwksServer(issuer.jwks) as server:
        server.open()
        settings = by_url(issuer, server) | {"key_cache_dir": str(folder / "keys")}
        with running_sidecar(folder, **settings) as sidecar:
            eventually(lambda: next((folder / "keys").glob("*"), None), "no copy was saved")
            assert sidecar.stop() == 0
        server.status = 503
        with running_sidecar(folder, **settings) as sidecar, sidecar.verification() as client:
            assert client.verify(issuer.mint()).user_id == "alice"


class _InBackground:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._outcome: list[object] = []
        self._thread = threading.Thread(target=lambda: self._outcome.append(call()))
        self._thread.start()

    def outcome(self) -> object:
        self._thread.join()
        (outcome,) = self._outcome
        return outcome


def test_the_issuers_of_a_sidecar_are_told_apart(folder: Path) -> None:
    first, second = FakeIssuer("https://a.example"), FakeIssuer("https://a.example/b")
    settings = {"issuers": issuers_setting(file_issuer(first, folder), file_issuer(second, folder))}
    with running_sidecar(folder, **settings) as sidecar:
        _check_scopes(sidecar, first, second)


def _check_scopes(sidecar: Sidecar, first: FakeIssuer, second: FakeIssuer) -> None:
    """Handles are scoped by issuer: revoking one's leaves the other's alone."""
    with sidecar.verification() as client, sidecar.administration() as admin:
        assert [client.verify(each.mint()).issuer for each in (first, second)] == [first.name, second.name]

        admin.revoke_session("session-1", issuer=first.name)

        assert refused_as(client, first.mint()) is RejectionReason.SESSION_REVOKED
        assert client.verify(second.mint(), check_database=True).issuer == second.name
