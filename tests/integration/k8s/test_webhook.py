"""The webhook over real HTTPS."""

import base64
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sidegate_injector.template import parse_template

from tests.integration.k8s.certificates import Authority
from tests.integration.k8s.webhook import IMAGE, Webhook, running_webhook
from tests.integration.sidecar.processes import eventually
from tests.unit.k8s.pods import SHAPES, VERSIONS, injected, patched, pod, template_document, validate
from tests.unit.k8s.restricted import violations
from tests.unit.k8s.reviews import review_of

TEMPLATE = parse_template(template_document(), image=IMAGE)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Webhook]:
    with running_webhook(tmp_path_factory.mktemp("webhook"), authority) as running:
        yield running


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pod_is_injected_and_injecting_it_again_changes_nothing(shape: str, webhook: Webhook) -> None:
    answer = webhook.ask(json.dumps(review_of(SHAPES[shape])))

    assert answer.status == 200
    assert answer.response["allowed"] is True
    after = patched(SHAPES[shape], json.loads(base64.b64decode(answer.response["patch"])))
    assert after == injected(SHAPES[shape], TEMPLATE).pod
    for version in (VERSIONS[0], VERSIONS[-1]):
        validate({"metadata": {}, **after}, version)
    if not violations(SHAPES[shape]["spec"]):
        assert violations(after["spec"]) == []
    assert "patch" not in webhook.ask(json.dumps(review_of(after))).response


def test_a_pod_that_is_refused_is_told_why(webhook: Webhook) -> None:
    answer = webhook.ask(json.dumps(review_of(pod(annotations={"sidegate.dev/memory": "all of it"}))))

    assert answer.status == 200
    assert answer.response["allowed"] is False
    assert "sidegate.dev/memory" in answer.response["status"]["message"]


def test_pods_of_excluded_namespaces_are_left_alone(webhook: Webhook) -> None:
    for namespace in ("kube-system", "sidegate-system"):
        response = webhook.ask(json.dumps(review_of(pod(), namespace=namespace))).response

        assert response == {"uid": response["uid"], "allowed": True}


BAD: dict[str, tuple[bytes | str, int]] = {
    "nothing": (b"", 400),
    "no JSON": (b"uid=1", 400),
    "torn JSON": (json.dumps(review_of(pod()))[:-40], 400),
    "bad UTF-8": (b'"\xff"', 400),
    "a number of 20,000 digits": ("1" * 20_000, 400),
    "depth": ("[" * 100_000, 400),
    "a deep pod": (json.dumps(review_of(None)).replace("null", '{"a":' * 900 + "1" + "}" * 900), 200),
    "another version": (json.dumps({**review_of(pod()), "apiVersion": "admission.k8s.io/v1beta1"}), 400),
    "another kind": (json.dumps({**review_of(pod()), "kind": "Pod"}), 400),
    "5 MB": (json.dumps(review_of(pod(annotations={"x": "y" * 5_000_000}))), 413),
}


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD)
def test_what_no_api_server_sends_is_refused_and_the_webhook_goes_on(
    body: bytes | str, status: int, webhook: Webhook
) -> None:
    answer = webhook.ask(body)

    assert answer.status == status
    assert b"Traceback" not in answer.body
    assert webhook.ask(json.dumps(review_of(pod()))).status == 200


def test_the_largest_pod_that_an_api_server_takes_is_injected(webhook: Webhook) -> None:
    large = pod({"env": [{"name": "A", "value": "x" * 3_000_000}]})

    assert "patch" in webhook.ask(json.dumps(review_of(large))).response


def test_only_json_is_taken(webhook: Webhook) -> None:
    assert webhook.ask(json.dumps(review_of(pod())), content_type="text/plain").status == 415


def test_what_is_compressed_is_not_unpacked(webhook: Webhook) -> None:
    bomb = gzip.compress(json.dumps(review_of(pod())).encode() + b" " * 100_000_000)

    assert webhook.ask(bomb, encoding="gzip").status == 400


@pytest.mark.parametrize("path", ["/", "/inject/", "/mutate", "/inject/../healthz"])
def test_there_is_nothing_else_to_ask(path: str, webhook: Webhook) -> None:
    assert webhook.ask("{}", path=path).status in {404, 405}


def test_a_body_that_does_not_arrive_is_not_waited_for(webhook: Webhook) -> None:
    connection = webhook.connect()
    try:
        connection.sock.sendall(
            b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert connection.sock.recv(100).startswith(b"HTTP/1.1 408 ")
    finally:
        connection.close()


def test_kubelet_finds_it_healthy(webhook: Webhook) -> None:
    connection = webhook.connect()
    try:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
    finally:
        connection.close()


def test_nothing_but_names_of_a_pod_is_logged(webhook: Webhook) -> None:
    told: dict[str, Any] = pod({"env": [{"name": "PASSWORD", "value": "hunter2"}]}, annotations={"note": "hunter2"})
    told["metadata"]["name"] = "named\n\x1b[2J"

    webhook.ask(json.dumps(review_of(told)))

    (event,) = [event for event in webhook.events("admission") if event["pod"].startswith("named")]
    assert (event["outcome"], event["namespace"], event["pod"]) == ("injected", "shop", "named\n\x1b[2J")
    assert "hunter2" not in webhook.log
    assert "\x1b" not in webhook.log


def test_without_tls_nothing_is_answered(webhook: Webhook) -> None:
    with socket.create_connection(("127.0.0.1", webhook.port), timeout=30) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/" not in plain.recv(100)


def test_a_new_certificate_is_taken_up_while_it_serves(tmp_path: Path, authority: Authority) -> None:
    with running_webhook(tmp_path, authority) as webhook:
        old_connection = webhook.connect()
        assert webhook.shown_serial() == webhook.serial

        renewed = authority.issue(tmp_path, "second")
        webhook.wait_for_event("certificate_reloaded")

        assert webhook.shown_serial() == renewed
        old_connection.request("GET", "/healthz")  # connections that there are go on
        assert old_connection.getresponse().status == 200
        old_connection.close()


@pytest.mark.parametrize("file", ["tls.crt", "tls.key"])
@pytest.mark.parametrize("damage", ["foreign", "torn", "gone"])
def test_a_certificate_that_cannot_be_used_leaves_the_old_one(
    file: str, damage: str, tmp_path: Path, authority: Authority
) -> None:
    with running_webhook(tmp_path, authority) as webhook:
        (tmp_path / "other").mkdir()
        authority.issue(tmp_path / "other", "other")
        match damage:
            case "foreign":
                (tmp_path / "other" / file).replace(tmp_path / file)
            case "torn":
                (tmp_path / file).write_text("-----BEGIN CERTIFICATE-----\nMII")
            case _:
                (tmp_path / file).unlink()
        event = webhook.wait_for_event("certificate_not_reloaded")

        assert event["error"]
        assert webhook.shown_serial() == webhook.serial

        renewed = authority.issue(tmp_path, "third")
        eventually(lambda: webhook.shown_serial() == renewed or None, "the new certificate is not taken up")
        assert len(webhook.events("certificate_not_reloaded")) <= 2  # a pair is two files; no line for each look
