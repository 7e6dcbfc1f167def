"""docs/hostile-tokens.md row 22: whatever the issuer does, the last good set stays, and nothing is made up."""

import gzip
from contextlib import AsyncExitStack

import pytest
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys import IssuerKeysConfig, JwksUrl
from structlog.testing import CapturingLogger

from tests.integration.keys.issuer_server import (
    Answer,
    IssuerServer,
    chunks,
    key_set,
    raw,
    respond,
    running,
    silence,
)
from tests.integration.keys.rings import by_url, errors, key_ids, started, until
from tests.unit.keys.key_material import ed25519_jwk, jwks, rsa_jwk

OLD, NEW = ed25519_jwk(kid="old"), ed25519_jwk(kid="new")

FAULTS: dict[str, tuple[Answer, str]] = {
    "503": (respond(b"", status="503 Service Unavailable"), "answered 503"),
    "404": (respond(jwks(NEW), status="404 Not Found"), "answered 404"),
    "206": (respond(jwks(NEW), status="206 Partial Content"), "answered 206"),
    "204": (respond(b"", status="204 No Content"), "answered 204"),
    "redirecting": (respond(b"", status="302 Found", headers={"Location": "/elsewhere"}), "answered 302"),
    "HTML": (respond(b"<html>please log in</html>"), "no key set"),
    "empty": (respond(b""), "no key set"),
    "an empty object": (respond(b"{}"), "no key set"),
    "a set of no keys": (key_set(), "no usable key"),
    "a set of unusable keys": (key_set(rsa_jwk(bits=1024)), "no usable key"),
    "truncated": (respond(jwks(NEW)[:-9], length=len(jwks(NEW))), "the answer broke off"),
    "truncated and says so": (respond(jwks(NEW)[:-9]), "no key set"),
    "huge by its own word": (respond(jwks(NEW), length=1024**3), "larger than"),
    "huge without a word": (chunks(b" " * 65536, 0), "larger than"),
    "a compressed bomb": (
        respond(gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}),
        "compressed",
    ),
    "not HTTP": (raw(b"220 mail.example ESMTP\r\n"), "not HTTP"),
    "headers without end": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000), "headers are too large"),
    "a header of a megabyte": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000), "headers are too large"),
    "hanging up": (raw(b""), "closed the connection without an answer"),
}


@pytest.mark.parametrize(("fault", "error"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_faulty_answer_costs_no_key_and_proves_nothing(issuer: IssuerServer, fault: Answer, error: str) -> None:
    issuer.publish(OLD)
    issuer.paths["/elsewhere"] = key_set(NEW)
    async with started(by_url(issuer)) as ring:
        issuer.answer = fault

        with pytest.raises(KeysUnavailable):
            await ring.key_set_with("issuer", "new")

        assert key_ids(ring.key_set("issuer")) == {"old"}
        assert ring.key_set("issuer").generation == 1
        assert error in errors(ring)[0]
        assert errors(ring)[0].startswith(f"{issuer.url}/keys: ")
        assert [request.path for request in issuer.requests] == ["/keys", "/keys"]


SLOW: dict[str, Answer] = {"silent": silence, "a chunk now and then": chunks(b" ", 0.05)}


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW.keys())
async def test_an_issuer_that_takes_its_time_holds_nobody_up_for_longer_than_a_wait(
    issuer: IssuerServer, fault: Answer
) -> None:
    issuer.publish(OLD)
    async with started(by_url(issuer)) as ring:
        issuer.answer = fault

        with pytest.raises(KeysUnavailable):
            await ring.key_set_with("issuer", "new")

        assert key_ids(ring.key_set("issuer")) == {"old"}
        assert key_ids(await ring.key_set_with("issuer", "old")) == {"old"}


async def test_a_silent_issuer_is_given_up_and_asked_again(issuer: IssuerServer) -> None:
    async with started(by_url(issuer)) as ring:
        assert errors(ring) == [f"{issuer.url}/keys: no complete answer within 5 s"]
        with pytest.raises(KeysUnavailable):
            ring.key_set("issuer")

        issuer.publish(OLD)
        await until(lambda: errors(ring) == [""])

        assert key_ids(ring.key_set("issuer")) == {"old"}


async def test_a_dead_issuer_costs_no_key() -> None:
    async with AsyncExitStack() as living:
        issuer = await living.enter_async_context(running(IssuerServer(key_set(OLD))))
        async with started(by_url(issuer)) as ring:
            await living.aclose()

            with pytest.raises(KeysUnavailable):
                await ring.key_set_with("issuer", "new")

            assert errors(ring) == [f"{issuer.url}/keys: no connection: connection refused"]
            assert key_ids(ring.key_set("issuer")) == {"old"}


async def test_a_flapping_issuer_is_followed_whenever_it_answers(issuer: IssuerServer) -> None:
    issuer.publish(OLD)
    async with started(by_url(issuer, refresh=0.5)) as ring:
        for number in range(5):
            issuer.answer = respond(b"", status="503 Service Unavailable")
            await until(lambda: errors(ring)[0] != "")
            issuer.publish(ed25519_jwk(kid=f"key {number}"))
            await until(lambda: errors(ring)[0] == "")

            assert key_ids(ring.key_set("issuer")) == {f"key {number}"}


async def test_one_issuers_failure_is_no_other_issuers(issuer: IssuerServer) -> None:
    issuer.publish(OLD)
    dead = IssuerKeysConfig("dead", JwksUrl("http://127.0.0.1:9/keys"))
    alive = IssuerKeysConfig("alive", JwksUrl(issuer.url))
    async with started(dead, alive) as ring:
        assert key_ids(ring.key_set("alive")) == {"old"}
        with pytest.raises(KeysUnavailable):
            ring.key_set("dead")
        assert [(status.issuer, status.key_count) for status in ring.status()] == [("dead", 0), ("alive", 1)]


async def test_no_secret_reaches_a_log_or_the_status(issuer: IssuerServer) -> None:
    log = CapturingLogger()
    source = JwksUrl(issuer.url + "/keys?api_key=secret", headers={"X-Api-Key": "secret"})
    issuer.answer = respond(b"secret", status="401 Unauthorized")
    async with started(IssuerKeysConfig("issuer", source), log=log) as ring:
        assert issuer.requests[0].headers["x-api-key"] == "secret"
        assert errors(ring) == [f"{issuer.url}/keys: the server answered 401"]
        with pytest.raises(KeysUnavailable) as unavailable:
            await ring.key_set_with("issuer", "new")

        assert log.calls
        assert "secret" not in f"{log.calls} {ring.status()} {unavailable.value!r}"


async def test_no_cookie_encoding_or_credential_is_sent_unasked(
    issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    issuer.answer = respond(jwks(OLD), headers={"Set-Cookie": "a=b"})
    async with started(by_url(issuer)) as ring:
        await ring.key_set_with("issuer", "new")

        assert [request.headers["accept-encoding"] for request in issuer.requests] == ["identity", "identity"]
        assert not any("cookie" in request.headers for request in issuer.requests)


async def test_caches_on_the_way_are_asked_to_ask_the_issuer(issuer: IssuerServer) -> None:
    issuer.publish(OLD)
    async with started(by_url(issuer)):
        assert issuer.requests[0].headers["cache-control"] == "no-cache"
