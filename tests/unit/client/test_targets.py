"""Where a client connects, what cannot be a target, and what a failure says of the one that was chosen."""

from pathlib import Path

import grpc
import pytest
from sidegate import CallFailed, NotSupported, RevocationUnavailable, VerificationUnavailable

from tests.unit.client.answers import TOKEN
from tests.unit.client.fake_sidecar import Error, FakeSidecar
from tests.unit.client.twins import Twins

TARGETS = [
    ("session_client", "SIDEGATE_TARGET", "unix:///run/sidegate/sidegate.sock"),
    ("revocation_client", "SIDEGATE_ADMIN_TARGET", "unix:///run/sidegate/admin.sock"),
]
for_each_kind = pytest.mark.parametrize(("kind", "variable", "default"), TARGETS, ids=["session", "revocation"])


@for_each_kind
def test_the_target_is_as_given_or_from_the_environment_or_the_default(
    twins: Twins, monkeypatch: pytest.MonkeyPatch, kind: str, variable: str, default: str
) -> None:
    make = getattr(twins, kind)
    monkeypatch.delenv("SIDEGATE_TARGET", raising=False)
    monkeypatch.delenv("SIDEGATE_ADMIN_TARGET", raising=False)
    assert repr(make()).endswith(f"Client('{default}')")
    monkeypatch.setenv(variable, "")
    assert repr(make()).endswith(f"Client('{default}')")
    monkeypatch.setenv(variable, "localhost:7443")
    assert repr(make()).endswith("Client('localhost:7443')")
    assert repr(make("localhost:1")).endswith("Client('localhost:1')")


@for_each_kind
def test_a_target_is_a_string_with_something_in_it(twins: Twins, kind: str, variable: str, default: str) -> None:
    with pytest.raises(ValueError, match="target is empty"):
        getattr(twins, kind)("")
    with pytest.raises(TypeError, match="not PosixPath"):
        getattr(twins, kind)(Path("/run/sidegate.sock"))


@pytest.mark.parametrize(
    "target",
    [
        "localhost:7311",
        "sidegate.svc.cluster.local:7311",
        "127.0.0.1:1",
        "[::1]:65535",
        "[fe80::1%eth0]:7311",
        "unix:///run/x.sock",
        "unix:/run/x.sock",
        "unix:x.sock",
        "unix-abstract:x",
        "dns:///localhost:7311",
        "dns:localhost",
        "ipv4:127.0.0.1:7311",
        "ipv6:[::1]:7311",
    ],
)
@for_each_kind
def test_what_grpc_can_dial_is_a_target(twins: Twins, kind: str, variable: str, default: str, target: str) -> None:
    assert repr(getattr(twins, kind)(target)).endswith(f"Client('{target}')")


IMPOSSIBLE = [
    ("http://localhost:7311", "URL; write it without"),
    ("https://user:secret@localhost:7311/x", "URL; write it without"),
    ("tcp://localhost:7311", "URL; write it without"),
    ("/run/x.sock", "write unix:///path"),
    ("./x.sock", "write unix:///path"),
    ("run/x.sock", "write unix:///path"),
    ("unix://run/x.sock", "takes three"),
    ("unix:", "names no socket"),
    ("unix:///", "names no socket"),
    ("localhost", "host:port"),
    ("localhost:", "host:port"),
    (":7311", "host:port"),
    ("localhost:http", "host:port"),
    ("localhost:0", "port from 1 to 65535"),
    ("localhost:65536", "port from 1 to 65535"),
    ("localhost:7311/path", "host:port"),
    ("::1", "IPv6 in brackets"),
    ("::1:7311", "IPv6 in brackets"),
    ("[::1]", "host:port"),
    ("local host:7311", "host:port"),
    ("localhost:7311\n", "host:port"),
]


@pytest.mark.parametrize(("target", "advice"), IMPOSSIBLE, ids=[repr(target) for target, _ in IMPOSSIBLE])
@for_each_kind
def test_what_cannot_be_a_target_is_refused_when_the_client_is_made(
    twins: Twins, monkeypatch: pytest.MonkeyPatch, kind: str, variable: str, default: str, target: str, advice: str
) -> None:
    with pytest.raises(ValueError, match=rf"^target .*{advice}") as given:
        getattr(twins, kind)(target)
    monkeypatch.setenv(variable, target)
    with pytest.raises(ValueError, match=rf"^{variable} .*{advice}") as read:
        getattr(twins, kind)()
    assert "secret" not in f"{given.value} {read.value}"


# What a failure says of the target.


def test_a_target_where_nobody_listens_is_named(twins: Twins, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'never'}"
    with twins.session_client(address) as client, pytest.raises(VerificationUnavailable) as s:
        client.verify(TOKEN)
    with twins.revocation_client(address, timeout=0.5) as admin, pytest.raises(RevocationUnavailable) as r:
        admin.get_session("s-1")
    assert s.value.message.startswith(f"{address}: ")
    assert r.value.message.startswith(f"{address}: ")


def test_how_a_target_was_chosen_is_said_unless_the_caller_chose_it(
    twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"unix://{tmp_path / 'never'}"
    monkeypatch.setenv("SIDEGATE_TARGET", address)
    with twins.session_client() as client, pytest.raises(VerificationUnavailable) as caught:
        client.verify(TOKEN)
    assert caught.value.message.startswith(f"{address} (from SIDEGATE_TARGET): ")

    monkeypatch.delenv("SIDEGATE_TARGET")
    with twins.session_client() as client, pytest.raises(VerificationUnavailable) as caught:
        client.verify(TOKEN)
    assert caught.value.message.startswith(
        "unix:///run/sidegate/sidegate.sock (the default; SIDEGATE_TARGET is not set): "
    )


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED], ids=lambda c: c.name)
def test_what_the_sidecar_says_with_a_reason_is_passed_on_as_it_is(
    twins: Twins, sidecar: FakeSidecar, code: grpc.StatusCode
) -> None:
    sidecar.script("GetServingStatus", Error(code, "SOME_REASON"))
    with twins.session_client(sidecar.target) as client, pytest.raises(CallFailed) as caught:
        client.serving_status()
    assert caught.value.message == "so it was scripted"


def test_a_listener_without_the_service_is_told_from_a_sidecar_that_cannot_say(twins: Twins, tmp_path: Path) -> None:
    data_plane = FakeSidecar(f"unix://{tmp_path / 'd'}", admin_plane=False)
    admin_plane = FakeSidecar(f"unix://{tmp_path / 'a'}", data_plane=False)
    try:
        with twins.session_client(admin_plane.target) as client, pytest.raises(VerificationUnavailable) as s:
            client.verify(TOKEN)
        with twins.revocation_client(data_plane.target) as admin:
            with pytest.raises(NotSupported) as r:
                admin.revoke_session("s-1")
            with pytest.raises(NotSupported) as g:
                admin.get_session("s-1")
    finally:
        data_plane.stop()
        admin_plane.stop()
    assert s.value.message == (
        f"{admin_plane.target} serves no sidegate.v1.VerificationService; is it the admin listener?"
    )
    assert not s.value.retryable
    assert r.value.message == (
        f"{data_plane.target} serves no sidegate.v1.RevocationService; is it the listener for verification?"
    )
    assert g.value.message == (
        f"{data_plane.target} serves no sidegate.v1.SessionService; is it the listener for verification?"
    )
