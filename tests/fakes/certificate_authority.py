"""A certificate authority: real keys, real signatures, and any names and dates that a test wants."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.certificate).public_bytes(Encoding.DER)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Put both into files, each in one step as orchestrators do. The certificate's path and the key's."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in zip(paths, (self.certificate, self.key), strict=True):
            replace_file(path, content)
        return paths


def replace_file(path: Path, content: bytes) -> None:
    """Give a file new content in one step."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(content)
    fresh.rename(path)


class CertificateAuthority:
    """Signs certificates; `bundle` is its own, in PEM: signed by the one above it, else by itself."""

    def __init__(self, name: str = "test CA", *, above: "CertificateAuthority | None" = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = above or self
        now = datetime.now(UTC)
        own = (
            _builder(self._name, signer._name, self._key, now - 30 * A_DAY, now + 30 * A_DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer._key, hashes.SHA256())
        )
        self.bundle = own.public_bytes(Encoding.PEM)

    def issue(
        self,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        common_name: str = "nobody",
        begins: timedelta = -A_DAY,
        ends: timedelta = A_DAY,
    ) -> Pair:
        """A certificate of those names, good between those times from now."""
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        return self._issue(common_name, names, begins, ends)

    def issue_for_loopback(self) -> Pair:
        """A server's certificate for 127.0.0.1."""
        return self._issue("a server", [x509.IPAddress(IPv4Address("127.0.0.1"))], -A_DAY, A_DAY)

    def _issue(self, common_name: str, names: Sequence[x509.GeneralName], begins: timedelta, ends: timedelta) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        holder = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = _builder(holder, self._name, key, now + begins, now + ends)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _builder(
    holder: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(holder)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
