"""Whom the admin listener's TLS files let in: chains, resumed sessions, and folders that are exchanged as a whole."""

import ssl
from pathlib import Path

import pytest
from sidegate_sidecar.rpc.certificate_files import CertificateFiles, ServerTls
from structlog.testing import capture_logs

from tests.fakes.certificate_authority import CertificateAuthority, Pair, replace_file


class Files:
    """The listener's, and a client's."""

    def __init__(self, folder: Path, trusted: bytes) -> None:
        self._folder = folder
        self._authority = CertificateAuthority("the listener's CA")
        certificate, key = self._authority.issue_for_loopback().write(folder, "server")
        self.bundle = folder / "client-ca.crt"
        self.bundle.write_bytes(trusted)
        self.tls = ServerTls(CertificateFiles(certificate, key, self.bundle), requires_client_certificate=True)

    def client(self, pair: Pair, chain: bytes = b"") -> ssl.SSLContext:
        """Shows that certificate, and what it was signed by."""
        certificate, key = Pair(pair.certificate + chain, pair.key).write(self._folder, "client")
        context = ssl.create_default_context(cadata=self._authority.bundle.decode())
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(certificate, key)
        return context

    def lets_in(self, pair: Pair, chain: bytes = b"") -> bool:
        try:
            shake_hands(self.tls.context, self.client(pair, chain))
        except ssl.SSLCertVerificationError:
            return False
        return True


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends, once TLS stands. Raises ssl.SSLError: the server's, for of the two it is the one under test."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = server.wrap_bio(to_server, to_client, server_side=True)
    there = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1", session=session)
    for _ in range(3):
        for end in (there, here):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return here, there


@pytest.fixture
def root() -> CertificateAuthority:
    return CertificateAuthority("root")


def test_a_chain_that_ends_in_the_bundle_is_good(root: CertificateAuthority, tmp_path: Path) -> None:
    intermediate = CertificateAuthority("intermediate", above=root)
    files = Files(tmp_path, root.bundle)
    pair = intermediate.issue(dns=["a.internal"])

    assert files.lets_in(pair, intermediate.bundle)
    assert not files.lets_in(pair), "the CA between is not known"


def test_a_ca_in_the_bundle_is_trusted_without_its_own_issuer_and_for_its_own_alone(
    root: CertificateAuthority, tmp_path: Path
) -> None:
    intermediate, sister = (CertificateAuthority(name, above=root) for name in ("intermediate", "sister"))
    files = Files(tmp_path, intermediate.bundle)

    assert files.lets_in(intermediate.issue(dns=["a.internal"]))
    assert not files.lets_in(sister.issue(dns=["a.internal"]), sister.bundle + root.bundle)
    assert not files.lets_in(root.issue(dns=["a.internal"]), root.bundle)


def test_who_is_no_ca_vouches_for_nobody(root: CertificateAuthority, tmp_path: Path) -> None:
    files = Files(tmp_path, root.bundle)
    leaf = root.issue(dns=["a.internal"])
    self_made = CertificateAuthority("self-made")

    assert not files.lets_in(self_made.issue(dns=["a.internal"]), leaf.certificate)


def test_no_session_is_resumed_past_the_ca_that_it_began_under(root: CertificateAuthority, tmp_path: Path) -> None:
    files = Files(tmp_path, root.bundle)
    client = files.client(root.issue(dns=["a.internal"]))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    _, begun = shake_hands(files.tls.context, client)
    resumed, _ = shake_hands(files.tls.context, client, begun.session)
    assert resumed.session_reused, "else this test shows nothing"

    replace_file(files.bundle, CertificateAuthority("successor").bundle)
    files.tls.reload()

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(files.tls.context, client, begun.session)


def test_no_session_of_tls_1_3_is_resumed(root: CertificateAuthority, tmp_path: Path) -> None:
    files = Files(tmp_path, root.bundle)
    client = files.client(root.issue(dns=["a.internal"]))
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    _, begun = shake_hands(files.tls.context, client)

    again, _ = shake_hands(files.tls.context, client, begun.session)
    assert not again.session_reused


def test_a_folder_that_is_exchanged_as_a_whole_is_taken_up(root: CertificateAuthority, tmp_path: Path) -> None:
    """As Kubernetes renews a Secret's volume: the folder behind a symbolic link is another one from then on."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        root.issue_for_loopback().write(tmp_path / name, "tls")
    (tmp_path / "..data").symlink_to("old")
    files = CertificateFiles(tmp_path / "..data" / "tls.crt", tmp_path / "..data" / "tls.key", None)
    tls = ServerTls(files, requires_client_certificate=False)
    before = tls.context

    (tmp_path / "..next").symlink_to("new")
    (tmp_path / "..next").rename(tmp_path / "..data")
    with capture_logs() as logs:
        tls.reload()
        tls.reload()

    assert [entry["event"] for entry in logs] == ["admin_tls_reloaded"]
    assert tls.context is not before


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "client-ca.crt"])
def test_a_file_that_is_half_written_leaves_the_old_ones_in_place(
    root: CertificateAuthority, tmp_path: Path, name: str
) -> None:
    root.issue_for_loopback().write(tmp_path, "tls")
    bundle = tmp_path / "client-ca.crt"
    bundle.write_bytes(root.bundle + CertificateAuthority("second").bundle)
    files = CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key", bundle)
    tls = ServerTls(files, requires_client_certificate=True)
    before, whole = tls.context, (tmp_path / name).read_bytes()

    with capture_logs() as logs:
        for content in (b"", whole[:-40]):
            (tmp_path / name).write_bytes(content)
            tls.reload()
            assert tls.context is before
        (tmp_path / name).write_bytes(whole + b"\n")
        tls.reload()

    assert tls.context is not before
    assert {entry["event"] for entry in logs} == {"admin_tls_not_reloaded", "admin_tls_reloaded"}
