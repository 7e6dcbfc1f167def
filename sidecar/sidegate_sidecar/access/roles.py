"""Which role may call which RPC: the one table, by full method name. What is not in it may be called by nobody."""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a caller may be to the admin services. The value is how settings write it."""

    REVOKER = "revoker"
    REGISTRAR = "registrar"
    AUDITOR = "auditor"
    BREAKER = "breaker"
    SELF_SIGN_OUT = "self-sign-out"


ROLES_FOR: Mapping[str, frozenset[Role]] = {
    "/sidegate.v1.RevocationService/RevokeSession": frozenset({Role.REVOKER, Role.SELF_SIGN_OUT}),
    "/sidegate.v1.RevocationService/BatchRevokeSessions": frozenset({Role.REVOKER}),
    "/sidegate.v1.RevocationService/RevokeUserSessions": frozenset({Role.REVOKER, Role.SELF_SIGN_OUT}),
    "/sidegate.v1.RevocationService/RevokeTenantSessions": frozenset({Role.BREAKER}),
    "/sidegate.v1.RevocationService/RevokeSigningKey": frozenset({Role.BREAKER}),
    "/sidegate.v1.RevocationService/ListRevocations": frozenset({Role.AUDITOR}),
    "/sidegate.v1.SessionService/RegisterSession": frozenset({Role.REGISTRAR}),
    "/sidegate.v1.SessionService/BatchRegisterSessions": frozenset({Role.REGISTRAR}),
    "/sidegate.v1.SessionService/GetSession": frozenset({Role.REGISTRAR, Role.AUDITOR}),
    "/sidegate.v1.SessionService/ListSessions": frozenset({Role.REGISTRAR, Role.AUDITOR}),
    "/sidegate.v1.RevocationFeedService/WatchRevocations": frozenset({Role.AUDITOR}),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": frozenset(Role),
}

OPEN_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
    }
)
"""What anybody may call who gets as far as the listener: orchestrators probe it, and have no credential."""
