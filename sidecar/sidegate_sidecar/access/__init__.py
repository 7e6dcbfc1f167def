"""Who calls the admin services, and what they may do. Knows no gRPC, no sockets and no SQL."""

from sidegate_sidecar.access.authority import Authority
from sidegate_sidecar.access.certificates import Certificate, read_certificate
from sidegate_sidecar.access.grants import Caller, Grant, check_subject, issuer_of_subject
from sidegate_sidecar.access.reach import LookUp, Reach, check_reach
from sidegate_sidecar.access.roles import OPEN_METHODS, ROLES_FOR, Role

__all__ = [
    "OPEN_METHODS",
    "ROLES_FOR",
    "Authority",
    "Caller",
    "Certificate",
    "Grant",
    "LookUp",
    "Reach",
    "Role",
    "check_reach",
    "check_subject",
    "issuer_of_subject",
    "read_certificate",
]
