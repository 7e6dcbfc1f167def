"""A grant: who may do what on the admin listener."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sidegate_sidecar.access import Grant, Role, check_subject, issuer_of_subject
from sidegate_sidecar.settings.issuer_entry import IssuerEntry
from sidegate_sidecar.settings.values import Names


def _known_subject(subject: str) -> str:
    check_subject(subject)
    return subject


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or "" in names:
        raise ValueError("must name at least one, and none that is empty; leave it out for all")
    return names


def _known_roles(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("must not be empty")
    unknown = sorted(set(names) - set(Role))
    if unknown:
        raise ValueError(f"no such role: {', '.join(unknown)}; there are {', '.join(sorted(Role))}")
    return names


_Bound = Annotated[Names, AfterValidator(_at_least_one)]


class GrantEntry(BaseModel):
    """Roles of one subject. Without `issuers` on all issuers, without `tenants` on all tenants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_known_subject)]
    roles: Annotated[Names, AfterValidator(_known_roles)]
    issuers: _Bound | None = None
    tenants: _Bound | None = None

    def grant(self) -> Grant:
        """As access to the admin services is decided by it."""
        return Grant(
            self.subject,
            frozenset(map(Role, self.roles)),
            None if self.issuers is None else frozenset(self.issuers),
            None if self.tenants is None else frozenset(self.tenants),
        )


def check_grants(grants: Sequence[GrantEntry], issuers: Sequence[IssuerEntry]) -> None:
    """Refuse grants that name an issuer which is not configured for it: misspelt, they would never be of use.

    Raises:
        ValueError: Naming all of them.
    """
    admin_issuers = {entry.issuer for entry in issuers if entry.admin_use}
    names = {entry.issuer for entry in issuers}
    problems: list[str] = []
    for position, entry in enumerate(grants):
        issuer = issuer_of_subject(entry.subject)
        if issuer is not None and issuer not in admin_issuers:
            problems.append(f"entry {position}: no issuer with admin_use goes by the name in its subject")
        unknown = sorted(set(entry.issuers or ()) - names)
        if unknown:
            problems.append(f"entry {position}: no issuer of that name is configured: {', '.join(unknown)}")
    if problems:
        raise ValueError("; ".join(problems))
