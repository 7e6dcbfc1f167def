"""Waiting until a sidecar is ready."""

from pathlib import Path

import grpc
import pytest
from sidegate import CallFailed, NotSupported, RevocationUnavailable, SidegateError, VerificationUnavailable
from sidegate.failures import Failure, verification_error
from sidegate.readiness import FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS, Readiness
from sidegate.targets import Target

from tests.unit.client.fake_sidecar import NOT_SERVING, SERVING, Answer, Error, FakeSidecar, Raw, Silence
from tests.unit.client.twins import Twins

Code = grpc.StatusCode


def test_a_sidecar_that_serves_is_ready(twins: Twins, sidecar: FakeSidecar) -> None:
    with twins.session_client(sidecar.target) as client, twins.revocation_client(sidecar.target) as admin:
        client.wait_until_ready(20)
        admin.wait_until_ready(20)
    assert sidecar.calls("Check") == 2


@pytest.mark.parametrize(
    "unready",
    [NOT_SERVING, Raw(b""), Raw(b"\x08\x03"), Error(Code.UNAVAILABLE), Error(Code.RESOURCE_EXHAUSTED)],
    ids=["NOT_SERVING", "UNKNOWN", "SERVICE_UNKNOWN", "UNAVAILABLE", "RESOURCE_EXHAUSTED"],
)
def test_a_sidecar_that_answers_and_does_not_serve_yet_is_waited_for(
    twins: Twins, sidecar: FakeSidecar, unready: Answer
) -> None:
    sidecar.script("Check", unready, unready, SERVING)
    with twins.session_client(sidecar.target) as client:
        client.wait_until_ready(20)
    assert sidecar.calls("Check") == 3


def test_a_sidecar_that_does_not_start_is_not_waited_for_for_ever(twins: Twins, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'never'}"
    with twins.session_client(address) as client, pytest.raises(VerificationUnavailable) as s:
        client.wait_until_ready(2)
    with twins.revocation_client(address) as admin, pytest.raises(RevocationUnavailable) as r:
        admin.wait_until_ready(2)
    assert s.value.code == r.value.code == "DEADLINE_EXCEEDED"
    assert s.value.message == r.value.message == f"{address} is not ready after 2 s: nobody listens"


def test_a_sidecar_that_never_serves_is_given_up_with_what_it_said(twins: Twins, sidecar: FakeSidecar) -> None:
    sidecar.script("Check", NOT_SERVING)
    with twins.session_client(sidecar.target) as client, pytest.raises(VerificationUnavailable) as caught:
        client.wait_until_ready(2)
    assert caught.value.message == f"{sidecar.target} is not ready after 2 s: NOT_SERVING"


def test_a_sidecar_that_never_answers_is_given_up(twins: Twins, sidecar: FakeSidecar) -> None:
    sidecar.script("Check", Silence())
    with twins.session_client(sidecar.target) as client, pytest.raises(VerificationUnavailable) as caught:
        client.wait_until_ready(2)
    assert caught.value.message == f"{sidecar.target} is not ready after 2 s: no answer"


def test_a_server_without_health_is_not_waited_for(twins: Twins, tmp_path: Path) -> None:
    other = FakeSidecar(f"unix://{tmp_path / 'o'}", health=False)
    try:
        with twins.session_client(other.target) as client, pytest.raises(VerificationUnavailable) as s:
            client.wait_until_ready(60)
        with twins.revocation_client(other.target) as admin, pytest.raises(NotSupported) as r:
            admin.wait_until_ready(60)
    finally:
        other.stop()
    message = f"{other.target} serves no grpc.health.v1.Health; is it a sidecar of sidegate?"
    assert s.value.message == r.value.message == message


def test_an_answer_that_is_none_ends_the_wait(twins: Twins, sidecar: FakeSidecar) -> None:
    sidecar.script("Check", Raw(b"\xff"))
    with (
        twins.session_client(sidecar.target) as client,
        pytest.raises(VerificationUnavailable, match="cannot be parsed"),
    ):
        client.wait_until_ready(60)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_no_wait_is_without_an_end(twins: Twins, sidecar: FakeSidecar, timeout: float) -> None:
    with twins.session_client(sidecar.target) as client, pytest.raises(ValueError, match="positive, finite"):
        client.wait_until_ready(timeout)


def failed(code: str) -> CallFailed:
    failure = verification_error(Failure(code, "x"))
    assert isinstance(failure, CallFailed)
    return failure


def test_pauses_grow_up_to_half_a_second_and_end_with_the_wait() -> None:
    now = 100.0
    readiness = Readiness(Target("t"), 60.0, verification_error, monotonic=lambda: now)
    assert readiness.left() == 60.0
    pauses = [readiness.pause() for _ in range(10)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS)
    now = 159.9
    assert readiness.pause() == pytest.approx(0.1)
    now = 160.0
    assert readiness.pause() == 0
    with pytest.raises(VerificationUnavailable):
        readiness.left()


def test_a_check_cut_short_by_the_end_does_not_hide_what_was_found_before() -> None:
    now = 0.0
    readiness = Readiness(Target("t", "the default"), 1.0, verification_error, monotonic=lambda: now)
    readiness.take_in(failed("UNAVAILABLE"))
    readiness.take_in(failed("DEADLINE_EXCEEDED"))
    now = 1.0
    with pytest.raises(SidegateError, match=r"t \(the default\) is not ready after 1 s: nobody listens"):
        readiness.left()
