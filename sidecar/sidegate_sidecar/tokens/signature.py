"""Which keys may vouch for a token, and whether one does."""

from collections.abc import Sequence
from itertools import islice

from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import KeySet, Reason, VerificationKey
from sidegate_sidecar.tokens.algorithms import VERIFIES
from sidegate_sidecar.tokens.jws import ParsedToken
from sidegate_sidecar.tokens.policy import IssuerPolicy

# Signatures checked for a token without `kid`: the worst token must cost less than 5 ms of CPU. A check takes some
# 0.1 ms, but 0.6 to 0.9 ms on the two curves for which OpenSSL has no fast path.
MAX_CANDIDATES = 8
MAX_CANDIDATES_BY_ALGORITHM = {"ES384": 3, "ES512": 3}


def candidate_keys(token: ParsedToken, key_set: KeySet, policy: IssuerPolicy) -> tuple[VerificationKey, ...]:
    """The keys that may have signed the token: the one of its `kid`, or without one, the first few of its algorithm.

    Empty: the set holds no such key.

    Raises:
        Rejected: UNSUPPORTED_ALGORITHM if the policy does not allow the token's, or its key is not made for it.
            MISSING_CLAIM if the policy demands a `kid` and there is none.
    """
    algorithm = token.algorithm
    if algorithm not in policy.algorithms:
        raise Rejected(Reason.UNSUPPORTED_ALGORITHM, "the issuer's tokens may not use this alg")
    if token.key_id is None:
        if policy.key_id_required:
            raise Rejected(Reason.MISSING_CLAIM, "the token has no kid, and the issuer's tokens must have one")
        limit = MAX_CANDIDATES_BY_ALGORITHM.get(algorithm, MAX_CANDIDATES)
        return tuple(islice((key for key in key_set.keys if algorithm in key.algorithms), limit))
    key = key_set.by_id.get(token.key_id)
    if key is None:
        return tuple(key for key in key_set.keys if key.serves_any_key_id and algorithm in key.algorithms)
    if algorithm not in key.algorithms:
        raise Rejected(Reason.UNSUPPORTED_ALGORITHM, "the token's key is not made for its alg")
    return (key,)


def verify_signature(token: ParsedToken, keys: Sequence[VerificationKey]) -> VerificationKey:
    """The first of the keys that verifies the token.

    Raises:
        Rejected: BAD_SIGNATURE. A key that is not made for the token's algorithm verifies nothing.
    """
    verifies = VERIFIES[token.algorithm]
    for key in keys:
        if token.algorithm in key.algorithms and verifies(key.public_key, token.signature, token.signing_input):
            return key
    raise Rejected(Reason.BAD_SIGNATURE, "the token's signature does not match")
