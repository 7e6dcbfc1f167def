"""What an admin listener off the socket needs before the sidecar starts, and what it makes of files it cannot use."""

import socket
import ssl
from pathlib import Path

import pytest

from tests.fakes.certificate_authority import CertificateAuthority
from tests.integration.access.scene import REVOKE, SPIFFE_ID, Scene, revoking
from tests.integration.sidecar.processes import run_sidegate

GRANTS = [{"subject": f"mtls:{SPIFFE_ID}", "roles": ["revoker"]}]
UNAVAILABLE = 69
USAGE = 64


def refused(folder: Path, status: int, **settings: str) -> str:
    """What the sidecar ends with, told that."""
    scene = Scene(folder, GRANTS, with_tokens=False, **settings)
    told = {
        "store_url": f"sqlite://{folder}/s.db",
        "listen": f"unix://{folder}/data.sock",
        **scene.settings,
        **settings,
    }
    variables = {f"SIDEGATE_{name.upper()}": value for name, value in told.items() if value}
    outcome = run_sidegate("run", folder=folder, **variables)
    assert outcome.returncode == status
    return outcome.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", "127.0.0.1:0", "[::]:0"])
def test_an_address_without_tls_refuses_the_start(folder: Path, address: str) -> None:
    told = refused(folder, USAGE, admin_listen=address, admin_tls_cert="", admin_tls_key="", admin_tls_client_ca="")
    assert f"SIDEGATE_ADMIN_LISTEN: {address}: without authentication" in told


def test_tls_that_knows_nobody_refuses_the_start(folder: Path) -> None:
    assert "nobody could be authenticated" in refused(folder, USAGE, admin_tls_client_ca="")


def test_no_grants_refuse_the_start(folder: Path) -> None:
    assert "SIDEGATE_ADMIN_GRANTS: needed" in refused(folder, USAGE, admin_grants="")


def test_a_key_of_another_certificate_refuses_the_start(folder: Path) -> None:
    _, key = CertificateAuthority().issue_for_loopback().write(folder, "another")
    told = refused(folder, UNAVAILABLE, admin_tls_key=str(key))
    assert told.strip().endswith("cannot be used: the private key is not the certificate's")


@pytest.mark.parametrize("setting", ["admin_tls_cert", "admin_tls_key", "admin_tls_client_ca"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM at all"], ids=["missing", "empty", "junk"])
def test_a_file_that_cannot_be_read_refuses_the_start(folder: Path, setting: str, content: bytes | None) -> None:
    path = folder / "odd"
    if content is not None:
        path.write_bytes(content)
    told = refused(folder, UNAVAILABLE, **{setting: str(path)})
    assert "the TLS files of the admin listener cannot be used: " in told
    assert len(told.splitlines()) == 1


def test_a_port_that_is_taken_refuses_the_start(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = refused(folder, UNAVAILABLE, admin_listen=f"127.0.0.1:{taken.getsockname()[1]}")
    assert "the address is in use" in told


@pytest.fixture
def running_for_certificates(folder: Path) -> Scene:
    return Scene(folder, GRANTS, with_tokens=False)


def test_where_only_certificates_count_a_connection_without_one_is_refused(running_for_certificates: Scene) -> None:
    with running_for_certificates.running() as running:
        request = revoking("a", running.scene.issuer.name)

        assert running.call(REVOKE, request, pair=running.scene.authority.issue(uris=[SPIFFE_ID])).code == "OK"

        assert running.call(REVOKE, request).code == "UNAVAILABLE"
        refusal = running.next_refusal(0)
        assert (refusal["event"], refusal["cause"]) == ("admin_connection_refused", "no client certificate")


def test_what_is_no_tls_and_what_is_too_old_is_refused(running_for_certificates: Scene) -> None:
    with running_for_certificates.running() as running:
        host, _, port = running.address.rpartition(":")

        with socket.create_connection((host, int(port)), timeout=20) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert running.next_refusal(0)["cause"].startswith("the TLS handshake failed: ")

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=running.scene.authority.bundle.decode())
        certificate, key = running.scene.authority.issue(uris=[SPIFFE_ID]).write(running.scene.folder, "client")
        context.load_cert_chain(certificate, key)
        with (
            socket.create_connection((host, int(port)), timeout=20) as raw,
            context.wrap_socket(raw, server_hostname=host) as without_http2,
        ):
            assert without_http2.recv(1) == b""
        assert running.next_refusal(1)["cause"] == "the client does not speak HTTP/2"


def test_who_only_looks_whether_the_port_is_open_is_not_logged(running_for_certificates: Scene) -> None:
    with running_for_certificates.running() as running:
        host, _, port = running.address.rpartition(":")
        for _ in range(3):
            socket.create_connection((host, int(port)), timeout=20).close()
        request = revoking("a", running.scene.issuer.name)
        assert running.call(REVOKE, request, pair=running.scene.authority.issue(uris=[SPIFFE_ID])).code == "OK"

        assert running.refusals() == []
