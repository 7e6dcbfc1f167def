"""The whole of token verification in one call, for people and tests; the verifier takes the steps one by one."""

from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import Demand, KeySet, Micros, Reason
from sidegate_sidecar.tokens.claims import TokenClaims, check_claims, issuer_of, read_claims
from sidegate_sidecar.tokens.jws import ParsedToken, parse_token
from sidegate_sidecar.tokens.policy import IssuerPolicy
from sidegate_sidecar.tokens.signature import candidate_keys, verify_signature

_NO_DEMAND = Demand(access_token="")


def verify_token(text: str, key_set: KeySet, policy: IssuerPolicy, demand: Demand | None, now: Micros) -> TokenClaims:
    """The claims of a good token. Pure; knows nothing of revocations.

    Args:
        text: The token in JWS compact form.
        key_set: The keys of the policy's issuer.
        policy: What the issuer's tokens must be like.
        demand: What else the token must be good for; its own `access_token` is not read. None: nothing.
        now: The instant to judge it at.

    Raises:
        Rejected: The first reason met, in the order of docs/concepts.md, "How Verify decides".
    """
    token = parse_token(text)
    _check_issuer(token, policy)
    claims = read_claims(token, policy)
    candidates = candidate_keys(token, key_set, policy)
    if not candidates:
        raise Rejected(Reason.UNKNOWN_KEY, "the issuer publishes no such key")
    verify_signature(token, candidates)
    check_claims(claims, policy, token.token_type, demand or _NO_DEMAND, now)
    return claims


def _check_issuer(token: ParsedToken, policy: IssuerPolicy) -> None:
    issuer = issuer_of(token)
    if issuer is None and not policy.issuer_claim_absent:
        raise Rejected(Reason.MISSING_CLAIM, "the token has no iss")
    if issuer != (None if policy.issuer_claim_absent else policy.issuer):
        raise Rejected(Reason.WRONG_ISSUER, "the token's iss is not the issuer's")
