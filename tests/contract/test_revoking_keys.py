"""RevokeSigningKey, as the store keeps it."""

import asyncio

from sidegate_sidecar.model import AuditFilter, Coverage, KeyRevoked, Revision, RevocationKind
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
    session,
    subject,
)

OTHER_ISSUER = "https://other.example"
KEY = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # RFC 7638 §3.1


async def test_a_key_is_revoked_once_and_for_ever(store: SessionStore, clock: FakeClock) -> None:
    first = await store.revoke_key(ISSUER, KEY, OPS, key_id="k1")
    clock.now += HOUR
    second = await store.revoke_key(ISSUER, KEY, OPS, key_id=None)

    revision = Revision((await store.read_log(1, 1)).store_id, 1)
    assert (first, second) == (KeyRevoked(True, revision), KeyRevoked(False, revision))
    [entry] = await log_of(store)
    assert (entry.kind, entry.issuer, entry.subject) == (RevocationKind.KEY, ISSUER, KEY)
    assert (entry.revoke_time, entry.forget_time) == (NOW, None)
    assert (entry.tenant_id, entry.except_session_handle) == (None, None)


async def test_the_revision_of_a_key_revoked_before_is_the_head(store: SessionStore) -> None:
    await store.revoke_key(ISSUER, KEY, OPS, key_id=None)
    head = await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert await store.revoke_key(ISSUER, KEY, OPS, key_id=None) == KeyRevoked(False, head.revision)


async def test_the_audit_trail_tells_the_key_id_where_it_was_given(store: SessionStore) -> None:
    await store.revoke_key(ISSUER, KEY, OPS, key_id="k1")
    await store.revoke_key(ISSUER, "another", OPS, key_id=None)

    audit = await store.list_revocations(AuditFilter(), before=None, limit=10)

    assert [(each.entry.subject, each.key_id, each.user_id) for each in audit] == [("another", "", ""), (KEY, "k1", "")]
    assert {each.attribution for each in audit} == {OPS}


async def test_a_revoked_key_covers_every_token_that_it_verified(store: SessionStore) -> None:
    await store.revoke_key(ISSUER, KEY, OPS, key_id=None)

    facts = await store.look_up(
        [
            subject("s1", key=KEY),
            subject("", user="bob", tenant="red", key=KEY),
            subject("s1", key="another"),
            subject("s1"),
            subject("s1", key=KEY, issuer=OTHER_ISSUER),
        ]
    )

    revoked = Coverage(key_revoked=True)
    assert [each.coverage for each in facts] == [revoked, revoked, Coverage(), Coverage(), Coverage()]


async def test_the_same_key_of_two_issuers_is_revoked_for_each(store: SessionStore) -> None:
    await store.revoke_key(ISSUER, KEY, OPS, key_id=None)

    assert (await store.revoke_key(OTHER_ISSUER, KEY, OPS, key_id=None)).newly_revoked


async def test_a_key_is_no_session_of_the_same_name(store: SessionStore) -> None:
    await store.revoke_key(ISSUER, "twin", OPS, key_id=None)
    await store.revoke_sessions(ISSUER, ["other-twin"], OPS)

    key, handle = await store.look_up([subject("twin"), subject("s1", key="other-twin")])

    assert (key.coverage, handle.coverage) == (Coverage(), Coverage())
    assert (await store.revoke_sessions(ISSUER, ["twin"], OPS)).newly_revoked == ("twin",)
    assert await store.list_revocations(AuditFilter(session_handle="other-twin"), before=None, limit=10)


async def test_a_revoked_key_hinders_no_registration(store: SessionStore) -> None:
    await store.revoke_key(ISSUER, KEY, OPS, key_id=None)

    [recorded] = await store.register([session("s1")])

    assert recorded.create_time == NOW


async def test_the_revocation_of_a_key_outlives_every_compaction(store: SessionStore, clock: FakeClock) -> None:
    await store.revoke_key(ISSUER, KEY, OPS, key_id=None)
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    await store.revoke_sessions(ISSUER, ["s2"], OPS)
    clock.now += LIMITS.max_session_lifetime + 100 * 365 * DAY

    await compact_all(store)

    assert [entry.subject for entry in await log_of(store)] == [KEY, "s2"]
    [facts] = await store.look_up([subject("s1", key=KEY)])
    assert facts.coverage == Coverage(key_revoked=True)


async def test_of_many_who_revoke_a_key_at_once_one_did(store: SessionStore, open_store: StoreFactory) -> None:
    stores = [store, await open_store()] * 5

    outcomes = await asyncio.gather(*(each.revoke_key(ISSUER, KEY, OPS, key_id=None) for each in stores))

    assert sorted(outcome.newly_revoked for outcome in outcomes) == [False] * 9 + [True]
    assert len(await log_of(store)) == 1
