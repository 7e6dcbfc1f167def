"""Idempotency keys: what identifies a request, and how its answer is kept for a replay. The same for every backend."""

import hashlib
import json
from dataclasses import asdict

from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import SECOND, Micros, Revision, SessionsEnded, SessionsRevoked

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


def kept(answer: SessionsRevoked | SessionsEnded) -> str:
    """An answer as JSON."""
    return json.dumps(asdict(answer))


def sessions_revoked(text: str) -> SessionsRevoked:
    """The answer that `kept` wrote."""
    answer = json.loads(text)
    return SessionsRevoked(newly_revoked=tuple(answer["newly_revoked"]), revision=Revision(**answer["revision"]))


def user_revoked(text: str) -> SessionsEnded:
    """The answer that `kept` wrote."""
    answer = json.loads(text)
    return SessionsEnded(revoked_count=answer["revoked_count"], revision=Revision(**answer["revision"]))
