"""Finds what must not be in a history: promises of docs/concepts.md about revocations that were broken.

It knows no sidecar and no store, and looks at a history alone. A revocation covers a session surely, or only perhaps:
of a user's sessions surely those registered before it began, and perhaps those registered while it was under way. One
whose outcome is unknown may have happened at any moment from its beginning on, or never.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from sidegate import Revision

from tests.history.operations import (
    Answer,
    History,
    Outcome,
    Registration,
    Revocation,
    Verification,
)

DATABASE_SECONDS = 0.3  # within which `check_database` gives up on a database that is down


class Rule(Enum):
    """What was broken."""

    DATABASE_CHECK = "check_database accepted a session whose revocation was acknowledged before"
    OWN_REVISION = "accepted, although the verdict's own revision includes the revocation"
    WHERE_IT_WAS_TAKEN = "accepted by the sidecar that had acknowledged the revocation"
    READ_YOUR_REVOCATION = "accepted, although asked to be as fresh as the revocation"
    DURABILITY = "an acknowledged revocation is not in the log"
    LOG_ORDER = "the log has a gap, or an entry twice, or one without its cause"
    REVIVAL = "a revoked handle was registered"
    INVENTION = "refused, and no revocation explains it"
    STATELESS = "no verdict where neither database nor anything else is needed"
    OUTAGE_DATABASE_CHECK = "check_database accepted without a database"
    OUTAGE_PATIENCE = "check_database took too long to say that there is no database"
    ONE_STORE = "revisions of two stores, although nothing was restored"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, and the operations that break it."""

    rule: Rule
    evidence: str

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.rule.value}\n    {self.evidence}"


def violations(history: History, *, patience: float = DATABASE_SECONDS) -> list[Violation]:
    """Everything that is wrong with a history; empty: nothing is.

    Args:
        patience: Seconds that a `check_database` may take during an outage. Add what a busy machine needs.
    """
    return [*_Checker(history, patience).run()]


class _Checker:
    def __init__(self, history: History, patience: float) -> None:
        self._history = history
        self._patience = patience
        self._registered: dict[str, list[Registration]] = defaultdict(list)
        for registration in history.registrations:
            if registration.outcome is not Outcome.DECLINED:
                self._registered[registration.handle].append(registration)
        self._of_handle: dict[str, list[Revocation]] = defaultdict(list)
        self._of_user: dict[str, list[Revocation]] = defaultdict(list)
        for revocation in history.revocations:
            if revocation.outcome is Outcome.DECLINED:
                continue
            if revocation.handle is not None:
                self._of_handle[revocation.handle].append(revocation)
            elif revocation.user_id is not None:
                self._of_user[revocation.user_id].append(revocation)
        self._logged = {record.handle: record.revision for record in history.log or () if record.handle is not None}

    def run(self) -> Iterator[Violation]:
        yield from self._check_store()
        for verification in self._history.verifications:
            match verification.answer:
                case Answer.VALID:
                    yield from self._check_acceptance(verification)
                case Answer.UNAVAILABLE:
                    yield from self._check_silence(verification)
                case Answer.REVOKED | Answer.REFUSED:
                    yield from self._check_refusal(verification)
            for outage in self._history.outages:
                if outage.contains(verification):
                    yield from self._check_in_outage(verification)
        for registration in self._history.registrations:
            yield from self._check_registration(registration)
        if self._history.log is not None:
            yield from self._check_log()
            for revocation in self._history.revocations:
                yield from self._check_durability(revocation)

    def _check_acceptance(self, verification: Verification) -> Iterator[Violation]:
        logged = self._logged.get(verification.handle)
        if _reaches(verification.revision, logged):
            yield Violation(Rule.OWN_REVISION, f"{verification} although it is logged at {logged}")
        for revocation in self._touching(verification.handle, verification.user_id):
            if revocation.outcome is not Outcome.ACKNOWLEDGED or not self._surely_covers(revocation, verification):
                continue
            evidence = f"{verification} after {revocation}"
            if _reaches(verification.revision, revocation.revision):
                yield Violation(Rule.OWN_REVISION, evidence)
            if _reaches(verification.at_least_as_fresh, revocation.revision):
                yield Violation(Rule.READ_YOUR_REVOCATION, evidence)
            if revocation.ended < verification.began:
                if verification.check_database:
                    yield Violation(Rule.DATABASE_CHECK, evidence)
                if verification.sidecar == revocation.sidecar:
                    yield Violation(Rule.WHERE_IT_WAS_TAKEN, evidence)

    def _check_refusal(self, verification: Verification) -> Iterator[Violation]:
        explained = verification.answer is Answer.REVOKED and any(
            revocation.began < verification.ended and self._perhaps_covers(revocation, verification)
            for revocation in self._touching(verification.handle, verification.user_id)
        )
        if not explained:
            yield Violation(Rule.INVENTION, str(verification))

    def _check_silence(self, verification: Verification) -> Iterator[Violation]:
        if (
            not verification.check_database
            and verification.at_least_as_fresh is None
            # A token issued at the time of its user's revocation cannot be judged without the register.
            and not self._of_user[verification.user_id]
            and not any(
                downtime.sidecar == verification.sidecar
                and downtime.began < verification.ended
                and verification.began < downtime.ended
                for downtime in self._history.downtimes
            )
        ):
            yield Violation(Rule.STATELESS, str(verification))

    def _check_in_outage(self, verification: Verification) -> Iterator[Violation]:
        if verification.check_database:
            if verification.answer is Answer.VALID:
                yield Violation(Rule.OUTAGE_DATABASE_CHECK, str(verification))
            if verification.ended - verification.began > self._patience:
                yield Violation(Rule.OUTAGE_PATIENCE, str(verification))

    def _check_registration(self, registration: Registration) -> Iterator[Violation]:
        for revocation in self._of_handle[registration.handle]:
            if (
                registration.outcome is Outcome.ACKNOWLEDGED
                and revocation.outcome is Outcome.ACKNOWLEDGED
                and revocation.ended < registration.began
            ):
                yield Violation(Rule.REVIVAL, f"{registration} after {revocation}")

    def _check_log(self) -> Iterator[Violation]:
        log = sorted(self._history.log or (), key=lambda record: record.revision.sequence)
        for expected, record in enumerate(log, start=1):
            if record.revision.sequence != expected:
                yield Violation(Rule.LOG_ORDER, f"{record} in place of {expected}")
                return  # and everything after it is out of place too
        users = {record.revision.sequence for record in log if record.user_id is not None and record.handle is None}
        for record in log:
            if record.cause is not None and record.cause not in users:
                yield Violation(Rule.LOG_ORDER, f"{record}, whose cause is none")

    def _check_durability(self, revocation: Revocation) -> Iterator[Violation]:
        if revocation.outcome is not Outcome.ACKNOWLEDGED:
            return
        if revocation.handle is not None:
            if not _reaches(revocation.revision, self._logged.get(revocation.handle)):
                yield Violation(Rule.DURABILITY, str(revocation))
            return
        if not any(
            record.handle is None
            and record.user_id == revocation.user_id
            and _reaches(revocation.revision, record.revision)
            for record in self._history.log or ()
        ):
            yield Violation(Rule.DURABILITY, str(revocation))
        for handle, registrations in self._registered.items():
            if (
                registrations[0].user_id == revocation.user_id
                and self._surely_began_before(handle, revocation.began)
                and handle != revocation.spared
                and not _reaches(revocation.revision, self._logged.get(handle))
            ):
                yield Violation(Rule.DURABILITY, f"{handle} of {revocation}")

    def _check_store(self) -> Iterator[Violation]:
        revisions = [
            *(verification.revision for verification in self._history.verifications),
            *(revocation.revision for revocation in self._history.revocations),
            *(record.revision for record in self._history.log or ()),
        ]
        store_ids = {revision.store_id for revision in revisions if revision is not None}
        if len(store_ids) > 1:
            yield Violation(Rule.ONE_STORE, ", ".join(sorted(store_ids)))

    def _touching(self, handle: str, user_id: str) -> list[Revocation]:
        return [
            *self._of_handle[handle],
            *(revocation for revocation in self._of_user[user_id] if revocation.spared != handle),
        ]

    def _surely_covers(self, revocation: Revocation, verification: Verification) -> bool:
        return revocation.handle is not None or self._surely_began_before(verification.handle, revocation.began)

    def _perhaps_covers(self, revocation: Revocation, verification: Verification) -> bool:
        if revocation.handle is not None or revocation.outcome is Outcome.UNKNOWN:
            return True
        registrations = self._registered.get(verification.handle)
        return registrations is None or any(registration.began < revocation.ended for registration in registrations)

    def _surely_began_before(self, handle: str, instant: float) -> bool:
        registrations = self._registered.get(handle)
        return registrations is None or any(
            registration.outcome is Outcome.ACKNOWLEDGED and registration.ended < instant
            for registration in registrations
        )


def _reaches(here: Revision | None, wanted: Revision | None) -> bool:
    return here is not None and wanted is not None and here.sequence >= wanted.sequence
