"""Idempotency keys: what identifies a request, and how its answer is kept for a replay. The same for every backend."""

import hashlib
import json
from dataclasses import asdict
from typing import Any, TypeAlias, TypeVar

from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import SECOND, KeyRevoked, Micros, Revision, SessionsEnded, SessionsRevoked

Answer: TypeAlias = SessionsRevoked | SessionsEnded | KeyRevoked
AnyAnswer = TypeVar("AnyAnswer", SessionsRevoked, SessionsEnded, KeyRevoked)
"""One of the answers to a revocation."""

REPLAY_SPAN: Micros = 24 * 3600 * SECOND
"""How long an answer is kept, as revocation.proto promises."""


def fingerprint(operation: str, *arguments: object) -> bytes:
    """SHA-256 of what was asked: equal for the same request, different for any other.

    Args:
        arguments: Strings, None, booleans, and lists of them; always in the same order.
    """
    return hashlib.sha256(json.dumps([operation, *arguments]).encode()).digest()


def reused() -> InvalidRequest:
    """The refusal of a request under an idempotency key that stands for another."""
    return InvalidRequest("request_id", "was used for a different request", reason="REQUEST_ID_REUSED")


def fingerprint_of_key(issuer: str, key_thumbprint: str, key_id: str | None, reason: str) -> bytes:
    """Of the revocation of a key: by what the request named it. Its `kid` may name another key by now, or none."""
    return fingerprint("revoke_key", issuer, key_thumbprint if key_id is None else None, key_id, reason)


def kept(answer: Answer) -> str:
    """An answer as JSON."""
    return json.dumps(asdict(answer))


def answer_from(text: str, kind: type[AnyAnswer]) -> AnyAnswer:
    """The answer that `kept` wrote."""
    fields: dict[str, Any] = json.loads(text)
    fields["revision"] = Revision(**fields["revision"])
    if kind is SessionsRevoked:
        fields["newly_revoked"] = tuple(fields["newly_revoked"])  # JSON knows lists alone
    return kind(**fields)
