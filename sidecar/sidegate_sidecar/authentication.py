"""The first half of the decision: whose token it is, and that its issuer signed it.

Everything that may wait is a collaborator, described here by what is needed of it.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import KeySet, Reason, Session, Subject, VerificationKey
from sidegate_sidecar.remembered import RememberedTokens, VerifiedToken
from sidegate_sidecar.tokens import (
    MAX_TOKEN_BYTES,
    IssuerPolicy,
    ParsedToken,
    candidate_keys,
    issuer_of,
    parse_token,
    read_claims,
    verify_signature,
)

Wait: TypeAlias = Callable[[], Awaitable[Any]]
"""Something that a decision under way has to wait for. It yields this and is sent the result."""


class Keys(Protocol):
    """The issuers' keys."""

    def key_set(self, issuer: str) -> KeySet:
        """The current set. Raises KeysUnavailable."""
        ...

    async def key_set_with(self, issuer: str, key_id: str | None) -> KeySet:
        """The set after the issuer was really asked for a key that the current one lacks. Raises KeysUnavailable."""
        ...


class Authenticator:
    """Reads tokens and checks their signatures, each token once as long as it is remembered.

    Args:
        policies: One for each issuer entry.
        keys: Their keys.
        remembered: How many verified tokens to remember; 0 remembers none.
    """

    def __init__(self, policies: Sequence[IssuerPolicy], keys: Keys, *, remembered: int) -> None:
        self._policies: Mapping[str | None, IssuerPolicy] = {
            None if policy.issuer_claim_absent else policy.issuer: policy for policy in policies
        }
        self._keys = keys
        self._remembered = RememberedTokens(remembered)

    @property
    def remembered_tokens(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._remembered)

    def recall(self, text: str) -> VerifiedToken | None:
        """The token, if it is remembered and the keys that vouched for it are those that the issuer has now.

        Raises:
            KeysUnavailable: It is remembered, and the issuer has no keys that may still be relied on.
        """
        # A text too large to be a token would only cost its hash.
        remembered = self._remembered.recall(text) if len(text) <= MAX_TOKEN_BYTES else None
        return remembered if remembered is not None and self.is_current(remembered) else None

    def authenticate(self, text: str) -> Generator[Wait, KeySet, VerifiedToken]:
        """The token, its signature checked against the keys that the issuer has now. Remembers it.

        Raises:
            Rejected: It is not good, whatever the time and the demand.
            KeysUnavailable: Nobody could say.
        """
        token = parse_token(text)
        policy = self._policy_of(token)
        claims = read_claims(token, policy)
        key_set = self._keys.key_set(policy.issuer)
        key = _verifying_key(token, key_set, policy)
        if key is None:
            key_set = yield partial(self._keys.key_set_with, policy.issuer, token.key_id)
            candidates = candidate_keys(token, key_set, policy)
            if not candidates:
                raise Rejected(Reason.UNKNOWN_KEY, "the issuer publishes no such key")
            key = verify_signature(token, candidates)
        verified = VerifiedToken(
            policy=policy,
            claims=claims,
            session=Session(
                issuer=policy.issuer,
                session_handle=claims.session_handle,
                user_id=claims.user_id,
                tenant_id=claims.tenant_id,
                token_issue_time=claims.issue_time,
                token_expire_time=claims.expire_time,
                claims_json=token.claims_json,
            ),
            token_type=token.token_type,
            key=key,
            key_set_generation=key_set.generation,
            subject=Subject(policy.issuer, claims.session_handle, claims.user_id, claims.tenant_id, key.thumbprint),
        )
        self._remembered.remember(text, verified)
        return verified

    def is_current(self, token: VerifiedToken) -> bool:
        """Whether the key set that vouched for it is still the issuer's. Raises KeysUnavailable."""
        return self._keys.key_set(token.policy.issuer).generation == token.key_set_generation

    def _policy_of(self, token: ParsedToken) -> IssuerPolicy:
        issuer = issuer_of(token)
        policy = self._policies.get(issuer)
        if policy is None:
            if issuer is None:
                raise Rejected(Reason.MISSING_CLAIM, "the token has no iss")
            raise Rejected(Reason.WRONG_ISSUER, "no configured issuer goes by the token's iss")
        return policy


def _verifying_key(token: ParsedToken, key_set: KeySet, policy: IssuerPolicy) -> VerificationKey | None:
    """The key that verifies the token. None: the set may lack it, and the issuer have added it since.

    That is so if the set has no such `kid`, or if the token names none and no key of the set has signed it.

    Raises:
        Rejected: The token names a key that has not signed it, or may not.
    """
    candidates = candidate_keys(token, key_set, policy)
    if not candidates:
        return None
    try:
        return verify_signature(token, candidates)
    except Rejected:
        if token.key_id is None:
            return None
        raise
