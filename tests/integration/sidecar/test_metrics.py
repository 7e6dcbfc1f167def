"""Metrics over HTTP from a real sidecar: what is counted, who may ask what, and what strangers can do to it."""

import http.client
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from sidegate.v1 import feed_pb2, feed_pb2_grpc, verification_pb2_grpc
from sidegate.v1 import verification_pb2 as v1

from tests.fakes.issuer import FakeIssuer, with_another_signature
from tests.integration.sidecar.processes import (
    Sidecar,
    eventually,
    file_issuer,
    issuers_setting,
    run_sidegate,
    running_sidecar,
    starting_sidecar,
)

STRANGER = FakeIssuer("https://stranger.example")
PLACES = 64  # connections that the listener takes at a time
UNAVAILABLE = 69
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"

Page = Mapping[tuple[str, str], float]


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    entry = file_issuer(issuer, module_folder, tenant_claim="tid")
    with running_sidecar(module_folder, issuers=issuers_setting(entry), metrics_listen="0.0.0.0:0") as running:
        yield running


@pytest.fixture(scope="module")
def stub(sidecar: Sidecar) -> Iterator[verification_pb2_grpc.VerificationServiceStub]:
    with grpc.insecure_channel(sidecar.target) as channel:
        yield verification_pb2_grpc.VerificationServiceStub(channel)


def port_of(sidecar: Sidecar) -> int:
    """Where it serves metrics."""
    [listener] = sidecar.wait_for_event("listening")["metrics"]
    return int(listener.rpartition(":")[2])


def ask(sidecar: Sidecar, method: str = "GET", path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
    """Status, content type and body of an answer, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sidecar), timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def scrape(sidecar: Sidecar) -> Page:
    """By the name of each sample and the value of its label."""
    status, _, body = ask(sidecar)
    assert status == 200
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def counted(page: Page) -> dict[str, float]:
    """How verifications ended."""
    return {label: value for (name, label), value in page.items() if name == "sidegate_verifications_total"}


def gained(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    assert before.keys() == after.keys()
    return {outcome: value - before[outcome] for outcome, value in after.items() if value != before[outcome]}


def requests_of(issuer: FakeIssuer) -> dict[str, v1.VerifyRequest]:
    """For each outcome that a caller can bring about, what brings it about."""

    def token(**claims: Any) -> str:
        return issuer.mint("carol", "session-of-carol", **claims)

    return {
        "valid": v1.VerifyRequest(access_token=token(tid="acme")),
        "MALFORMED": v1.VerifyRequest(access_token="no token"),
        "BAD_SIGNATURE": v1.VerifyRequest(access_token=with_another_signature(token())),
        "UNKNOWN_KEY": v1.VerifyRequest(access_token=issuer.mint(headers={"kid": "another"})),
        "EXPIRED": v1.VerifyRequest(access_token=token(iat=1, exp=2)),
        "MISSING_CLAIM": v1.VerifyRequest(access_token=token(sub=None)),
        "WRONG_ISSUER": v1.VerifyRequest(access_token=STRANGER.mint()),
        "WRONG_AUDIENCE": v1.VerifyRequest(access_token=token(), accepted_audiences=["orders"]),
        "WRONG_TENANT": v1.VerifyRequest(access_token=token(tid="acme"), tenant_id="other"),
        "SESSION_REVOKED": v1.VerifyRequest(access_token=issuer.mint("dave", "session-of-dave")),
        "INVALID_FIELD": v1.VerifyRequest(),
    }


def test_every_outcome_is_counted_once_alone_and_in_a_batch(
    sidecar: Sidecar, issuer: FakeIssuer, stub: verification_pb2_grpc.VerificationServiceStub
) -> None:
    requests = requests_of(issuer)
    with sidecar.administration() as administration:
        administration.revoke_session("session-of-dave")
    for outcome, request in requests.items():
        before = counted(scrape(sidecar))
        with suppress(grpc.RpcError):  # of the one that is no request
            stub.Verify(request, timeout=10)
        assert gained(before, counted(scrape(sidecar))) == {outcome: 1}

    before = counted(scrape(sidecar))
    stub.BatchVerify(v1.BatchVerifyRequest(requests=[*requests.values(), requests["valid"]]), timeout=10)

    assert gained(before, counted(scrape(sidecar))) == {**dict.fromkeys(requests, 1.0), "valid": 2}


def test_nothing_else_is_counted_as_a_verification(
    sidecar: Sidecar, issuer: FakeIssuer, stub: verification_pb2_grpc.VerificationServiceStub
) -> None:
    before = counted(scrape(sidecar))
    stub.SignOut(v1.SignOutRequest(access_token=issuer.mint("frank", "session-of-frank")), timeout=10)
    stub.GetServingStatus(v1.GetServingStatusRequest(), timeout=10)
    with pytest.raises(grpc.RpcError):
        stub.BatchVerify(v1.BatchVerifyRequest(), timeout=10)

    assert gained(before, counted(scrape(sidecar))) == {}


def test_every_series_is_there_before_the_first_call(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "metrics_listen": "127.0.0.1:0"}
    with running_sidecar(folder, **settings) as fresh:
        page = scrape(fresh)

    assert set(counted(page).values()) == {0}
    assert len(counted(page)) == 31
    shed = {label: value for (name, label), value in page.items() if name == "sidegate_calls_shed_total"}
    assert shed == dict.fromkeys(["tokens", "lookups", "admin_calls", "sign_outs", "admissions", "streams"], 0)
    assert page["sidegate_keys", issuer.name] == 3
    assert page["sidegate_key_set_age_seconds", issuer.name] >= 0
    assert page["sidegate_store_available", ""] == 1
    assert (page["sidegate_index_entries", ""], page["sidegate_index_revision", ""]) == (0, 0)
    assert page["sidegate_index_lag_seconds", ""] >= 0
    assert (page["sidegate_feed_watches", ""], page["sidegate_remembered_tokens", ""]) == (0, 0)


def test_a_sidecar_that_is_not_ready_is_told_of(folder: Path) -> None:
    settings = {"issuer": "https://issuer.example", "jwks_file": str(folder / "none"), "metrics_listen": "127.0.0.1:0"}
    with starting_sidecar(folder, **settings, store_url="", admin_listen="") as sidecar:
        page = scrape(sidecar)

    assert page["sidegate_keys", "https://issuer.example"] == 0
    assert ("sidegate_key_set_age_seconds", "https://issuer.example") not in page
    assert not [name for name, _ in page if name.startswith(("sidegate_index", "sidegate_store"))]


def test_what_is_revoked_watched_and_remembered_is_told(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    before = scrape(sidecar)
    with (
        sidecar.administration() as administration,
        sidecar.verification() as client,
        grpc.insecure_channel(sidecar.target) as channel,
    ):
        administration.revoke_session("a-session-of-this-test")
        client.verify(issuer.mint("grace", "session-of-grace"))
        watch = feed_pb2_grpc.RevocationFeedServiceStub(channel).WatchRevocations(
            feed_pb2.WatchRevocationsRequest(), timeout=30
        )
        next(watch)
        during = scrape(sidecar)
        watch.cancel()

    for name in ("sidegate_index_entries", "sidegate_index_revision", "sidegate_remembered_tokens"):
        assert during[name, ""] == before[name, ""] + 1
    assert (before["sidegate_feed_watches", ""], during["sidegate_feed_watches", ""]) == (0, 1)
    eventually(lambda: scrape(sidecar)["sidegate_feed_watches", ""] == 0 or None, "the watch is still counted")


def test_calls_that_are_shed_are_counted_on_every_listener_together(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "metrics_listen": "127.0.0.1:0"}
    with running_sidecar(folder, **settings) as sidecar, ExitStack() as watching:
        asked, watches = feed_pb2.WatchRevocationsRequest(), list[object]()  # whose end is that of the watch
        for target in (sidecar.target, sidecar.admin_target):
            for _ in range(3):  # a connection has 128 streams at most, a server 256 watches
                channel = watching.enter_context(grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]))
                stub = feed_pb2_grpc.RevocationFeedServiceStub(channel)
                watches += [stub.WatchRevocations(asked, timeout=60) for _ in range(100)]

        def told() -> bool | None:
            page = scrape(sidecar)
            open_, shed = page["sidegate_feed_watches", ""], page["sidegate_calls_shed_total", "streams"]
            return (open_ == 2 * 256 and shed == 2 * 44) or None

        eventually(told, "the watches are not counted, or not those that were shed")


def test_nothing_of_a_caller_or_a_token_is_told(
    sidecar: Sidecar, issuer: FakeIssuer, stub: verification_pb2_grpc.VerificationServiceStub
) -> None:
    token = issuer.mint("heidi", "session-of-heidi", tid="heidis-tenant")
    for request in (
        v1.VerifyRequest(access_token=token),
        v1.VerifyRequest(access_token=token, tenant_id="a-tenant", accepted_audiences=["an-audience"]),
        v1.VerifyRequest(access_token=FakeIssuer("https://heidi.example").mint()),
    ):
        stub.Verify(request, timeout=10)
    page = ask(sidecar, path="/metrics?name=heidi", Accept="heidi")[2]

    for secret in (*token.split("."), "heidi", "a-tenant", "an-audience", str(sidecar.folder)):
        assert secret not in page


def test_openmetrics_is_told_to_whoever_asks_for_it(sidecar: Sidecar) -> None:
    status, content_type, body = ask(sidecar, Accept=OPENMETRICS)

    assert (status, content_type) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    parser: Any = openmetrics  # which has no types
    assert "sidegate_verifications" in {family.name for family in parser.text_string_to_metric_families(body)}


@pytest.mark.parametrize("accepted", ["", "*/*", "text/plain;version=1.0.0", "application/json", ",;=;,"])
def test_anybody_else_is_told_in_the_text_format(accepted: str, sidecar: Sidecar) -> None:
    status, content_type, _ = ask(sidecar, Accept=accepted)

    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")


def test_a_version_that_is_no_number_is_no_fault(sidecar: Sidecar) -> None:
    assert ask(sidecar, Accept="application/openmetrics-text;version=x")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/metrics/../x", "/%2e%2e/metrics"])
def test_there_is_nothing_at_another_path(path: str, sidecar: Sidecar) -> None:
    assert ask(sidecar, path=path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_there_is_no_other_method(method: str, sidecar: Sidecar) -> None:
    assert ask(sidecar, method=method)[0] == 405


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + 2049 * b"a" + b"\r\n\r\n",
        b"GET /" + 2049 * b"a" + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + 40 * b"X: a\r\n" + b"\r\n",
    ],
    ids=["no request", "HTTP/2", "a long header", "a long path", "many headers"],
)
def test_a_request_that_is_none_is_refused_and_not_logged(request_: bytes, sidecar: Sidecar) -> None:
    with socket.create_connection(("127.0.0.1", port_of(sidecar)), timeout=30) as connection:
        connection.sendall(request_)
        answer = read_to_the_end(connection)

    assert answer.split(b" ", 2)[1] == b"400"
    assert ask(sidecar)[0] == 200
    assert "library_log" not in sidecar.log


def test_a_connection_is_for_one_request(sidecar: Sidecar) -> None:
    with socket.create_connection(("127.0.0.1", port_of(sidecar)), timeout=30) as connection:
        connection.sendall(2 * b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        answer = read_to_the_end(connection)

    assert answer.count(b"HTTP/1.1 404") == 1


def test_a_body_is_not_waited_for(sidecar: Sidecar) -> None:
    with socket.create_connection(("127.0.0.1", port_of(sidecar)), timeout=30) as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert b" 405 " in read_to_the_end(connection)


def test_a_request_that_does_not_come_is_waited_for_no_longer_than_its_time(sidecar: Sidecar) -> None:
    with socket.create_connection(("127.0.0.1", port_of(sidecar)), timeout=60) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert read_to_the_end(connection) == b""


def test_idle_connections_keep_neither_verification_nor_a_scrape_from_being_answered(
    sidecar: Sidecar, issuer: FakeIssuer
) -> None:
    """And they take no more file descriptors than there are places."""
    descriptors = Path(f"/proc/{sidecar.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with ExitStack() as flood, sidecar.verification() as client:
        held = [
            flood.enter_context(socket.create_connection(("127.0.0.1", port_of(sidecar)), timeout=30))
            for _ in range(200)
        ]
        assert client.verify(issuer.mint(user_id="alice")).user_id == "alice"
        assert ask(sidecar)[0] == 200
        assert len(list(descriptors.iterdir())) <= before + PLACES + 4  # the client's connection, and what is closing
        assert sum(map(is_cut_off, held)) >= 200 - PLACES
        eventually(lambda: all(map(is_cut_off, held)) or None, "an idle connection outlives its time")
    assert ask(sidecar)[0] == 200


def is_cut_off(connection: socket.socket) -> bool:
    """Whether the server has ended it."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def read_to_the_end(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection, however it does that."""
    received = b""
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionError:
        pass
    return received


def test_a_pod_of_either_family_of_addresses_is_reached(sidecar: Sidecar) -> None:
    """On every address of IPv4 is on every address of IPv6 as well, where the host has that."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this host has no IPv6")
    connection = http.client.HTTPConnection("::1", port_of(sidecar), timeout=30)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 200
    connection.close()


def test_nobody_is_warned_of_it_for_it_carries_no_tokens(sidecar: Sidecar) -> None:
    sidecar.wait_for_event("listening")

    assert "listening_beyond_this_host" not in sidecar.log


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - it is taken
def test_where_the_port_is_taken_the_sidecar_does_not_start(host: str, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"{host}:{taken.getsockname()[1]}"
        outcome = run_sidegate(
            "run",
            folder=folder,
            SIDEGATE_ISSUER="https://issuer.example",
            SIDEGATE_LISTEN=f"unix://{folder}/s",
            SIDEGATE_METRICS_LISTEN=address,
        )

    assert outcome.returncode == UNAVAILABLE
    assert f"cannot listen on {address}: the address is in use" in outcome.stderr


def test_where_the_name_does_not_resolve_the_sidecar_does_not_start(folder: Path) -> None:
    outcome = run_sidegate(
        "run",
        folder=folder,
        SIDEGATE_ISSUER="https://issuer.example",
        SIDEGATE_LISTEN=f"unix://{folder}/s",
        SIDEGATE_METRICS_LISTEN=f"{'a' * 64}.invalid:1",
    )

    assert outcome.returncode == UNAVAILABLE
    assert "does not resolve" in outcome.stderr


def test_it_ends_with_the_process_also_while_somebody_holds_a_connection(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "metrics_listen": "127.0.0.1:0"}
    with running_sidecar(folder, **settings) as ending:
        port = port_of(ending)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as held:
            held.sendall(b"GET /metrics HTTP/1.1\r\n")
            assert ending.stop(signal.SIGTERM) == 0
            assert read_to_the_end(held) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)
