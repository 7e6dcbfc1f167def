"""RevokeTenantSessions, as the store keeps it."""

import asyncio

import pytest
from sidegate_sidecar.errors import PreconditionFailed
from sidegate_sidecar.model import AuditFilter, Coverage, Revision, RevocationKind
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import (
    DAY,
    HOUR,
    ISSUER,
    LIMITS,
    NOW,
    OPS,
    FakeClock,
    StoreFactory,
    log_of,
    revoke_user,
    session,
    subject,
)

OTHER_ISSUER = "https://other.example"


async def test_a_tenant_is_revoked_by_a_watermark_and_then_by_handles(store: SessionStore) -> None:
    await store.register(
        [
            session("s2", tenant="red"),
            session("s1", tenant="red", user="bob"),
            session("b", tenant="blue"),
            session("none"),
            session("o", tenant="red", issuer=OTHER_ISSUER),
        ]
    )

    outcome = await store.revoke_tenant(ISSUER, "red", OPS)

    assert outcome.revoked_count == 2
    assert outcome.revision == Revision((await store.read_log(1, 1)).store_id, 3)
    watermark, *handles = await log_of(store)
    assert (watermark.kind, watermark.issuer, watermark.subject) == (RevocationKind.TENANT, ISSUER, "red")
    assert (watermark.tenant_id, watermark.except_session_handle) == (None, None)
    assert [(entry.kind, entry.subject) for entry in handles] == [
        (RevocationKind.SESSION, "s1"),
        (RevocationKind.SESSION, "s2"),
    ]
    assert {entry.revoke_time for entry in (watermark, *handles)} == {NOW}


async def test_the_audit_trail_tells_what_ended_a_session_and_whose_it_was(store: SessionStore) -> None:
    await store.register([session("s1", tenant="red", user="bob")])
    await store.revoke_tenant(ISSUER, "red", OPS)

    handle, watermark = await store.list_revocations(AuditFilter(), before=None, limit=10)

    assert (handle.user_id, handle.cause_sequence) == ("bob", 1)
    assert (watermark.user_id, watermark.cause_sequence) == ("", 0)
    assert await store.list_revocations(AuditFilter(tenant_id="red"), before=None, limit=10) == [watermark]


async def test_a_tenant_without_sessions_gets_a_watermark(store: SessionStore) -> None:
    assert (await store.revoke_tenant(ISSUER, "red", OPS)).revoked_count == 0
    assert (await store.revoke_tenant(ISSUER, "red", OPS)).revoked_count == 0

    assert [entry.kind for entry in await log_of(store)] == [RevocationKind.TENANT, RevocationKind.TENANT]


async def test_the_sessions_of_no_tenant_are_never_a_tenants(store: SessionStore) -> None:
    await store.register([session("none")])
    await store.revoke_tenant(ISSUER, "red", OPS)

    [facts] = await store.look_up([subject("none")])

    assert facts.coverage == Coverage()


async def test_what_has_ended_already_is_neither_counted_nor_logged(store: SessionStore, clock: FakeClock) -> None:
    await store.register(
        [
            session("gone", tenant="red"),
            session("past", tenant="red", expire_time=NOW + HOUR),
            session("with-her", tenant="red", user="eve"),
            session("alive", tenant="red"),
        ]
    )
    await store.revoke_sessions(ISSUER, ["gone"], OPS)
    await revoke_user(store, "eve")
    clock.now = NOW + HOUR  # at its session_expire_time a session is expired

    assert (await store.revoke_tenant(ISSUER, "red", OPS)).revoked_count == 1

    assert [entry.subject for entry in await log_of(store)][-2:] == ["red", "alive"]


async def test_a_tenants_watermark_is_kept_as_long_as_any_session_can_live(store: SessionStore) -> None:
    await store.register([session("s1", tenant="red", expire_time=NOW + 7 * DAY)])
    await store.revoke_tenant(ISSUER, "red", OPS)

    watermark, handle = await log_of(store)
    afterlife = LIMITS.max_token_lifetime + LIMITS.leeway
    assert watermark.forget_time == NOW + LIMITS.max_session_lifetime + afterlife
    assert handle.forget_time == NOW + 7 * DAY + afterlife


async def test_the_newest_watermark_covers_every_session_of_the_tenant(store: SessionStore, clock: FakeClock) -> None:
    clock.now = NOW + HOUR
    await store.revoke_tenant(ISSUER, "red", OPS)
    clock.now = NOW  # stepped back: the last is not the newest
    await store.revoke_tenant(ISSUER, "red", OPS)

    facts = await store.look_up(
        [
            subject("s1", tenant="red"),
            subject("", user="bob", tenant="red"),
            subject("s1", tenant="blue"),
            subject("s1"),
            subject("s1", tenant="red", issuer=OTHER_ISSUER),
        ]
    )

    assert [each.coverage for each in facts] == [
        Coverage(tenant_watermark=NOW + HOUR),
        Coverage(tenant_watermark=NOW + HOUR),
        Coverage(),
        Coverage(),
        Coverage(),
    ]


async def test_a_watermark_of_the_tenant_spares_nobody_that_one_of_the_user_spared(store: SessionStore) -> None:
    await store.register([session("s1", tenant="red")])
    await revoke_user(store, spare="s1")

    assert (await store.revoke_tenant(ISSUER, "red", OPS)).revoked_count == 1

    [facts] = await store.look_up([subject("s1", tenant="red")])
    assert facts.coverage == Coverage(session_revoked=True, tenant_watermark=NOW)


async def test_a_beginning_that_the_tenants_watermark_covers_is_refused(store: SessionStore) -> None:
    await store.revoke_tenant(ISSUER, "red", OPS)

    with pytest.raises(PreconditionFailed) as refused:
        await store.register([session("s1", tenant="red", create_time=NOW)])

    assert refused.value.reason == "CREATE_TIME_REVOKED"


async def test_a_login_after_the_revocation_of_a_tenant_begins_after_it(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_tenant(ISSUER, "red", OPS)
    clock.now -= HOUR

    red, blue = await store.register([session("r", tenant="red"), session("b", tenant="blue")])

    assert (red.create_time, blue.create_time) == (NOW + 1, NOW - HOUR)


async def test_a_login_racing_a_revocation_of_its_tenant_is_on_one_side_of_it_or_the_other(
    store: SessionStore, open_store: StoreFactory
) -> None:
    """The clock stands still: whoever comes after a watermark begins one microsecond later, and is alive."""
    other = await open_store()

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(other.register([session(f"s{number}", tenant="red", user=f"u{number}")]))
            group.create_task(store.register([session(f"t{number}", tenant="red", user=f"u{number}")]))
        ends = [group.create_task(store.revoke_tenant(ISSUER, "red", OPS)) for _ in range(3)]

    ended = {entry.subject for entry in await log_of(store) if entry.kind is RevocationKind.SESSION}
    assert sum(end.result().revoked_count for end in ends) == len(ended)
    for handle in (f"{letter}{number}" for letter in "st" for number in range(20)):
        record = await store.get_session(ISSUER, handle)
        assert record is not None
        assert (record.revoke_time is not None) is (handle in ended)
        assert handle in ended or record.create_time > NOW
