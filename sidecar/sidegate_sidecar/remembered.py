"""A bounded memory of verified tokens, so that a token seen before costs no parsing and no signature check.

What it spares is the proof that the issuer signed these bytes, and no more: whoever recalls a token checks time, claims
and revocations again. Negative answers are never remembered.
"""

import sys
from collections import OrderedDict
from hashlib import sha256
from typing import NamedTuple

from sidegate_sidecar.model import Session, Subject, VerificationKey
from sidegate_sidecar.tokens import IssuerPolicy, TokenClaims

MAX_BYTES = 64 * 1024 * 1024  # of payloads; 10,000 tokens of the largest size would be 120 MB and more


class VerifiedToken(NamedTuple):
    """A token whose signature was checked, and what it was checked against.

    Attributes:
        session: What the answer to an acceptance says, ready to be given again and again.
        key: The key that verified it.
        key_set_generation: The generation of the issuer's key set that the key was taken from.
        subject: What revocations of its session are looked up by.
    """

    policy: IssuerPolicy
    claims: TokenClaims
    session: Session
    token_type: str | None
    key: VerificationKey
    key_set_generation: int
    subject: Subject

    def __repr__(self) -> str:
        return "<VerifiedToken>"  # the claims would end up in whatever prints this


class RememberedTokens:
    """The most recently used of the verified tokens, by the SHA-256 of their whole text.

    The whole text, for two spellings of one signature are two tokens (docs/hostile-tokens.md rows 8 and 23), and a
    hash, so that no token lies in memory longer than its call.

    Args:
        limit: How many at most. 0 remembers none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tokens: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._bytes = 0

    def recall(self, text: str) -> VerifiedToken | None:
        """The token of that text, if it is remembered. The caller compares the generation with the current one."""
        name = _name(text)
        token = self._tokens.get(name)
        if token is not None:
            self._tokens.move_to_end(name)
        return token

    def remember(self, text: str, token: VerifiedToken) -> None:
        """Keep a token whose signature has just been checked, in place of the least recently used."""
        if not self._limit:
            return
        name = _name(text)
        self._forget(name)
        self._tokens[name] = token
        self._bytes += _size(token)
        while len(self._tokens) > self._limit or self._bytes > MAX_BYTES:
            self._forget(next(iter(self._tokens)))

    def __len__(self) -> int:
        return len(self._tokens)

    def _forget(self, name: bytes) -> None:
        token = self._tokens.pop(name, None)
        if token is not None:
            self._bytes -= _size(token)


def _size(token: VerifiedToken) -> int:
    """The bytes that grow with the token. A text takes up to four a character, and each audience is an object."""
    return sys.getsizeof(token.session.claims_json) + sum(map(sys.getsizeof, token.claims.audiences))


def _name(text: str) -> bytes:
    # A text with a lone surrogate is no token, but it can be asked about.
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
