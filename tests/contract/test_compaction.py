"""Compaction: what matters to nobody any more is removed, and nothing else."""

import asyncio

import pytest
from sidegate_sidecar.model import AuditFilter, Coverage, Removed, StoreLimits
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
    compact_all,
    log_of,
    revoke_user,
    session,
    subject,
)

AFTERLIFE = LIMITS.max_token_lifetime + LIMITS.leeway
FORGOTTEN = NOW + LIMITS.max_session_lifetime + AFTERLIFE
"""When a handle that nobody registered, revoked at NOW, is forgotten."""


async def test_an_empty_store_has_nothing_to_remove(store: SessionStore) -> None:
    assert await store.compact(10) == Removed(0, 0)

    page = await store.read_log(1, 10)
    assert (page.horizon, page.removed) == (0, 0)


async def test_an_entry_is_removed_when_its_time_has_come_and_not_before(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1", "s2"], OPS)
    clock.now = FORGOTTEN - 1
    assert await store.compact(10) == Removed(0, 0)

    clock.now = FORGOTTEN
    assert await store.compact(10) == Removed(1, 0)

    page = await store.read_log(1, 10)
    assert [entry.subject for entry in page.entries] == ["s2"]
    assert (page.horizon, page.removed, page.head) == (1, 1, 2)
    [facts] = await store.look_up([subject("s1")])
    assert facts.coverage == Coverage()
    audit = await store.list_revocations(AuditFilter(), before=None, limit=10)
    assert [entry.entry.subject for entry in audit] == ["s2"]


async def test_the_revocation_of_a_session_that_had_expired_outlives_every_token_issued_until_then(
    store: SessionStore, clock: FakeClock
) -> None:
    await store.register([session("s1", expire_time=NOW + HOUR)])
    clock.now = NOW + HOUR + AFTERLIFE  # the register's own time is over; its issuer has gone on issuing tokens
    await store.revoke_sessions(ISSUER, ["s1", "last"], OPS)
    clock.now += AFTERLIFE - 1

    assert await compact_all(store) == Removed(0, 1)
    [facts] = await store.look_up([subject("s1")])
    assert facts.coverage.session_revoked

    clock.now += 1
    assert await compact_all(store) == Removed(1, 0)


async def test_the_newest_entry_stays_until_there_is_a_newer_one(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    clock.now = FORGOTTEN + DAY

    assert await compact_all(store) == Removed(0, 0)
    [kept] = await log_of(store)
    await store.revoke_sessions(ISSUER, ["s2"], OPS)
    assert await compact_all(store) == Removed(1, 0)

    assert kept.subject == "s1"
    assert [entry.sequence for entry in await log_of(store)] == [2]


async def test_the_horizon_is_the_highest_entry_removed_whatever_stays_below_it(
    store: SessionStore, clock: FakeClock
) -> None:
    await store.register([session("short", expire_time=NOW + HOUR), session("long", expire_time=NOW + 10 * DAY)])
    await store.revoke_sessions(ISSUER, ["long", "short", "unknown"], OPS)
    clock.now = NOW + HOUR + AFTERLIFE

    assert await store.compact(10) == Removed(1, 1)

    page = await store.read_log(1, 10)
    assert [entry.sequence for entry in page.entries] == [1, 3]
    assert (page.horizon, page.removed, page.head) == (2, 1, 3)

    clock.now = NOW + 10 * DAY + AFTERLIFE
    await store.compact(10)

    page = await store.read_log(1, 10)
    assert [entry.sequence for entry in page.entries] == [3]
    assert (page.horizon, page.removed, page.head) == (2, 2, 3)  # the horizon never goes back


async def test_a_page_begins_at_the_first_entry_that_is_left(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1", "s2", "s3"], OPS)
    clock.now = FORGOTTEN
    await store.revoke_sessions(ISSUER, ["s4", "s5"], OPS)
    await compact_all(store)

    assert [[each.sequence for each in (await store.read_log(first, 1)).entries] for first in (1, 4, 5, 6)] == [
        [4],
        [4],
        [5],
        [],
    ]


async def test_an_empty_page_tells_the_horizon_too(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1", "s2"], OPS)
    clock.now = FORGOTTEN
    await compact_all(store)

    page = await store.read_log(3, 10)

    assert (page.entries, page.head, page.horizon, page.removed) == ((), 2, 1, 1)


async def test_sequences_go_on_as_if_nothing_had_been_removed(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1", "s2"], OPS)
    clock.now = FORGOTTEN
    await compact_all(store)

    outcome = await store.revoke_sessions(ISSUER, ["s3"], OPS)

    assert outcome.revision.sequence == 3
    assert [entry.sequence for entry in await log_of(store)] == [2, 3]


async def test_a_watermark_is_forgotten_like_any_entry(store: SessionStore, clock: FakeClock) -> None:
    await revoke_user(store)
    await store.revoke_tenant(ISSUER, "red", OPS)
    clock.now = FORGOTTEN
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert await compact_all(store) == Removed(2, 0)

    [facts] = await store.look_up([subject("s2", tenant="red")])
    assert facts.coverage == Coverage()


async def test_a_session_is_removed_when_its_last_token_has_expired_and_not_before(
    store: SessionStore, clock: FakeClock
) -> None:
    await store.register([session("s1", expire_time=NOW + HOUR), session("s2", expire_time=NOW + HOUR + 1)])
    clock.now = NOW + HOUR + AFTERLIFE - 1
    assert await store.compact(10) == Removed(0, 0)

    clock.now += 1
    assert await store.compact(10) == Removed(0, 1)

    listed = await store.list_sessions(ISSUER, "ada", after="", limit=10)
    assert [each.session_handle for each in listed] == ["s2"]
    assert await store.get_session(ISSUER, "s1") is None
    [facts] = await store.look_up([subject("s1")])
    assert facts.record is None


async def test_a_session_that_lives_on_is_kept(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("s1", expire_time=NOW + HOUR)])
    await store.register([session("s1", expire_time=NOW + 30 * DAY)])
    clock.now = NOW + HOUR + AFTERLIFE

    assert await store.compact(10) == Removed(0, 0)


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_calling_it_again_removes_the_rest_whatever_the_limit(
    store: SessionStore, clock: FakeClock, limit: int
) -> None:
    await store.register([session(f"s{number}", expire_time=NOW + HOUR + number) for number in range(9)])
    await store.revoke_sessions(ISSUER, [f"s{number}" for number in range(0, 9, 2)], OPS)
    await store.revoke_sessions(ISSUER, ["unknown", "last"], OPS)
    clock.now = FORGOTTEN

    assert await compact_all(store, limit) == Removed(6, 9)

    assert [entry.subject for entry in await log_of(store)] == ["last"]
    assert (await store.read_log(1, 1)).horizon == 6


async def test_no_step_forgets_the_revocation_of_a_session_that_is_still_there(
    store: SessionStore, clock: FakeClock
) -> None:
    """It could be registered again, and would go on where it was revoked."""
    await store.register([session(f"s{number}", expire_time=NOW + HOUR + number) for number in range(5)])
    await store.register([session("past", expire_time=NOW + HOUR)])
    await store.revoke_sessions(ISSUER, ["s4"], OPS)
    clock.now = NOW + 2 * HOUR  # "past" has expired: its user's watermark covers it, its handle is not logged
    await revoke_user(store)
    await store.revoke_sessions(ISSUER, ["last"], OPS)
    clock.now = FORGOTTEN + 2 * HOUR

    removed = Removed(1, 1)
    while removed != Removed(0, 0):
        for record in await store.list_sessions(ISSUER, "ada", after="", limit=10):
            [facts] = await store.look_up([subject(record.session_handle)])
            assert facts.coverage.session_revoked is (record.session_handle == "s4")
            assert facts.coverage.user_watermark == NOW + 2 * HOUR
        removed = await store.compact(1)

    assert [entry.subject for entry in await log_of(store)] == ["last"]


async def test_raised_limits_put_off_removing(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("s1", expire_time=NOW + HOUR)])
    await store.revoke_sessions(ISSUER, ["s1", "unknown"], OPS)
    await store.revoke_key(ISSUER, "thumbprint", OPS, key_id=None)
    await store.raise_limits(StoreLimits(LIMITS.max_token_lifetime + DAY, LIMITS.leeway, LIMITS.max_session_lifetime))
    clock.now = NOW + HOUR + AFTERLIFE + DAY - 1
    assert await store.compact(10) == Removed(0, 0)

    clock.now += 1
    assert await store.compact(10) == Removed(1, 1)

    assert [(entry.subject, entry.forget_time) for entry in await log_of(store)] == [
        ("unknown", FORGOTTEN + DAY),
        ("thumbprint", None),
    ]


async def test_a_handle_that_was_forgotten_may_be_registered_anew(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1", "last"], OPS)
    clock.now = FORGOTTEN
    await compact_all(store)

    [recorded] = await store.register([session("s1", expire_time=FORGOTTEN + DAY)])

    assert recorded.create_time == FORGOTTEN


async def test_several_may_compact_while_others_revoke(
    store: SessionStore, open_store: StoreFactory, clock: FakeClock
) -> None:
    other = await open_store()
    await store.register([session(f"s{number}", expire_time=NOW + HOUR) for number in range(40)])
    await store.revoke_sessions(ISSUER, [f"s{number}" for number in range(40)], OPS)
    clock.now = FORGOTTEN

    async with asyncio.TaskGroup() as group:
        group.create_task(compact_all(store, 7))
        group.create_task(compact_all(other, 5))
        revoked = [group.create_task(other.revoke_sessions(ISSUER, [f"new{each}"], OPS)) for each in range(10)]
    await compact_all(store)

    assert sorted(each.result().revision.sequence for each in revoked) == list(range(41, 51))
    assert [entry.sequence for entry in await log_of(store)] == list(range(41, 51))
    page = await other.read_log(1, 100)
    assert (page.horizon, page.removed) == (40, 40)
