"""What each request of the admin services touches, as far as grants are bound to it."""

from collections.abc import Sequence

from google.protobuf.message import Message
from sidegate.v1 import revocation_pb2 as v1

from sidegate_sidecar.access import Reach

EVERYTHING = Reach(issuer=None)


def reaches_of(request: Message, only_issuer: str | None) -> Sequence[Reach]:
    """The parts of a request that each have to be covered by a grant.

    Args:
        request: Any. What is not known here touches everything.
        only_issuer: What an absent issuer stands for. None: it stands for none, and such a request will be refused.
    """
    match request:
        case v1.RevokeSessionRequest() | v1.GetSessionRequest():
            return [Reach(request.issuer or only_issuer, session_handle=request.session_handle)]
        case v1.BatchRevokeSessionsRequest():
            issuer = request.issuer or only_issuer
            return [Reach(issuer, session_handle=handle) for handle in request.session_handles]
        case v1.RevokeUserSessionsRequest():
            issuer = request.issuer or only_issuer
            whose = Reach(issuer, request.tenant_id if request.HasField("tenant_id") else None)
            if not request.HasField("except_session_handle"):
                return [whose]
            # The answer tells whether that is a session of the user, so it must be one that the caller may know of.
            return [whose, Reach(issuer, session_handle=request.except_session_handle)]
        case v1.RevokeTenantSessionsRequest() | v1.RegisterSessionRequest():
            return [Reach(request.issuer or only_issuer, request.tenant_id)]
        case v1.BatchRegisterSessionsRequest():
            return [Reach(item.issuer or only_issuer, item.tenant_id) for item in request.requests]
        case v1.RevokeSigningKeyRequest() | v1.ListSessionsRequest():
            return [Reach(request.issuer or only_issuer)]
        case v1.ListRevocationsRequest():  # where an absent issuer means all of them
            return [Reach(request.issuer or None, request.tenant_id or None)]
        case _:
            return [EVERYTHING]
