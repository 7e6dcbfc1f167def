"""The store's clock steps back by an hour between two revocations: the log's order decides, and nothing comes back."""

from sidegate_sidecar.model import SECOND, Attribution, Removed, Subject
from sidegate_sidecar.revocations.index import RevocationIndex
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import (
    DAY,
    HOUR,
    ISSUER,
    NOW,
    OPS,
    FakeClock,
    compact_all,
    log_of,
    revoke_user,
    session,
    subject,
)

ONCE = Attribution("ops", "", "0f8fad5b-d9cb-469f-a165-70867728950e")


async def index_of(store: SessionStore) -> RevocationIndex:
    """As a follower has it."""
    page = await store.read_log(1, 1000)
    index = RevocationIndex(page.store_id, page.digest_salt)
    index.apply(page.entries, page.horizon)
    return index


async def assert_revoked(store: SessionStore, *wanted: Subject) -> None:
    """By handle or by a watermark at its beginning or later; by store and index alike."""
    index = await index_of(store)
    for each, facts in zip(wanted, await store.look_up(wanted), strict=True):
        assert index.coverage(each) == facts.coverage
        began = NOW if facts.record is None else facts.record.create_time
        assert facts.coverage.session_revoked or (facts.coverage.user_watermark or 0) >= began, each


async def test_every_session_of_a_user_who_is_revoked_twice_ends(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("first")])
    assert await revoke_user(store) == 1
    clock.now -= HOUR
    [second] = await store.register([session("second")])
    assert second.create_time > NOW, "after the watermark, whatever the clock says"

    assert await revoke_user(store) == 1

    assert [entry.revoke_time for entry in await log_of(store)] == [NOW, NOW, NOW - HOUR, NOW - HOUR]
    await assert_revoked(store, subject("first"), subject("second"), subject("unregistered, of before"))
    [third] = await store.register([session("third")])
    [facts] = await store.look_up([subject("third")])
    assert not facts.coverage.session_revoked
    assert third.create_time > (facts.coverage.user_watermark or 0)


async def test_what_the_second_spares_stays_covered_by_the_first(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("spared")])
    await revoke_user(store)
    clock.now -= HOUR

    await revoke_user(store, spare="spared")
    await revoke_user(store, spare="unregistered", accept_unknown=True)

    await assert_revoked(store, subject("spared"), subject("unregistered"), subject("other"))


async def test_what_the_first_spared_ends_by_the_second(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("spared")])
    await revoke_user(store, spare="spared")
    clock.now -= HOUR

    assert await revoke_user(store) == 1

    await assert_revoked(store, subject("spared"), subject("other"))


async def test_a_tenant_and_a_handle_are_revoked_as_ever(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["first"], OPS)
    await store.revoke_tenant(ISSUER, "red", OPS)
    clock.now -= HOUR
    await store.register([session("in tenant", tenant="red")])

    assert (await store.revoke_sessions(ISSUER, ["first", "second"], OPS)).newly_revoked == ("second",)
    assert (await store.revoke_tenant(ISSUER, "red", OPS)).revoked_count == 1

    await assert_revoked(store, subject("first"), subject("second"), subject("in tenant", tenant="red"))
    index = await index_of(store)
    assert index.coverage(subject("unregistered", tenant="red")).tenant_watermark == NOW


async def test_a_replay_is_known_and_nothing_is_forgotten_early(store: SessionStore, clock: FakeClock) -> None:
    first = await store.revoke_sessions(ISSUER, ["first"], ONCE)
    clock.now -= HOUR

    assert await store.revoke_sessions(ISSUER, ["first"], ONCE) == first
    await store.revoke_sessions(ISSUER, ["second"], OPS)
    await store.revoke_sessions(ISSUER, ["newest"], OPS)
    # An hour apart by the clock that wrote them; each is kept for 30 days, a day and a minute by that clock.
    clock.now = NOW - HOUR + 31 * DAY + 60 * SECOND - 1
    assert await compact_all(store) == Removed(0, 0)
    clock.now += 1
    assert await compact_all(store) == Removed(1, 0)

    assert [entry.subject for entry in await log_of(store)] == ["first", "newest"]
    index = await index_of(store)
    assert index.coverage(subject("first")).session_revoked
