"""What a client certificate says of its holder. Whether it is to be believed was decided by TLS."""

from dataclasses import dataclass

from cryptography import x509

from sidegate_sidecar.access.grants import dns_subject, uri_subject
from sidegate_sidecar.model import SECOND, Micros


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate whose chain was verified when the connection began.

    Attributes:
        subjects: What grants call its names: URIs first, then DNS names, each in alphabetical order, so that the same
            certificate is the same actor however its issuer orders them. The common name is none [RFC 9525 §2].
        begin_time: It is good from then on.
        expire_time: And up to and including this instant [RFC 5280 §4.1.2.5].
    """

    subjects: tuple[str, ...]
    begin_time: Micros
    expire_time: Micros


def read_certificate(der: bytes) -> Certificate:
    """Read a certificate.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        uris, names = _alternative_names(certificate)
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType):
        raise ValueError("the client certificate cannot be read") from None
    subjects = [*sorted(map(uri_subject, uris), key=str), *sorted(map(dns_subject, names), key=str)]
    return Certificate(
        subjects=tuple(dict.fromkeys(subject for subject in subjects if subject is not None)),
        begin_time=int(certificate.not_valid_before_utc.timestamp()) * SECOND,
        expire_time=int(certificate.not_valid_after_utc.timestamp()) * SECOND,
    )


def _alternative_names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """Its URIs and its DNS names, as they stand there."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    return names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)
