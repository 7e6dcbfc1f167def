"""The admin clients with certificates and tokens that are renewed while they are used: no call fails."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from sidegate import (
    AsyncRevocationClient,
    ClientTls,
    CredentialsUnavailable,
    PermissionDenied,
    RevocationClient,
    RevocationUnavailable,
    TokenFile,
    Unauthenticated,
)

from tests.fakes.certificate_authority import CertificateAuthority, Pair, replace_file
from tests.integration.access.scene import DNS_NAME, SPIFFE_ID, Running, Scene, a_handle
from tests.integration.sidecar.processes import eventually

GRANTS = [
    {"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker"]},
    {"subject": f"mtls:{DNS_NAME}", "roles": ["auditor"]},
    {"subject": "token:https://admin.example#machine", "roles": ["revoker"]},
]
RENEWALS = 4
CALLS_BETWEEN = 10


@pytest.fixture(scope="module")
def running(module_folder: Path) -> Generator[Running, None, None]:
    with Scene(module_folder, GRANTS).running() as running:
        yield running


@pytest.fixture
def tls(running: Running, tmp_path: Path) -> ClientTls:
    """The client's files: its certificate is good, and its authority the listener's."""
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(running.scene.authority.bundle)
    certificate_file, key_file = running.scene.authority.issue(uris=[SPIFFE_ID]).write(tmp_path, "client")
    return ClientTls(ca_file, certificate_file, key_file)


def renew(running: Running, folder: Path) -> None:
    """The certificate first and the key after it, as a tool that is not careful does."""
    running.scene.authority.issue(uris=[SPIFFE_ID]).write(folder, "client")


class Progress:
    """Counts calls that went well, and says when there were some more."""

    def __init__(self) -> None:
        self.calls = 0
        self.ended = threading.Event()

    def wait_for_more(self) -> None:
        wanted = self.calls + CALLS_BETWEEN
        eventually(lambda: True if self.calls >= wanted or self.ended.is_set() else None, "the calls have stopped")


def call_for_ever(client: RevocationClient, issuer: str, progress: Progress, faults: list[Exception]) -> None:
    try:
        while not progress.ended.is_set():
            client.revoke_session(a_handle(), issuer=issuer)
            progress.calls += 1
    except Exception as fault:  # noqa: BLE001 - whatever it is, the test is to fail by it
        faults.append(fault)
        progress.ended.set()


def under_load(client: RevocationClient, issuer: str, renewal: Callable[[], None]) -> None:
    """Renew again and again while calls are made. Fails if one of them does."""
    progress = Progress()
    faults: list[Exception] = []
    workers = [threading.Thread(target=call_for_ever, args=(client, issuer, progress, faults)) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(RENEWALS):
            progress.wait_for_more()
            renewal()
        progress.wait_for_more()
    finally:
        progress.ended.set()
        for worker in workers:
            worker.join()
    assert faults == []


async def under_asyncio_load(client: AsyncRevocationClient, issuer: str, renewal: Callable[[], None]) -> None:
    async def call(count: int) -> None:
        for _ in range(count):
            await client.revoke_session(a_handle(), issuer=issuer)

    for _ in range(RENEWALS):
        calls = [asyncio.create_task(call(CALLS_BETWEEN)) for _ in range(3)]
        await client.revoke_session(a_handle(), issuer=issuer)
        renewal()  # while calls are under way
        await asyncio.gather(*calls)


def test_no_call_of_a_client_fails_while_its_certificate_is_renewed(
    running: Running, tls: ClientTls, tmp_path: Path
) -> None:
    with RevocationClient(running.address, timeout=20, tls=tls) as client:
        under_load(client, running.scene.issuer.name, lambda: renew(running, tmp_path))


async def test_no_call_of_an_asyncio_client_fails_while_its_certificate_is_renewed(
    running: Running, tls: ClientTls, tmp_path: Path
) -> None:
    async with AsyncRevocationClient(running.address, timeout=20, tls=tls) as client:
        await under_asyncio_load(client, running.scene.issuer.name, lambda: renew(running, tmp_path))


def test_no_call_of_a_client_fails_while_its_token_is_renewed(running: Running, tls: ClientTls, tmp_path: Path) -> None:
    path = tmp_path / "token"
    lifetimes = iter(range(60, 600, 60))

    def renew_token() -> None:
        replace_file(path, running.admin_token(exp=int(time.time()) + next(lifetimes)).encode() + b"\n")

    renew_token()
    without_certificate = ClientTls(tls.ca_file)
    with RevocationClient(running.address, timeout=20, tls=without_certificate, token=TokenFile(path)) as client:
        under_load(client, running.scene.issuer.name, renew_token)


def test_a_client_shows_its_new_certificate(running: Running, tls: ClientTls, tmp_path: Path) -> None:
    with RevocationClient(running.address, timeout=20, tls=tls) as client:
        client.revoke_session(a_handle(), issuer=running.scene.issuer.name)
        running.scene.authority.issue(dns=[DNS_NAME]).write(tmp_path, "client")

        with pytest.raises(PermissionDenied):
            client.revoke_session(a_handle(), issuer=running.scene.issuer.name)
        assert list(client.list_revocations(actor=f"mtls:{DNS_NAME}")) == []


async def test_an_asyncio_client_shows_its_new_certificate(running: Running, tls: ClientTls, tmp_path: Path) -> None:
    async with AsyncRevocationClient(running.address, timeout=20, tls=tls) as client:
        await client.revoke_session(a_handle(), issuer=running.scene.issuer.name)
        running.scene.authority.issue(dns=[DNS_NAME]).write(tmp_path, "client")

        with pytest.raises(PermissionDenied):
            await client.revoke_session(a_handle(), issuer=running.scene.issuer.name)


def test_half_of_a_renewal_is_not_taken_up(running: Running, tls: ClientTls, tmp_path: Path) -> None:
    renewed = running.scene.authority.issue(dns=[DNS_NAME])
    with RevocationClient(running.address, timeout=20, tls=tls) as client:
        client.revoke_session(a_handle(), issuer=running.scene.issuer.name)

        replace_file(tmp_path / "client.crt", renewed.certificate)
        client.revoke_session(a_handle(), issuer=running.scene.issuer.name)
        replace_file(tmp_path / "client.key", renewed.key)
        with pytest.raises(PermissionDenied):
            client.revoke_session(a_handle(), issuer=running.scene.issuer.name)


def test_a_client_does_not_talk_to_a_listener_of_another_authority(
    running: Running, tls: ClientTls, tmp_path: Path
) -> None:
    other = tmp_path / "other-ca.crt"
    other.write_bytes(CertificateAuthority("another CA").bundle)
    sent: list[str] = []

    def token() -> str:
        sent.append("asked")
        return running.admin_token()

    with (
        RevocationClient(running.address, timeout=2, tls=ClientTls(other), token=token) as client,
        pytest.raises(RevocationUnavailable),
    ):
        client.revoke_session(a_handle())
    assert sent == ["asked"]


def test_a_client_without_a_credential_is_told_so(running: Running, tls: ClientTls) -> None:
    with (
        RevocationClient(running.address, timeout=20, tls=ClientTls(tls.ca_file)) as client,
        pytest.raises(Unauthenticated),
    ):
        client.revoke_session(a_handle())


def test_a_client_waits_until_an_authenticating_listener_is_ready(running: Running, tls: ClientTls) -> None:
    with RevocationClient(running.address, timeout=20, tls=tls) as client:
        client.wait_until_ready()


@pytest.mark.parametrize("content", [None, "", " \n", "tök"], ids=["missing", "empty", "blank", "no ASCII"])
def test_a_token_file_without_a_token_is_no_call(tls: ClientTls, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with (
        RevocationClient("127.0.0.1:1", tls=tls, token=TokenFile(path)) as client,
        pytest.raises(CredentialsUnavailable, match="the token file"),
    ):
        client.revoke_session("a")


@pytest.mark.parametrize("token", ["", "sec\nret", "secret\n", "sec ret", "sec\x00ret", "Bearer secret", "s\u00e9cret"])
async def test_what_is_no_token_is_no_call_and_is_not_repeated(tls: ClientTls, token: str) -> None:
    async with AsyncRevocationClient("127.0.0.1:1", tls=tls, token=lambda: token) as client:
        with pytest.raises(CredentialsUnavailable, match="the token is empty, or has") as refused:
            await client.revoke_session("a")
    with (
        RevocationClient("127.0.0.1:1", tls=tls, token=lambda: token) as client_of_threads,
        pytest.raises(CredentialsUnavailable, match="the token is empty, or has"),
    ):
        client_of_threads.revoke_session("a")

    assert "ret" not in str(refused.value)


def test_a_token_is_read_anew_when_its_folder_is_exchanged_for_another(tmp_path: Path) -> None:
    """As Kubernetes renews a projected volume: the folder behind a symbolic link is another one from then on."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"{name}-token\n")
    (tmp_path / "..data").symlink_to("old")
    (tmp_path / "token").symlink_to("..data/token")
    token = TokenFile(tmp_path / "token")
    assert token() == "old-token"

    (tmp_path / "..next").symlink_to("new")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert token() == "new-token"


def test_a_key_of_another_certificate_is_no_call(tls: ClientTls, tmp_path: Path) -> None:
    authority = CertificateAuthority()
    Pair(authority.issue().certificate, authority.issue().key).write(tmp_path, "client")
    with (
        RevocationClient("127.0.0.1:1", tls=tls) as client,
        pytest.raises(CredentialsUnavailable, match="cannot be used together"),
    ):
        client.revoke_session("a")


@pytest.mark.parametrize("client_type", [RevocationClient, AsyncRevocationClient])
def test_a_token_is_never_sent_in_the_clear(client_type: type[RevocationClient | AsyncRevocationClient]) -> None:
    with pytest.raises(ValueError, match="over TLS only"):
        client_type("127.0.0.1:1", token=lambda: "t")


def test_a_certificate_without_its_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="needed together"):
        ClientTls(certificate_file="a")
