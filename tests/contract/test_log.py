"""The revocation log: what followers and the audit trail read."""

import asyncio

import pytest
from sidegate_sidecar.model import Attribution, AuditFilter, Revision, RevocationKind
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import HOUR, ISSUER, NOW, OPS, FakeClock, StoreFactory, log_of, quiet, revoke_user, session

OTHER_ISSUER = "https://other.example"


async def test_an_empty_log_has_a_head_of_zero(store: SessionStore) -> None:
    page = await store.read_log(1, 10)

    assert (page.head, page.entries) == (0, ())
    assert len(page.digest_salt) == 16


async def test_a_store_keeps_its_identity(store: SessionStore, open_store: StoreFactory) -> None:
    other = await open_store()

    assert await store.read_log(1, 10) == await other.read_log(1, 10)


async def test_pages_meet_without_a_gap(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, [f"s{number}" for number in range(10)], OPS)

    pages = [await store.read_log(first, 4) for first in (1, 5, 9, 11)]

    assert [[entry.sequence for entry in page.entries] for page in pages] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    assert [page.head for page in pages] == [10, 10, 10, 10]


async def test_every_entry_has_an_id_of_its_own(store: SessionStore) -> None:
    await store.register([session(f"s{number}") for number in range(10)])
    await revoke_user(store)

    ids = {entry.entry_id for entry in await log_of(store)}

    assert len(ids) == 11
    assert {len(entry_id) for entry_id in ids} == {16}


async def test_an_entry_reads_the_same_for_ever(store: SessionStore, open_store: StoreFactory) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    before = await log_of(store)
    await store.revoke_sessions(ISSUER, ["s1", "s2"], OPS)

    assert (await log_of(await open_store()))[:1] == before


async def test_a_user_entry_tells_its_tenant_and_its_exception(store: SessionStore) -> None:
    await revoke_user(store, tenant="red", spare="s1", accept_unknown=True)

    [entry] = await log_of(store)

    assert (entry.kind, entry.issuer, entry.subject) == (RevocationKind.USER, ISSUER, "ada")
    assert (entry.tenant_id, entry.except_session_handle) == ("red", "s1")


@pytest.mark.parametrize("writer", ["itself", "another store"])
async def test_a_revocation_ends_the_wait_for_a_change(
    store: SessionStore, open_store: StoreFactory, writer: str
) -> None:
    revoker = store if writer == "itself" else await open_store()
    await quiet(store)
    wait = asyncio.create_task(store.wait_for_change(60))
    done, _ = await asyncio.wait({wait}, timeout=0.2)
    assert not done

    await revoker.revoke_sessions(ISSUER, ["s1"], OPS)

    await asyncio.wait_for(wait, 30)


async def test_a_change_between_two_waits_ends_the_second(store: SessionStore, open_store: StoreFactory) -> None:
    other = await open_store()
    await quiet(store)

    await other.revoke_sessions(ISSUER, ["s1"], OPS)

    await asyncio.wait_for(store.wait_for_change(60), 30)


async def test_a_wait_without_a_change_ends_at_its_timeout(store: SessionStore) -> None:
    await quiet(store)

    await asyncio.wait_for(store.wait_for_change(0.05), 30)


async def test_sessions_are_listed_by_code_point_and_page(store: SessionStore) -> None:
    # By UTF-16 units, as some sort, the last two would change places.
    handles = ["A", "Z", "a", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\uffee", "\N{GRINNING FACE}"]
    await store.register([session(handle) for handle in reversed(handles)])
    await store.register([session("bob's", user="bob"), session("B", issuer=OTHER_ISSUER)])

    pages = [await store.list_sessions(ISSUER, "ada", after=after, limit=4) for after in ("", handles[3], handles[5])]

    assert [[each.session_handle for each in page] for page in pages] == [handles[:4], handles[4:], []]


async def test_listed_sessions_include_revoked_and_expired_ones(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("s1"), session("s2", expire_time=NOW + 1)])
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    clock.now += HOUR

    listed = await store.list_sessions(ISSUER, "ada", after="", limit=10)

    assert [(each.session_handle, each.revoke_time) for each in listed] == [("s1", NOW), ("s2", None)]


async def test_a_handle_that_was_only_revoked_is_no_session(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert await store.get_session(ISSUER, "s1") is None


@pytest.mark.parametrize(
    ("wanted", "sequences"),
    [
        (AuditFilter(), [9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter(issuer=ISSUER), [8, 7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter(issuer=OTHER_ISSUER), [9]),
        (AuditFilter(session_handle="s1"), [9, 3]),
        (AuditFilter(issuer=ISSUER, session_handle="s1"), [3]),
        (AuditFilter(user_id="ada"), [4, 3, 2]),
        (AuditFilter(user_id="bob"), [8, 7, 6]),
        (AuditFilter(tenant_id="red"), [7]),
        (AuditFilter(actor="ops"), [9, 5, 4, 3, 2, 1]),
        (AuditFilter(actor="support", user_id="bob"), [8, 7, 6]),
        (AuditFilter(actor="ops", user_id="bob"), []),
        (AuditFilter(user_id="ada", session_handle="s2"), [4]),
        (AuditFilter(tenant_id="red", user_id="bob", issuer=ISSUER), [7]),
        (AuditFilter(session_handle="ada"), []),
    ],
    ids=str,
)
async def test_filters_of_the_audit_trail_combine(
    store: SessionStore, wanted: AuditFilter, sequences: list[int]
) -> None:
    support = Attribution("support")
    await store.register([session("s1"), session("s2"), session("b1", user="bob", tenant="red")])
    await store.revoke_sessions(ISSUER, ["x"], OPS)  # 1: of no user
    await revoke_user(store, "ada")  # 2, and 3 and 4: s1, s2
    await store.revoke_sessions(ISSUER, ["y"], OPS)  # 5
    await revoke_user(store, "bob", tenant="blue", attribution=support)  # 6
    await revoke_user(store, "bob", tenant="red", attribution=support)  # 7, and 8: b1
    await store.revoke_sessions(OTHER_ISSUER, ["s1"], OPS)  # 9

    found = await store.list_revocations(wanted, before=None, limit=100)

    assert [entry.entry.sequence for entry in found] == sequences


async def test_the_audit_trail_is_read_page_by_page_newest_first(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, [f"s{number}" for number in range(5)], OPS)

    pages = [await store.list_revocations(AuditFilter(actor="ops"), before=before, limit=2) for before in (None, 4, 2)]

    assert [[entry.entry.sequence for entry in page] for page in pages] == [[5, 4], [3, 2], [1]]


async def test_sequences_are_gap_free_under_many_writers(store: SessionStore, open_store: StoreFactory) -> None:
    stores = [store, await open_store(), await open_store()]

    outcomes = await asyncio.gather(
        *(
            each.revoke_sessions(ISSUER, [f"{number}-{place}-{part}" for part in range(3)], OPS)
            for number in range(10)
            for place, each in enumerate(stores)
        )
    )

    log = await log_of(store)
    assert len(log) == 90
    for outcome in outcomes:
        last = outcome.revision.sequence
        assert tuple(entry.subject for entry in log[last - len(outcome.newly_revoked) : last]) == outcome.newly_revoked


async def test_a_login_racing_a_revocation_of_its_user_is_on_one_side_of_it_or_the_other(
    store: SessionStore, open_store: StoreFactory
) -> None:
    other = await open_store()

    outcomes = await asyncio.gather(
        *(other.register([session(f"s{number}")]) for number in range(20)),
        *(revoke_user(store) for _ in range(3)),
        *(store.register([session(f"t{number}")]) for number in range(20)),
    )

    log = await log_of(store)
    ended = [entry.subject for entry in log if entry.kind is RevocationKind.SESSION]
    assert sum(outcome for outcome in outcomes if isinstance(outcome, int)) == len(ended)
    for record in await store.list_sessions(ISSUER, "ada", after="", limit=100):
        # The clock stands still: whoever came after a watermark begins one microsecond later, and is alive.
        assert (record.revoke_time is not None) is (record.session_handle in ended)
        assert record.session_handle in ended or record.create_time > NOW


async def test_a_store_that_was_set_back_becomes_another(store: SessionStore, open_store: StoreFactory) -> None:
    other = await open_store()
    before = await store.read_log(1, 1)
    await store.renew_identity(before.store_id)

    after = await other.read_log(1, 1)

    assert after.store_id != before.store_id
    assert after.digest_salt != before.digest_salt


async def test_of_several_who_find_a_store_set_back_the_first_renames_it(
    store: SessionStore, open_store: StoreFactory
) -> None:
    other = await open_store()
    stale = (await store.read_log(1, 1)).store_id
    await store.renew_identity(stale)
    renewed = (await store.read_log(1, 1)).store_id

    await other.renew_identity(stale)

    assert (await store.read_log(1, 1)).store_id == renewed


async def test_what_was_answered_before_a_store_was_set_back_is_answered_anew(store: SessionStore) -> None:
    once = Attribution("ops", "", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
    await store.revoke_sessions(ISSUER, ["s1"], once)
    await store.renew_identity((await store.read_log(1, 1)).store_id)

    outcome = await store.revoke_sessions(ISSUER, ["s1"], once)

    assert outcome.newly_revoked == ()
    assert outcome.revision == Revision((await store.read_log(1, 1)).store_id, 1)
