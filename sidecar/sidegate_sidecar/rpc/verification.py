"""VerificationService: the data plane."""

from collections.abc import Callable

from google.rpc.status_pb2 import Status
from sidegate.v1 import verification_pb2 as v1
from sidegate.v1 import verification_pb2_grpc

from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.metrics.counts import VerificationCounts
from sidegate_sidecar.model import ServingStatus, StoreState, Verdict
from sidegate_sidecar.rpc.boundary import Context
from sidegate_sidecar.rpc.messages import (
    demand_from,
    duration_from,
    key_set_status_from,
    response_from,
    revision_from,
    sign_out_demand_from,
    write_response,
)
from sidegate_sidecar.rpc.status import status_from
from sidegate_sidecar.sign_out import SignOut, SignOutScope
from sidegate_sidecar.verifier import Verifier

MAX_BATCH = 256  # with the cap on tokens, 4 MiB of them

_SCOPES = {v1.SignOutScope.Value(f"SIGN_OUT_SCOPE_{scope.value}"): scope for scope in SignOutScope} | {
    v1.SIGN_OUT_SCOPE_UNSPECIFIED: SignOutScope.THIS_SESSION
}
_STORE_STATES = {state: v1.StoreState.Value(f"STORE_STATE_{state.value}") for state in StoreState}


class VerificationService(verification_pb2_grpc.VerificationServiceServicer):
    """Args:
    verifier: Decides.
    sign_out: Ends sessions of a token's holder.
    serving_status: What the sidecar knows and how old it is.
    counts: Where each verification is counted that a caller asked for, once, when it ends.
    """

    def __init__(
        self,
        verifier: Verifier,
        sign_out: SignOut,
        serving_status: Callable[[], ServingStatus],
        counts: VerificationCounts,
    ) -> None:
        self._verifier = verifier
        self._sign_out = sign_out
        self._serving_status = serving_status
        self._counts = counts

    async def Verify(self, request: v1.VerifyRequest, context: Context) -> v1.VerifyResponse:
        """As verification.proto says."""
        try:
            verdict = await self._verifier.verify(demand_from(request))
        except BaseException as failure:
            self._counts.add(failure)
            raise
        self._counts.add(verdict)
        return response_from(verdict)

    async def BatchVerify(self, request: v1.BatchVerifyRequest, context: Context) -> v1.BatchVerifyResponse:
        """As verification.proto says."""
        if not 1 <= len(request.requests) <= MAX_BATCH:
            raise InvalidRequest(
                "requests",
                f"must hold 1 to {MAX_BATCH} items, not {len(request.requests)}",
                reason="BATCH_SIZE",
                limit=str(MAX_BATCH),
            )
        try:
            outcomes = await self._verifier.verify_batch([demand_from(item) for item in request.requests])
        except BaseException as failure:
            self._counts.add(failure, len(request.requests))
            raise
        response = v1.BatchVerifyResponse()
        for outcome in outcomes:
            self._counts.add(outcome)
            result = response.results.add()
            if isinstance(outcome, Verdict):
                write_response(outcome, result.response)
            else:
                status: Status = status_from(outcome)
                result.error.CopyFrom(status)
        return response

    async def SignOut(self, request: v1.SignOutRequest, context: Context) -> v1.SignOutResponse:
        """As verification.proto says."""
        outcome = await self._sign_out.sign_out(sign_out_demand_from(request), _scope_from(request.scope))
        return v1.SignOutResponse(revoked_count=outcome.revoked_count, revision=revision_from(outcome.revision))

    async def GetServingStatus(
        self, request: v1.GetServingStatusRequest, context: Context
    ) -> v1.GetServingStatusResponse:
        """As verification.proto says."""
        status = self._serving_status()
        return v1.GetServingStatusResponse(
            version=status.version,
            key_sets=[key_set_status_from(key_set) for key_set in status.key_sets],
            index_revision=None if status.index_revision is None else revision_from(status.index_revision),
            index_lag=None if status.index_lag is None else duration_from(status.index_lag),
            store_state=_STORE_STATES[status.store_state],
        )


def _scope_from(scope: v1.SignOutScope.ValueType) -> SignOutScope:
    if scope not in _SCOPES:  # a newer client's: to end fewer sessions than it asked for would be no answer
        raise InvalidRequest("scope", "is none that this sidecar knows")
    return _SCOPES[scope]
