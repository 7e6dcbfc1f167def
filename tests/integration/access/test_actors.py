"""Who the audit trail says it was, on listeners that authenticate and on those that need not."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2
from sidegate import RejectionReason, SessionRejected
from sidegate.v1 import feed_pb2
from sidegate.v1 import revocation_pb2 as v1

from tests.fakes.certificate_authority import Pair
from tests.integration.access.scene import (
    DNS_NAME,
    REVOCATION,
    REVOKE,
    SPIFFE_ID,
    TIMEOUT,
    Running,
    Scene,
    a_handle,
    outcome_of,
    revoking,
)
from tests.integration.sidecar.processes import health

MACHINE = "token:https://admin.example#system:serviceaccount:support:desk"
GRANTS = [
    {"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker"]},
    {"subject": f"mtls:{DNS_NAME}", "roles": ["revoker", "auditor"]},
    {"subject": MACHINE, "roles": ["revoker"]},
]
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
WATCH = "/sidegate.v1.RevocationFeedService/WatchRevocations"


@pytest.fixture(scope="module")
def running(module_folder: Path) -> Iterator[Running]:
    with Scene(module_folder, GRANTS, reflection="true").running() as running:
        yield running


def actor_of(running: Running, handle: str) -> str:
    """Who revoked that session, as an auditor reads it."""
    auditor = running.scene.authority.issue(dns=[DNS_NAME])
    request = v1.ListRevocationsRequest(session_handle=handle)
    outcome = running.call(f"{REVOCATION}/ListRevocations", request, pair=auditor)
    [entry] = v1.ListRevocationsResponse.FromString(outcome.answer).revocations
    return entry.actor


def revoke(running: Running, *, pair: Pair | None = None, token: str | None = None) -> str:
    handle = a_handle()
    assert running.call(REVOKE, revoking(handle, running.scene.issuer.name), pair=pair, token=token).code == "OK"
    return handle


def test_the_actor_of_a_certificate_is_its_granted_name(running: Running) -> None:
    pair = running.scene.authority.issue(dns=["not-granted.internal"], uris=[SPIFFE_ID], common_name="root")

    assert actor_of(running, revoke(running, pair=pair)) == f"mtls:{SPIFFE_ID}"


def test_the_actor_of_a_token_is_its_issuer_and_user(running: Running) -> None:
    token = running.admin_token("system:serviceaccount:support:desk")

    assert actor_of(running, revoke(running, token=token)) == MACHINE


def test_a_token_decides_where_a_certificate_is_brought_too(running: Running) -> None:
    token = running.admin_token("system:serviceaccount:support:desk")

    handle = revoke(running, pair=running.scene.authority.issue(uris=[SPIFFE_ID]), token=token)
    assert actor_of(running, handle) == MACHINE


def test_the_local_socket_needs_no_credential_and_looks_at_none(running: Running) -> None:
    handle = a_handle()
    request = revoking(handle, running.scene.issuer.name)

    with grpc.insecure_channel(running.sidecar.admin_target) as channel:
        assert outcome_of(channel, REVOKE, request, [("authorization", "Bearer nonsense")]).code == "OK"

    assert actor_of(running, handle) == "local-socket"


def test_calls_at_the_same_time_keep_their_actors(running: Running) -> None:
    pairs = {f"mtls:{SPIFFE_ID}": running.scene.authority.issue(uris=[SPIFFE_ID])}
    pairs[f"mtls:{DNS_NAME}"] = running.scene.authority.issue(dns=[DNS_NAME])

    with ThreadPoolExecutor(8) as pool:
        made = [(actor, pool.submit(revoke, running, pair=pair)) for _ in range(10) for actor, pair in pairs.items()]
        handles = [(actor, future.result()) for actor, future in made]

    assert {actor_of(running, handle) == actor for actor, handle in handles} == {True}


def test_a_request_id_belongs_to_its_actor(running: Running) -> None:
    request_id = str(uuid.uuid4())

    def call(pair: Pair, handle: str) -> str:
        request = revoking(handle, running.scene.issuer.name)
        request.request_id = request_id
        return running.call(REVOKE, request, pair=pair).reason

    first, second = running.scene.authority.issue(uris=[SPIFFE_ID]), running.scene.authority.issue(dns=[DNS_NAME])
    assert call(first, "a") == ""
    assert call(second, "b") == "", "another actor's request of the same id is another request"
    renewed = running.scene.authority.issue(uris=[SPIFFE_ID])
    assert call(renewed, "c") == "REQUEST_ID_REUSED", "a renewed certificate is the same actor"


def test_an_auditor_watches_and_others_do_not(running: Running) -> None:
    request = feed_pb2.WatchRevocationsRequest(with_snapshot=True).SerializeToString()
    with running.connected(running.scene.authority.issue(dns=[DNS_NAME])) as channel:
        untyped: Any = channel  # the stubs know no calls in bytes
        stream = untyped.unary_stream(WATCH)(request, timeout=TIMEOUT)
        assert feed_pb2.WatchRevocationsResponse.FromString(next(stream)).WhichOneof("event") == "hello"
        stream.cancel()

    before = len(running.refusals())
    with running.connected(running.scene.authority.issue(uris=[SPIFFE_ID])) as channel:
        untyped = channel
        with pytest.raises(grpc.RpcError) as refused:
            next(untyped.unary_stream(WATCH)(request, timeout=TIMEOUT))
    failure: Any = refused.value
    assert failure.code() is grpc.StatusCode.PERMISSION_DENIED
    assert running.next_refusal(before)["method"] == WATCH


def test_reflection_is_for_those_with_a_grant(running: Running) -> None:
    question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    with running.connected(running.scene.authority.issue(uris=[SPIFFE_ID])) as channel:
        untyped: Any = channel  # the stubs know no calls in bytes
        answer = next(untyped.stream_stream(REFLECTION)(iter([question]), timeout=TIMEOUT))
        services = reflection_pb2.ServerReflectionResponse.FromString(answer).list_services_response.service
        assert "sidegate.v1.RevocationService" in {service.name for service in services}

    before = len(running.refusals())
    with running.connected() as channel:
        untyped = channel
        with pytest.raises(grpc.RpcError) as refused:
            next(untyped.stream_stream(REFLECTION)(iter([question]), timeout=TIMEOUT))
    failure: Any = refused.value
    assert failure.code() is grpc.StatusCode.UNAUTHENTICATED
    assert running.next_refusal(before)["cause"] == "no credential"


def test_an_admin_token_is_nothing_on_the_data_plane(running: Running) -> None:
    with running.sidecar.verification() as client, pytest.raises(SessionRejected) as rejected:
        client.verify(running.admin_token(sid="a-session"))

    assert rejected.value.reason is RejectionReason.WRONG_ISSUER


def test_health_says_of_each_service_how_it_is_without_a_credential(running: Running) -> None:
    with running.connected() as channel:
        assert health(channel, "") == health(channel, "sidegate.v1.RevocationService") == "SERVING"
