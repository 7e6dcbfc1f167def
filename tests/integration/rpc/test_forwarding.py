"""Sign-outs forwarded by TLS, from a sidecar that may do nothing else over there."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sidegate import NotSupported, RevocationUnavailable, SessionClient, SessionRejected, SignOutScope
from sidegate_sidecar.access import Role

from tests.fakes.certificate_authority import replace_file
from tests.integration.access.scene import SPIFFE_ID, Running, Scene
from tests.integration.sidecar.processes import Sidecar, running_sidecar

MACHINE = "token:https://admin.example#forwarder"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With a short path, for the sockets."""
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def writer(folder: Path) -> Iterator[Running]:
    """The sidecar with the admin listener. Who forwards has the one role there."""
    home = folder / "w"
    home.mkdir()
    roles = [Role.SELF_SIGN_OUT]
    grants = [{"subject": subject, "roles": roles} for subject in (f"mtls:{SPIFFE_ID}", MACHINE)]
    with Scene(home, grants).running() as running:
        yield running


@contextmanager
def forwarding(writer: Running, home: Path, **settings: str) -> Generator[Sidecar, None, None]:
    """A sidecar of the same store and issuers, without an admin listener."""
    home.mkdir()
    ca = home / "admin-ca.crt"
    ca.write_bytes(writer.scene.authority.bundle)
    with running_sidecar(
        home,
        issuers=writer.scene.settings["issuers"],
        store_url=f"sqlite://{writer.scene.folder}/sessions.db",
        admin_listen="",
        admin_target=writer.address,
        admin_ca=str(ca),
        **settings,
    ) as sidecar:
        yield sidecar


def is_refused(client: SessionClient, token: str) -> bool:
    try:
        client.verify(token)
    except SessionRejected:
        return True
    return False


def test_every_scope_is_forwarded_by_who_may_do_no_more_and_rotated_certificates_are_read(
    writer: Running, folder: Path
) -> None:
    authority = writer.scene.authority
    certificate, key = authority.issue(uris=["spiffe://cluster.example/nobody"]).write(folder, "client")
    ended = {
        SignOutScope.THIS_SESSION: [True, False],
        SignOutScope.ALL_SESSIONS: [True, True],
        SignOutScope.OTHER_SESSIONS: [False, True],
    }
    with (
        forwarding(writer, folder / "c", admin_cert=str(certificate), admin_key=str(key)) as sidecar,
        sidecar.verification() as client,
        writer.sidecar.administration() as admin,
    ):
        with pytest.raises(NotSupported):
            client.sign_out(writer.scene.issuer.mint("nobody", "nobody-1"))
        assert sidecar.wait_for_event("forwarding_refused")["reason"] == "PERMISSION_DENIED"

        authority.issue(uris=[SPIFFE_ID]).write(folder, "client")
        for scope, refused in ended.items():
            tokens = [writer.scene.issuer.mint(f"user-{scope}", f"{scope}-{number}") for number in (1, 2)]
            outcome = client.sign_out(tokens[0], scope)

            assert [is_refused(client, token) for token in tokens] == refused
            newest = next(iter(admin.list_revocations(issuer=writer.scene.issuer.name)))
            assert (newest.revision, newest.actor) == (outcome.revision, f"mtls:{SPIFFE_ID}")
    assert [refusal["actor"] for refusal in writer.refusals()] == ["mtls:spiffe://cluster.example/nobody"]


def test_a_token_will_do_and_is_read_for_each_call(writer: Running, folder: Path) -> None:
    file = folder / "token"
    session = writer.scene.issuer.mint("alice", "alice-1")
    with (
        forwarding(writer, folder / "t", admin_token_file=str(file)) as sidecar,
        sidecar.verification() as client,
    ):
        with pytest.raises(RevocationUnavailable) as failed:
            client.sign_out(session)
        assert (failed.value.code, failed.value.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert "No such file" in sidecar.wait_for_event("forwarding_not_possible")["error"]

        replace_file(file, writer.admin_token("a-stranger").encode())
        with pytest.raises(NotSupported):
            client.sign_out(session)
        assert not is_refused(client, session)

        replace_file(file, writer.admin_token("forwarder").encode())
        client.sign_out(session)
        assert is_refused(client, session)
