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
    certificate = x509.load_der_x509_certificate(der)
    uris: set[str | None] = set()
    names: set[str | None] = set()
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass  # then it names nobody
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as fault:
        raise ValueError("its extensions cannot be read") from fault
    else:
        uris.update(map(uri_subject, alternatives.get_values_for_type(x509.UniformResourceIdentifier)))
        names.update(map(dns_subject, alternatives.get_values_for_type(x509.DNSName)))
    return Certificate(
        subjects=(*sorted(uri for uri in uris if uri), *sorted(name for name in names if name)),
        begin_time=round(certificate.not_valid_before_utc.timestamp()) * SECOND,
        expire_time=round(certificate.not_valid_after_utc.timestamp()) * SECOND,
    )
