"""How far a request reaches, and whether a caller's grants reach as far.

A grant that is bound to tenants covers a request only if its tenant is known: because the request names it or, for a
session named by its handle, because the register says so. A handle that nobody registered has no tenant, and is
refused just as one of another tenant: the answer does not tell which of the two it is.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sidegate_sidecar.access.grants import Caller, Grant
from sidegate_sidecar.errors import PermissionDenied
from sidegate_sidecar.model import MAX_NAME_BYTES, StoreFacts, Subject

LookUp: TypeAlias = Callable[[Sequence[Subject]], Awaitable[Sequence[StoreFacts]]]
"""The store's `look_up`."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one part of a request touches.

    Attributes:
        issuer: None: every issuer.
        tenant_id: None: every tenant, or nobody knows which.
        session_handle: It touches this session, whose tenant only the register knows. None: no single session.
    """

    issuer: str | None
    tenant_id: str | None = None
    session_handle: str | None = None


async def check_reach(caller: Caller, reaches: Iterable[Reach], look_up: LookUp) -> None:
    """Refuse a request unless for each of its parts one grant of the caller covers all of it.

    The store is asked only where a grant hangs on what it says.

    Raises:
        PermissionDenied: Some part is covered by no grant.
        StoreUnavailable: The store had to be asked, and did not answer.
    """
    unknown: dict[Subject, None] = {}
    for reach in reaches:
        if _covered(caller.grants, reach):
            continue
        if reach.issuer is None or reach.session_handle is None or not _bound_to_tenants(caller.grants, reach.issuer):
            raise _denied(caller)
        unknown[Subject(reach.issuer, reach.session_handle, user_id="", tenant_id="")] = None
    if not unknown:
        return
    if not all(map(_can_be_registered, unknown)):
        raise _denied(caller)
    for subject, facts in zip(unknown, await look_up(list(unknown)), strict=True):
        record = facts.record
        if record is None or not _covered(caller.grants, Reach(subject.issuer, record.tenant_id)):
            raise _denied(caller)


def _covered(grants: Iterable[Grant], reach: Reach) -> bool:
    return any(_includes(grant.issuers, reach.issuer) and _includes(grant.tenants, reach.tenant_id) for grant in grants)


def _bound_to_tenants(grants: Iterable[Grant], issuer: str) -> bool:
    return any(_includes(grant.issuers, issuer) for grant in grants)


def _includes(bound: frozenset[str] | None, name: str | None) -> bool:
    return bound is None or (name is not None and name in bound)


def _can_be_registered(subject: Subject) -> bool:
    """Whether the store may be asked about it. Nothing else is in it, and at a NUL a query fails."""
    issuer, handle = subject.issuer, subject.session_handle
    return (
        len(issuer) <= MAX_NAME_BYTES  # so many characters can be configured; a batch would repeat 4 MB for each handle
        and 0 < len(handle.encode()) <= MAX_NAME_BYTES
        and "\x00" not in issuer
        and "\x00" not in handle
    )


def _denied(caller: Caller) -> PermissionDenied:
    return PermissionDenied("no role on this issuer and tenant", actor=caller.actor)
