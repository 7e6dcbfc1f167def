"""SignOut: real sidecars, one that may write to the store and others that may not."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from sidegate import (
    InvalidRequest,
    NotSupported,
    RejectionReason,
    RevocationUnavailable,
    SessionClient,
    SessionRejected,
    SignOutScope,
)
from sidegate.failures import failure_of
from sidegate.v1 import verification_pb2, verification_pb2_grpc

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar

HOLDER = "signed out by the session's holder"


def connected(sidecar: Sidecar) -> SessionClient:
    """Without a near cache, so that every question is the sidecar's to answer."""
    return SessionClient(sidecar.target, timeout=20, near_cache=False)


def is_refused(sidecar: Sidecar, token: str) -> bool:
    with connected(sidecar) as client:
        try:
            client.verify(token)
        except SessionRejected:
            return True
    return False


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture(scope="module")
def issuers(issuer: FakeIssuer, module_folder: Path) -> str:
    return issuers_setting(file_issuer(issuer, module_folder))


@pytest.fixture(scope="module")
def writer(issuers: str, module_folder: Path) -> Iterator[Sidecar]:
    """The sidecar with the admin plane."""
    folder = module_folder / "w"
    folder.mkdir()
    with running_sidecar(folder, issuers=issuers) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def reader(writer: Sidecar, issuers: str, module_folder: Path) -> Iterator[Sidecar]:
    """A sidecar of the same store that forwards."""
    folder = module_folder / "r"
    folder.mkdir()
    with running_sidecar(
        folder,
        issuers=issuers,
        admin_listen="",
        admin_target=writer.admin_target,
        store_url=f"sqlite://{writer.folder}/sessions.db",
    ) as sidecar:
        yield sidecar


@pytest.fixture(params=["writer", "reader"])
def sidecar(request: pytest.FixtureRequest, writer: Sidecar, reader: Sidecar) -> Sidecar:
    return writer if request.param == "writer" else reader


@pytest.mark.parametrize(
    ("scope", "count", "ended"),
    [
        (SignOutScope.THIS_SESSION, 1, ["1"]),
        (SignOutScope.ALL_SESSIONS, 3, ["1", "2", "3"]),
        (SignOutScope.OTHER_SESSIONS, 2, ["2", "3"]),
    ],
)
def test_the_holders_sessions_have_ended_here_when_it_returns(
    sidecar: Sidecar,
    writer: Sidecar,
    issuer: FakeIssuer,
    request: pytest.FixtureRequest,
    scope: SignOutScope,
    count: int,
    ended: list[str],
) -> None:
    user = request.node.name
    tokens = {number: issuer.mint(user, f"{user}-{number}") for number in ("1", "2", "3")}
    bystander = issuer.mint(f"another-{user}", f"another-{user}")
    with writer.administration() as admin, connected(sidecar) as client:
        for number in tokens:
            admin.register_session(f"{user}-{number}", user, session_expire_time=in_an_hour())

        outcome = client.sign_out(tokens["1"], scope)

        assert outcome.revoked_count == count
        assert [number for number, token in tokens.items() if is_refused(sidecar, token)] == ended
        assert [number for number, token in tokens.items() if is_refused(writer, token)] == ended
        client.verify(bystander, at_least_as_fresh=outcome.revision)
        entries = list(admin.list_revocations(user_id=user))
        assert entries[0].revision == outcome.revision
        by = "self-sign-out" if sidecar is writer else "local-socket"
        assert {(entry.actor, entry.reason) for entry in entries} == {(by, HOLDER)}


def test_a_session_that_nobody_registered_is_signed_out_of_all_the_same(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    with connected(sidecar) as client:
        for scope in (SignOutScope.THIS_SESSION, SignOutScope.ALL_SESSIONS):
            name = f"unknown-{sidecar.folder.name}-{scope}"
            token = issuer.mint(name, name)

            client.sign_out(token, scope)

            assert is_refused(sidecar, token)


def test_only_a_good_token_signs_out(sidecar: Sidecar, writer: Sidecar, issuer: FakeIssuer) -> None:
    user = f"strict-{sidecar.folder.name}"
    expired = issuer.mint(user, user, iat=int(time.time()) - 100, exp=int(time.time()) - 1)
    revoked = issuer.mint(user, f"{user}-2")
    with connected(sidecar) as client, writer.administration() as admin:
        client.sign_out(revoked)
        for token, reason in ((expired, RejectionReason.EXPIRED), (revoked, RejectionReason.SESSION_REVOKED)):
            with pytest.raises(SessionRejected) as refused:
                client.sign_out(token, SignOutScope.ALL_SESSIONS)
            assert refused.value.reason is reason
        assert len(list(admin.list_revocations(session_handle=f"{user}-2"))) == 1
        assert list(admin.list_revocations(user_id=user)) == []


def test_a_request_that_makes_no_sense_is_refused(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    token = issuer.mint("nonsense", f"nonsense-{sidecar.folder.name}")
    asked = (
        (verification_pb2.SignOutRequest(), "access_token"),
        (
            # Field 2 is the scope; 9 is none of today's, as a newer client may send.
            verification_pb2.SignOutRequest.FromString(
                verification_pb2.SignOutRequest(access_token=token).SerializeToString() + b"\x10\x09"
            ),
            "scope",
        ),
    )
    with grpc.insecure_channel(sidecar.target) as channel:
        stub = verification_pb2_grpc.VerificationServiceStub(channel)
        for request, field in asked:
            with pytest.raises(grpc.RpcError) as refused:
                stub.SignOut(request, timeout=20)
            failure = failure_of(refused.value)
            assert (failure.code, failure.reason, failure.metadata) == (
                "INVALID_ARGUMENT",
                "INVALID_FIELD",
                {"field": field},
            )
    assert not is_refused(sidecar, token)


def test_a_token_without_a_session_ends_all_of_its_user_or_none(issuer: FakeIssuer, folder: Path) -> None:
    entry = file_issuer(issuer, folder, session_claim="")
    with running_sidecar(folder, issuers=issuers_setting(entry)) as sidecar, connected(sidecar) as client:
        token = issuer.mint("alice")
        for scope in (SignOutScope.THIS_SESSION, SignOutScope.OTHER_SESSIONS):
            with pytest.raises(InvalidRequest) as refused:
                client.sign_out(token, scope)
            assert (refused.value.reason, refused.value.field) == ("INVALID_FIELD", "scope")
        assert not is_refused(sidecar, token)

        client.sign_out(token, SignOutScope.ALL_SESSIONS)

        assert is_refused(sidecar, token)


def test_who_can_neither_write_nor_forward_says_so(
    issuer: FakeIssuer, issuers: str, writer: Sidecar, folder: Path
) -> None:
    token = issuer.mint("bob", "unsupported")
    for number, settings in enumerate(
        (
            {"admin_listen": ""},
            {"admin_listen": "", "store_url": ""},
            # It would go on accepting what it has had revoked.
            {"admin_listen": "", "store_url": "", "admin_target": writer.admin_target},
        )
    ):
        home = folder / str(number)
        home.mkdir()
        with running_sidecar(home, issuers=issuers, **settings) as sidecar, connected(sidecar) as client:
            with pytest.raises(NotSupported) as refused:
                client.sign_out(token)
            assert (refused.value.code, refused.value.reason) == ("UNIMPLEMENTED", "NOT_SUPPORTED")
            client.verify(token)
    assert not is_refused(writer, token)


def test_a_sign_out_that_cannot_be_forwarded_is_unavailable_until_it_can(
    issuer: FakeIssuer, issuers: str, folder: Path
) -> None:
    home = folder / "w"
    home.mkdir()
    token = issuer.mint("carol", "carol-1")
    with (
        running_sidecar(
            folder,
            issuers=issuers,
            admin_listen="",
            admin_target=f"unix://{home}/admin.sock",
            store_url=f"sqlite://{home}/sessions.db",
        ) as reader,
        connected(reader) as client,
    ):
        with pytest.raises(RevocationUnavailable) as failed:
            client.sign_out(token)
        assert (failed.value.code, failed.value.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        client.verify(token)

        with running_sidecar(home, issuers=issuers):
            client.sign_out(token)
        assert is_refused(reader, token)


def test_an_admin_target_that_refuses_is_an_operators_trouble(issuer: FakeIssuer, issuers: str, folder: Path) -> None:
    home = folder / "w"
    home.mkdir()
    stranger = issuers_setting(file_issuer(FakeIssuer("https://other.example"), home))
    token = issuer.mint("dave", "dave-1")
    with (
        running_sidecar(home, issuers=stranger) as writer,
        running_sidecar(
            folder,
            issuers=issuers,
            admin_listen="",
            admin_target=writer.admin_target,
            store_url=f"sqlite://{home}/sessions.db",
        ) as reader,
        connected(reader) as client,
    ):
        with pytest.raises(NotSupported) as refused:
            client.sign_out(token)
        assert refused.value.reason == "NOT_SUPPORTED"
        assert reader.wait_for_event("forwarding_refused")["reason"] == "UNKNOWN_ISSUER"


def test_an_admin_target_of_another_store_cannot_pass_for_done(
    issuer: FakeIssuer, issuers: str, writer: Sidecar, folder: Path
) -> None:
    token = issuer.mint("erin", "erin-1")
    with (
        running_sidecar(folder, issuers=issuers, admin_listen="", admin_target=writer.admin_target) as misled,
        connected(misled) as client,
    ):
        with pytest.raises(RevocationUnavailable) as failed:
            client.sign_out(token)
        assert failed.value.reason == "FOREIGN_REVISION"
