"""Whether a session may be registered, and as what. Pure: the same rules for every backend."""

from collections.abc import Sequence

from sidegate_sidecar.errors import InvalidRequest, PreconditionFailed
from sidegate_sidecar.model import Micros, Registration, SessionRecord, StoreFacts, Subject


def subject_of(registration: Registration) -> Subject:
    """What to look up before judging it."""
    return Subject(registration.issuer, registration.session_handle, registration.user_id, registration.tenant_id)


def judge(registrations: Sequence[Registration], facts: Sequence[StoreFacts], *, now: Micros) -> list[SessionRecord]:
    """The records to write, in the order asked. A handle named twice counts as two registrations, one after the other.

    Args:
        facts: What the store knows of each one's `subject_of`, read while holding the log lock.
        now: The store's clock, read while holding the log lock.

    Raises:
        PreconditionFailed: SESSION_OF_ANOTHER, SESSION_REVOKED, CREATE_TIME_REVOKED.
        InvalidRequest: `session_expire_time` is not after `create_time`.
    """
    judged: dict[tuple[str, str], SessionRecord] = {}
    records: list[SessionRecord] = []
    for position, (registration, known) in enumerate(zip(registrations, facts, strict=True)):
        name = (registration.issuer, registration.session_handle)
        record = _record(registration, known, judged.get(name, known.record), f"requests[{position}]", now)
        judged[name] = record
        records.append(record)
    return records


def _record(
    wanted: Registration, known: StoreFacts, before: SessionRecord | None, field: str, now: Micros
) -> SessionRecord:
    if before is not None and (before.user_id, before.tenant_id) != (wanted.user_id, wanted.tenant_id):
        raise PreconditionFailed(
            "The session handle is registered for another user or tenant.",
            reason="SESSION_OF_ANOTHER",
            metadata={"field": f"{field}.session_handle"},
        )
    if known.coverage.session_revoked:
        raise PreconditionFailed(
            "The session was revoked; its handle can never be registered again.",
            reason="SESSION_REVOKED",
            metadata={"field": f"{field}.session_handle"},
        )
    watermarks = (known.coverage.user_watermark, known.coverage.tenant_watermark)
    watermark = max((each for each in watermarks if each is not None), default=None)
    if before is not None:
        # Covered all the same: it had expired when its user was revoked, so its handle was not revoked with them.
        create_time = before.create_time
    elif wanted.create_time is not None:
        create_time = wanted.create_time
    else:
        # Whoever registers after a revocation began after it, even if the clock has stepped back since.
        create_time = now if watermark is None else max(now, watermark + 1)
    if watermark is not None and create_time <= watermark:
        raise PreconditionFailed(
            "A revocation of the user or tenant covers the time at which the session began.",
            reason="CREATE_TIME_REVOKED",
            metadata={"field": f"{field}.create_time"},
        )
    if wanted.session_expire_time <= create_time:
        raise InvalidRequest(f"{field}.session_expire_time", "must be after create_time")
    return SessionRecord(
        issuer=wanted.issuer,
        session_handle=wanted.session_handle,
        user_id=wanted.user_id,
        tenant_id=wanted.tenant_id,
        create_time=create_time,
        session_expire_time=wanted.session_expire_time,
    )
