"""RegisterSession, as the store keeps it."""

import pytest
from sidegate_sidecar.errors import InvalidRequest, PreconditionFailed
from sidegate_sidecar.model import Registration, SessionRecord
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import DAY, HOUR, ISSUER, NOW, OPS, FakeClock, StoreFactory, revoke_user, session, subject


async def refusal(store: SessionStore, *registrations: Registration) -> tuple[str, str]:
    """The reason and the field of the refusal; fails if there is none."""
    with pytest.raises(PreconditionFailed) as refused:
        await store.register(registrations)
    return refused.value.reason, refused.value.metadata["field"]


async def test_a_session_is_recorded_as_asked(store: SessionStore) -> None:
    asked = session("s1", tenant="red", create_time=NOW - HOUR)

    recorded = await store.register([asked])

    assert recorded == [SessionRecord(ISSUER, "s1", "ada", "red", NOW - HOUR, NOW + DAY)]
    assert await store.get_session(ISSUER, "s1") == recorded[0]


async def test_without_a_create_time_the_session_begins_now_by_the_clock_of_the_store(
    store: SessionStore, clock: FakeClock
) -> None:
    clock.now = NOW + 5

    [recorded] = await store.register([session("s1")])

    assert recorded.create_time == NOW + 5


async def test_what_was_recorded_is_seen_by_a_store_opened_later(store: SessionStore, open_store: StoreFactory) -> None:
    recorded = await store.register([session("s1")])
    await store.close()

    assert [await (await open_store()).get_session(ISSUER, "s1")] == recorded


@pytest.mark.parametrize("create_time", [None, NOW + HOUR], ids=["now", "another"])
async def test_registering_again_moves_the_expiry_and_keeps_the_beginning(
    store: SessionStore, clock: FakeClock, create_time: int | None
) -> None:
    await store.register([session("s1")])
    clock.now += 5

    again = await store.register([session("s1", create_time=create_time, expire_time=NOW + 3 * DAY)])

    assert again == [SessionRecord(ISSUER, "s1", "ada", "", NOW, NOW + 3 * DAY)]
    assert await store.get_session(ISSUER, "s1") == again[0]


@pytest.mark.parametrize(("user", "tenant"), [("bob", "red"), ("ada", "blue"), ("ada", "")])
async def test_the_handle_of_another_user_or_tenant_is_refused(store: SessionStore, user: str, tenant: str) -> None:
    before = await store.register([session("s1", tenant="red")])

    refused = await refusal(store, session("s1", user=user, tenant=tenant, expire_time=NOW + 2 * DAY))

    assert refused == ("SESSION_OF_ANOTHER", "requests[0].session_handle")
    assert await store.get_session(ISSUER, "s1") == before[0]


async def test_a_revoked_session_cannot_be_registered_again(store: SessionStore) -> None:
    await store.register([session("s1")])
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert await refusal(store, session("s1")) == ("SESSION_REVOKED", "requests[0].session_handle")


async def test_a_handle_revoked_before_anybody_registered_it_cannot_be_registered(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert await refusal(store, session("s1")) == ("SESSION_REVOKED", "requests[0].session_handle")
    assert await store.get_session(ISSUER, "s1") is None


@pytest.mark.parametrize("create_time", [NOW - HOUR, NOW], ids=["before T", "at T"])
async def test_a_beginning_that_a_watermark_covers_is_refused(store: SessionStore, create_time: int) -> None:
    await revoke_user(store)

    refused = await refusal(store, session("s1", create_time=create_time))

    assert refused == ("CREATE_TIME_REVOKED", "requests[0].create_time")


async def test_a_beginning_after_the_watermark_is_accepted(store: SessionStore) -> None:
    await revoke_user(store)

    [recorded] = await store.register([session("s1", create_time=NOW + 1)])

    assert recorded.create_time == NOW + 1


@pytest.mark.parametrize("create_time", [0, -1], ids=["the epoch", "before the epoch"])
async def test_where_nothing_was_revoked_any_beginning_will_do(store: SessionStore, create_time: int) -> None:
    [recorded] = await store.register([session("s1", create_time=create_time)])

    assert recorded.create_time == create_time


async def test_a_watermark_covers_its_own_user_issuer_and_tenant_only(store: SessionStore) -> None:
    await revoke_user(store, tenant="red")

    await store.register(
        [
            session("s1", tenant="blue", create_time=NOW - 1),
            session("s2", create_time=NOW - 1),
            session("s3", user="bob", tenant="red", create_time=NOW - 1),
            session("s4", issuer="https://other.example", tenant="red", create_time=NOW - 1),
        ]
    )

    refused = await refusal(store, session("s5", tenant="red", create_time=NOW - 1))
    assert refused == ("CREATE_TIME_REVOKED", "requests[0].create_time")


@pytest.mark.parametrize("step", [0, -HOUR, HOUR], ids=["same instant", "stepped back", "later"])
async def test_a_login_after_a_revocation_begins_after_it_whatever_the_clock_does(
    store: SessionStore, clock: FakeClock, step: int
) -> None:
    await revoke_user(store)
    clock.now += step

    [recorded] = await store.register([session("s1")])

    assert recorded.create_time == max(NOW + 1, NOW + step)


async def test_the_newest_watermark_counts_not_the_last_one(store: SessionStore, clock: FakeClock) -> None:
    await revoke_user(store)
    clock.now -= HOUR
    await revoke_user(store)

    [recorded] = await store.register([session("s1")])

    assert recorded.create_time == NOW + 1


async def test_a_session_that_a_later_watermark_spared_can_be_registered_again(
    store: SessionStore, clock: FakeClock
) -> None:
    await store.register([session("s1")])
    clock.now += HOUR
    await revoke_user(store, spare="s1")

    again = await store.register([session("s1", expire_time=NOW + 2 * DAY)])

    assert again == [SessionRecord(ISSUER, "s1", "ada", "", NOW, NOW + 2 * DAY)]


async def test_a_spared_handle_may_be_registered_with_a_beginning_before_the_watermark(store: SessionStore) -> None:
    await revoke_user(store, spare="s1", accept_unknown=True)

    [recorded] = await store.register([session("s1", create_time=NOW - HOUR)])

    assert recorded.create_time == NOW - HOUR


async def test_a_session_that_had_expired_when_its_user_was_revoked_cannot_be_revived(
    store: SessionStore, clock: FakeClock
) -> None:
    await store.register([session("s1", expire_time=NOW + HOUR)])
    clock.now += 2 * HOUR
    await revoke_user(store)

    refused = await refusal(store, session("s1", expire_time=NOW + DAY))

    assert refused == ("CREATE_TIME_REVOKED", "requests[0].create_time")


async def test_one_refusal_refuses_the_whole_batch(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s3"], OPS)

    refused = await refusal(store, session("s1"), session("s2"), session("s3"), session("s4"))

    assert refused == ("SESSION_REVOKED", "requests[2].session_handle")
    assert await store.list_sessions(ISSUER, "ada", after="", limit=10) == []


async def test_a_handle_named_twice_is_two_registrations_in_order(store: SessionStore) -> None:
    first, second = await store.register(
        [
            session("s1", create_time=NOW - HOUR),
            session("s1", create_time=NOW, expire_time=NOW + 2 * DAY),
        ]
    )

    assert first == SessionRecord(ISSUER, "s1", "ada", "", NOW - HOUR, NOW + DAY)
    assert second == SessionRecord(ISSUER, "s1", "ada", "", NOW - HOUR, NOW + 2 * DAY)
    assert await store.get_session(ISSUER, "s1") == second


async def test_a_handle_named_twice_for_different_users_is_refused(store: SessionStore) -> None:
    refused = await refusal(store, session("s1"), session("s1", user="bob"))

    assert refused == ("SESSION_OF_ANOTHER", "requests[1].session_handle")
    assert await store.get_session(ISSUER, "s1") is None


async def test_a_session_ends_after_it_begins(store: SessionStore) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await store.register([session("s1"), session("s2", create_time=NOW, expire_time=NOW)])

    assert refused.value.metadata["field"] == "requests[1].session_expire_time"
    assert await store.get_session(ISSUER, "s1") is None


async def test_the_same_handle_at_two_issuers_is_two_sessions(store: SessionStore) -> None:
    await store.register([session("s1"), session("s1", issuer="https://other.example", user="bob")])
    await store.revoke_sessions("https://other.example", ["s1"], OPS)

    facts, others = await store.look_up([subject("s1"), subject("s1", issuer="https://other.example", user="bob")])

    assert not facts.coverage.session_revoked
    assert others.coverage.session_revoked


async def test_no_registrations_are_recorded_as_none(store: SessionStore) -> None:
    assert await store.register([]) == []


async def test_any_text_survives(store: SessionStore) -> None:
    handle = "\N{SNOWMAN}\N{GRINNING FACE} \"quoted\" 'too' \\ 123 null \x7f"

    await store.register([session(handle, user="\N{GRINNING FACE}"), session("007")])

    assert [
        each.session_handle for each in await store.list_sessions(ISSUER, "\N{GRINNING FACE}", after="", limit=9)
    ] == [handle]
    assert await store.get_session(ISSUER, "7") is None
