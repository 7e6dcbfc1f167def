"""Tells who is calling from what they bring, and refuses whoever has no role for the RPC."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sidegate_sidecar.access.certificates import Certificate
from sidegate_sidecar.access.grants import Caller, Grant, token_subject
from sidegate_sidecar.access.roles import ROLES_FOR
from sidegate_sidecar.errors import PermissionDenied, Unauthenticated
from sidegate_sidecar.model import Clock, Demand, Session, Verdict


class Tokens(Protocol):
    """Verifies admin tokens: those of the issuers marked for admin use, and no others."""

    async def verify(self, demand: Demand) -> Verdict:
        """The verdict on one token. Raises Undecided."""
        ...


class Authority:
    """Identifies callers. Everything is checked again on every call: a credential ends when it ends.

    Args:
        grants: Who may do what. Nobody else may do anything.
        tokens: Verifies admin tokens.
        clock: Tells certificates that are good from those that are no more.
    """

    def __init__(self, grants: Iterable[Grant], tokens: Tokens, clock: Clock) -> None:
        by_subject: dict[str, list[Grant]] = {}
        for grant in grants:
            by_subject.setdefault(grant.subject, []).append(grant)
        self._grants: Mapping[str, Sequence[Grant]] = by_subject
        self._tokens = tokens
        self._clock = clock

    async def identify(self, method: str, certificate: Certificate | None, token: str | None) -> Caller:
        """Who is calling, with their grants for that method. A token, if one is brought, decides alone.

        Raises:
            Unauthenticated: Nothing is brought, or it is not good.
            PermissionDenied: They have no role for the method.
            Undecided: Nobody could say whether the token is good.
        """
        if token is not None:
            return self._caller(method, await self._subjects_of_token(token))
        if certificate is None:
            raise Unauthenticated("no credential")
        if not certificate.begin_time <= self._clock() <= certificate.expire_time:
            raise Unauthenticated("the certificate is not good at this time")
        if not certificate.subjects:
            raise Unauthenticated("the certificate has neither a URI nor a DNS name")
        return self._caller(method, certificate.subjects)

    async def _subjects_of_token(self, token: str) -> Sequence[str]:
        verdict = await self._tokens.verify(Demand(token))
        if isinstance(verdict.outcome, Session):
            return (token_subject(verdict.outcome.issuer, verdict.outcome.user_id),)
        rejection = verdict.outcome
        raise Unauthenticated(
            f"the token is {rejection.reason.value}", metadata={"rejection_reason": rejection.reason.value}
        )

    def _caller(self, method: str, subjects: Sequence[str]) -> Caller:
        granted = [subject for subject in subjects if subject in self._grants]
        if not granted:
            raise PermissionDenied("no grant", actor=subjects[0])
        actor = granted[0]
        roles = ROLES_FOR.get(method, frozenset())
        fitting = [grant for subject in granted for grant in self._grants[subject] if not roles.isdisjoint(grant.roles)]
        if not fitting:
            raise PermissionDenied("no role for this RPC", actor=actor)
        return Caller(actor, fitting)
