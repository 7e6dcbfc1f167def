"""VerificationService of a fake sidecar."""

import grpc
from google.protobuf.duration_pb2 import Duration

from sidegate.errors import CallFailed, SessionRejected
from sidegate.testing.faults import Faults
from sidegate.testing.judgement import Policy, check_claims, check_coverage, check_record
from sidegate.testing.messages import rejection_from, revision_from, session_from
from sidegate.testing.refusals import invalid, status_from, store_unavailable
from sidegate.testing.store import Attribution, Facts, Store, now
from sidegate.testing.tokens import KEY_ID, TokenClaims, TokenKey
from sidegate.v1 import session_pb2, verification_pb2_grpc
from sidegate.v1 import verification_pb2 as v1
from sidegate.verdicts import RejectionReason, Revision

MAX_BATCH = 256
MAX_AUDIENCES = 64
SIGN_OUT_ACTOR, SIGN_OUT_REASON = "self-sign-out", "signed out by the session's holder"


class VerificationService(verification_pb2_grpc.VerificationServiceServicer):
    """Args:
    key: Of its tokens.
    policy: What they must be like.
    store: Of sessions and revocations.
    faults: May take the store down, or have tokens refused.
    version: To say of itself.
    """

    def __init__(self, key: TokenKey, policy: Policy, store: Store, faults: Faults, version: str) -> None:
        self._key = key
        self._policy = policy
        self._store = store
        self._faults = faults
        self._version = version

    def Verify(self, request: v1.VerifyRequest, context: grpc.ServicerContext) -> v1.VerifyResponse:
        """As verification.proto says."""
        return self._answer(request)

    def BatchVerify(self, request: v1.BatchVerifyRequest, context: grpc.ServicerContext) -> v1.BatchVerifyResponse:
        """As verification.proto says."""
        if not 1 <= len(request.requests) <= MAX_BATCH:
            raise invalid("requests", f"must hold 1 to {MAX_BATCH} items", reason="BATCH_SIZE", limit=str(MAX_BATCH))
        return v1.BatchVerifyResponse(results=[self._result(item) for item in request.requests])

    def SignOut(self, request: v1.SignOutRequest, context: grpc.ServicerContext) -> v1.SignOutResponse:
        """As verification.proto says."""
        demand = v1.VerifyRequest(access_token=request.access_token)
        if request.HasField("anti_csrf_token"):
            demand.anti_csrf_token = request.anti_csrf_token
        _check_demand(demand)
        try:
            claims, _ = self._decide(demand, session_pb2.Evidence())
        except SessionRejected as refusal:
            raise _not_signed_in(refusal.reason, refusal.message) from None
        if self._faults.store_is_down():
            raise store_unavailable()
        attribution = Attribution(SIGN_OUT_ACTOR, SIGN_OUT_REASON)
        if request.scope == v1.SIGN_OUT_SCOPE_ALL_SESSIONS:
            count, revision = self._store.revoke_user(claims.user_id, attribution)
        elif request.scope == v1.SIGN_OUT_SCOPE_OTHER_SESSIONS:
            try:
                count, revision = self._store.revoke_user(
                    claims.user_id,
                    attribution,
                    except_session_handle=claims.session_handle,
                    accept_unknown_exception=self._policy.unknown_sessions == "accept",
                )
            except CallFailed:
                raise _not_signed_in(RejectionReason.SESSION_NOT_FOUND, "the session is not this user's") from None
        else:
            handles, revision = self._store.revoke_sessions([claims.session_handle], attribution)
            count = len(handles)
        return v1.SignOutResponse(revoked_count=count, revision=revision_from(revision))

    def GetServingStatus(
        self, request: v1.GetServingStatusRequest, context: grpc.ServicerContext
    ) -> v1.GetServingStatusResponse:
        """As verification.proto says."""
        down = self._faults.store_is_down()
        return v1.GetServingStatusResponse(
            version=self._version,
            key_sets=[v1.KeySetStatus(issuer=self._key.issuer, generation=1, key_count=1, age=Duration())],
            index_revision=revision_from(self._store.revision),
            index_lag=self._lag(),
            store_state=v1.STORE_STATE_UNAVAILABLE if down else v1.STORE_STATE_AVAILABLE,
        )

    def _result(self, request: v1.VerifyRequest) -> v1.BatchVerifyResult:
        try:
            return v1.BatchVerifyResult(response=self._answer(request))
        except CallFailed as refusal:
            return v1.BatchVerifyResult(error=status_from(refusal))

    def _answer(self, demand: v1.VerifyRequest) -> v1.VerifyResponse:
        _check_demand(demand)
        evidence = session_pb2.Evidence(source=session_pb2.EVIDENCE_SOURCE_LOCAL, revocation_lag=self._lag())
        try:
            claims, revision = self._decide(demand, evidence)
            evidence.revision.CopyFrom(revision_from(revision))
            return v1.VerifyResponse(session=session_from(claims, self._key.issuer), evidence=evidence)
        except SessionRejected as refusal:
            evidence.revision.CopyFrom(revision_from(self._store.revision))
            return v1.VerifyResponse(rejection=rejection_from(refusal.rejection), evidence=evidence)

    def _decide(self, demand: v1.VerifyRequest, evidence: session_pb2.Evidence) -> tuple[TokenClaims, Revision]:
        """The claims of a good token, and the revision that it was judged at. Fills in source and key of the evidence.

        Raises:
            SessionRejected: It is not good.
            CallFailed: Nobody could say.
        """
        if (scripted := self._faults.rejection_of(demand.access_token)) is not None:
            raise SessionRejected(scripted)
        claims = self._key.read(demand.access_token)
        evidence.key_id = KEY_ID
        check_claims(claims, self._policy, demand, now())
        with self._store.changed:  # one look at the store, and the revision that it had then
            revision = self._store.revision
            facts = self._store.look_up(claims.session_handle, claims.user_id, claims.tenant_id, self._key.thumbprint)
        if demand.HasField("at_least_as_fresh"):
            self._check_freshness(demand.at_least_as_fresh, revision)
        self._check_facts(facts, claims, demand, evidence)
        return claims, revision

    def _check_facts(
        self, facts: Facts, claims: TokenClaims, demand: v1.VerifyRequest, evidence: session_pb2.Evidence
    ) -> None:
        asked = demand.check_database
        if not asked:
            asked = check_coverage(facts, claims, asked=False)
        if not asked:
            return
        if self._faults.store_is_down():
            raise store_unavailable()
        evidence.source = session_pb2.EVIDENCE_SOURCE_DATABASE
        check_coverage(facts, claims, asked=True)
        if demand.check_database:
            check_record(facts, claims, self._policy, now())

    def _check_freshness(self, wanted: session_pb2.Revision, here: Revision) -> None:
        if wanted.store_id != here.store_id:
            raise CallFailed("the revision belongs to another store", code="UNAVAILABLE", reason="FOREIGN_REVISION")
        if wanted.sequence > here.sequence:
            if self._faults.store_is_down():
                raise store_unavailable()
            raise CallFailed(
                "the store itself has not come to that revision", code="UNAVAILABLE", reason="REVISION_NOT_REACHED"
            )

    def _lag(self) -> Duration:
        lag = Duration()
        lag.FromMicroseconds(int(self._faults.lag() * 1_000_000))
        return lag


def _not_signed_in(reason: RejectionReason, message: str) -> CallFailed:
    return CallFailed(
        message, code="UNAUTHENTICATED", reason="UNAUTHENTICATED", metadata={"rejection_reason": reason.value}
    )


def _check_demand(demand: v1.VerifyRequest) -> None:
    """Refuse what is the caller's mistake, whatever the token is."""
    if not demand.access_token:
        raise invalid("access_token", "must not be empty")
    if len(demand.accepted_audiences) > MAX_AUDIENCES:
        raise invalid("accepted_audiences", f"must not hold more than {MAX_AUDIENCES} items")
    if "" in demand.accepted_audiences:
        raise invalid("accepted_audiences", "must not hold an empty item")
    if demand.HasField("tenant_id") and not demand.tenant_id:
        raise invalid("tenant_id", "must not be empty if it is set")
