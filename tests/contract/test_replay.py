"""Idempotency keys."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import Attribution
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import DAY, ISSUER, FakeClock, StoreFactory, log_of, revoke_user, session

KEY = Attribution("ops", "stolen", "5e7c3a52-6b0e-4b8a-9d3c-0f6f4f1f7f10")


async def test_a_replay_returns_the_first_answer(store: SessionStore) -> None:
    first = await store.revoke_sessions(ISSUER, ["s1", "s2"], KEY)
    await store.revoke_sessions(ISSUER, ["s3"], Attribution("ops"))

    assert await store.revoke_sessions(ISSUER, ["s1", "s2"], KEY) == first
    assert first.newly_revoked == ("s1", "s2")
    assert len(await log_of(store)) == 3


async def test_a_replay_of_a_user_revocation_writes_no_second_watermark(
    store: SessionStore, open_store: StoreFactory, clock: FakeClock
) -> None:
    await store.register([session("s1")])
    assert await revoke_user(store, attribution=KEY) == 1
    clock.now += DAY - 1
    await store.register([session("s2", expire_time=clock.now + DAY)])

    assert await revoke_user(await open_store(), attribution=KEY) == 1

    assert [entry.subject for entry in await log_of(store)] == ["ada", "s1"]


async def test_a_replay_through_another_store_returns_the_first_answer(
    store: SessionStore, open_store: StoreFactory
) -> None:
    first = await store.revoke_sessions(ISSUER, ["s1"], KEY)

    assert await (await open_store()).revoke_sessions(ISSUER, ["s1"], KEY) == first


async def test_the_same_request_sent_twice_at_once_is_done_once(store: SessionStore, open_store: StoreFactory) -> None:
    other = await open_store()
    await store.register([session("s1")])

    counts = await asyncio.gather(*(revoke_user(each, attribution=KEY) for each in (store, other, store, other)))

    assert counts == [1, 1, 1, 1]
    assert len(await log_of(store)) == 2


Asked = Callable[[SessionStore, Attribution], Awaitable[object]]

OTHER_REQUESTS: dict[str, Asked] = {
    "another user": lambda store, key: revoke_user(store, "bob", attribution=key),
    "another issuer": lambda store, key: revoke_user(store, issuer="https://other.example", attribution=key),
    "a tenant": lambda store, key: revoke_user(store, tenant="red", attribution=key),
    "an exception": lambda store, key: revoke_user(store, spare="s1", attribution=key),
    "another reason": lambda store, key: revoke_user(store, attribution=Attribution(key.actor, "lost", key.request_id)),
    "handles": lambda store, key: store.revoke_sessions(ISSUER, ["ada"], key),
    "the tenant of that name": lambda store, key: store.revoke_tenant(ISSUER, "ada", key),
    "the key of that name": lambda store, key: store.revoke_key(ISSUER, "ada", key, key_id=None),
}


@pytest.mark.parametrize("ask", OTHER_REQUESTS.values(), ids=OTHER_REQUESTS.keys())
async def test_a_key_is_refused_for_a_different_request(store: SessionStore, ask: Asked) -> None:
    await store.register([session("s1")])
    await revoke_user(store, attribution=KEY)
    before = await log_of(store)

    with pytest.raises(InvalidRequest) as refused:
        await ask(store, KEY)

    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert refused.value.metadata["field"] == "request_id"
    assert await log_of(store) == before


async def test_a_key_is_refused_for_other_handles(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1", "s2"], KEY)

    with pytest.raises(InvalidRequest):
        await store.revoke_sessions(ISSUER, ["s1,s2"], KEY)


async def test_a_replay_of_a_tenant_revocation_writes_no_second_watermark(
    store: SessionStore, open_store: StoreFactory
) -> None:
    await store.register([session("s1", tenant="red")])
    first = await store.revoke_tenant(ISSUER, "red", KEY)
    await store.register([session("s2", tenant="red")])

    assert await (await open_store()).revoke_tenant(ISSUER, "red", KEY) == first
    assert first.revoked_count == 1
    assert [entry.subject for entry in await log_of(store)] == ["red", "s1"]


async def test_a_replay_of_a_key_revocation_returns_the_first_answer(store: SessionStore) -> None:
    first = await store.revoke_key(ISSUER, "thumbprint", KEY, key_id="k1")
    await store.revoke_sessions(ISSUER, ["s1"], Attribution("ops"))

    assert await store.revoke_key(ISSUER, "thumbprint", KEY, key_id="k1") == first
    assert first.newly_revoked


async def test_a_replay_by_a_kid_is_known_whatever_key_has_it_by_now(
    store: SessionStore, open_store: StoreFactory
) -> None:
    first = await store.revoke_key(ISSUER, "thumbprint", KEY, key_id="k1")
    other = await open_store()

    assert await other.revoke_key(ISSUER, "another", KEY, key_id="k1") == first
    assert await other.find_key_replay(ISSUER, "k1", KEY) == first
    assert len(await log_of(store)) == 1


async def test_what_is_no_replay_of_a_key_revocation_is_not_taken_for_one(
    store: SessionStore, clock: FakeClock
) -> None:
    await store.revoke_key(ISSUER, "thumbprint", KEY, key_id="k1")

    assert await store.find_key_replay(ISSUER, "k1", Attribution("support", KEY.reason, KEY.request_id)) is None
    assert await store.find_key_replay(ISSUER, "k1", Attribution("ops", KEY.reason)) is None
    for issuer, key_id, reason in (
        (ISSUER, "k2", KEY.reason),
        ("https://other.example", "k1", KEY.reason),
        (ISSUER, "k1", "lost"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await store.find_key_replay(issuer, key_id, Attribution("ops", reason, KEY.request_id))
        assert refused.value.reason == "REQUEST_ID_REUSED"
    clock.now += DAY
    assert await store.find_key_replay(ISSUER, "k1", KEY) is None


async def test_an_idempotency_key_is_refused_for_another_signing_key_or_tenant(store: SessionStore) -> None:
    other = Attribution("ops", "stolen", "16fd2706-8baf-433b-82eb-8c7fada847da")
    await store.revoke_key(ISSUER, "thumbprint", KEY, key_id="k1")
    await store.revoke_tenant(ISSUER, "red", other)

    with pytest.raises(InvalidRequest):
        await store.revoke_key(ISSUER, "another", KEY, key_id="k2")
    with pytest.raises(InvalidRequest):
        await store.revoke_key(ISSUER, "thumbprint", KEY, key_id=None)
    with pytest.raises(InvalidRequest):
        await store.revoke_tenant(ISSUER, "blue", other)

    assert len(await log_of(store)) == 2


async def test_keys_are_scoped_to_the_actor(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], KEY)

    outcome = await store.revoke_sessions(ISSUER, ["s2"], Attribution("support", KEY.reason, KEY.request_id))

    assert outcome.newly_revoked == ("s2",)


async def test_a_key_is_forgotten_after_a_day(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], KEY)
    clock.now += DAY

    outcome = await store.revoke_sessions(ISSUER, ["s2"], KEY)

    assert outcome.newly_revoked == ("s2",)
    assert (await store.revoke_sessions(ISSUER, ["s2"], KEY)) == outcome


async def test_a_refused_request_leaves_its_key_free(store: SessionStore) -> None:
    with pytest.raises(InvalidRequest):
        await revoke_user(store, spare="s1", attribution=KEY)
    await store.register([session("s1"), session("s2")])

    assert await revoke_user(store, spare="s1", attribution=KEY) == 1


async def test_without_a_key_every_request_is_new(store: SessionStore) -> None:
    await revoke_user(store)
    await revoke_user(store)

    assert len(await log_of(store)) == 2
