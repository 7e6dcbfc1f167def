"""A client that knows nothing of sidegate but its protos: buf curl."""

import base64
import inspect
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import (
    BIN,
    ENVIRONMENT,
    ROOT,
    Sidecar,
    file_issuer,
    issuers_setting,
    running_sidecar,
)


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    settings = {"issuers": issuers_setting(file_issuer(issuer, module_folder)), "reflection": "true"}
    with running_sidecar(module_folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def plain_sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    """As it is unless told otherwise."""
    folder = module_folder / "plain"
    folder.mkdir()
    with running_sidecar(folder, issuers=issuers_setting(file_issuer(issuer, folder))) as running:
        yield running


@pytest.fixture(scope="module")
def image(module_folder: Path) -> Path:
    """What buf compiles of the protos, and of the two that their errors are made of, which are not ours."""
    protos = module_folder / "protos"
    shutil.copytree(ROOT / "protos", protos)
    (protos / "google/rpc").mkdir(parents=True)
    for name in ("status.proto", "error_details.proto"):
        shutil.copy(Path(inspect.getfile(ErrorInfo)).with_name(name), protos / "google/rpc")
    built = module_folder / "image.binpb"
    outcome = run_buf("build", protos, "-o", built)
    assert outcome.returncode == 0, outcome.stderr
    return built


def run_buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "buf", *arguments],
        env=ENVIRONMENT | {"HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def curl(sidecar: Sidecar, way: str, method: str, request: object, *schema: str | Path) -> dict[str, Any]:
    """The answer to a call; without a schema the server is asked for it."""
    where = ["--unix-socket", sidecar.target.removeprefix("unix://")] if way == "unix" else []
    host = "localhost" if way == "unix" else sidecar.tcp_target
    outcome = run_buf(
        "curl",
        *(("--schema", *schema) if schema else ()),
        "--protocol",
        "grpc",
        "--http2-prior-knowledge",
        *where,
        "--data",
        json.dumps(request),
        f"http://{host}/{method}",
    )
    answer: dict[str, Any] = json.loads(outcome.stdout or outcome.stderr)
    return answer


VERIFY = "sidegate.v1.VerificationService/Verify"


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.parametrize("by", ["protos", "reflection"])
def test_verify_answers_with_a_session_or_a_rejection(
    sidecar: Sidecar, image: Path, issuer: FakeIssuer, way: str, by: str
) -> None:
    schema = (image,) if by == "protos" else ()

    good = curl(
        sidecar, way, VERIFY, {"accessToken": issuer.mint("alice", "session-1"), "checkDatabase": True}, *schema
    )
    bad = curl(sidecar, way, VERIFY, {"accessToken": "rubbish"}, *schema)

    assert good["session"]["userId"] == "alice"
    assert good["session"]["sessionHandle"] == "session-1"
    assert json.loads(good["session"]["claimsJson"])["iss"] == issuer.name
    assert good["evidence"]["source"] == "EVIDENCE_SOURCE_DATABASE"
    assert bad["rejection"]["reason"] == "REJECTION_REASON_MALFORMED"
    assert bad["rejection"]["nextAction"] == "NEXT_ACTION_REAUTHENTICATE"


def test_an_error_names_its_reason_to_any_client(sidecar: Sidecar, image: Path) -> None:
    answer = curl(sidecar, "unix", VERIFY, {}, image)

    assert answer["code"] == "invalid_argument"
    assert answer["message"] == "access_token: must not be empty"
    (detail,) = answer["details"]
    assert detail["type"] == "google.rpc.ErrorInfo"
    info = ErrorInfo.FromString(base64.b64decode(detail["value"] + "=="))
    assert (info.reason, info.metadata["field"]) == ("INVALID_FIELD", "access_token")


def test_a_batch_carries_the_errors_of_its_items(sidecar: Sidecar, image: Path, issuer: FakeIssuer) -> None:
    answer = curl(
        sidecar,
        "tcp",
        "sidegate.v1.VerificationService/BatchVerify",
        {"requests": [{"accessToken": ""}, {"accessToken": issuer.mint()}]},
        image,
    )

    assert answer["results"][0]["error"]["code"] == 3
    assert answer["results"][1]["response"]["session"]["userId"] == "alice"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_is_off_unless_asked_for(plain_sidecar: Sidecar, version: str) -> None:
    for target in (plain_sidecar.target, plain_sidecar.admin_target):
        with grpc.insecure_channel(target) as channel:
            ask: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            )
            with pytest.raises(grpc.RpcError) as refused:
                next(iter(ask(iter([b""]), timeout=10)))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
