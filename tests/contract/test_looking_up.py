"""What `check_database` learns."""

import itertools

from sidegate_sidecar.model import Coverage, Micros, SessionRecord
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import DAY, HOUR, ISSUER, NOW, OPS, FakeClock, StoreFactory, revoke_user, session, subject


async def test_nothing_is_known_of_a_stranger(store: SessionStore) -> None:
    [facts] = await store.look_up([subject("s1")])

    assert (facts.coverage, facts.record, facts.revision.sequence) == (Coverage(), None, 0)


async def test_the_revision_is_the_head_that_the_answer_was_read_at(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    outcome = await store.revoke_sessions(ISSUER, ["s2"], OPS)

    assert [facts.revision for facts in await store.look_up([subject("s1"), subject("s3")])] == [outcome.revision] * 2


async def test_no_subjects_get_no_answers(store: SessionStore) -> None:
    assert await store.look_up([]) == []


async def test_the_record_is_that_of_the_handle_whoever_asks(store: SessionStore) -> None:
    await store.register([session("s1", user="bob", tenant="red")])

    [facts] = await store.look_up([subject("s1", user="ada", tenant="blue")])

    assert facts.record == SessionRecord(ISSUER, "s1", "bob", "red", NOW, NOW + DAY)


async def test_the_watermarks_are_those_of_the_subject_itself(store: SessionStore) -> None:
    await store.register([session("s1", user="bob", tenant="red")])
    await revoke_user(store, "ada")

    as_ada, as_bob = await store.look_up([subject("s1", user="ada"), subject("s1", user="bob")])

    assert as_ada.coverage.user_watermark == NOW
    assert as_bob.coverage.user_watermark is None


async def test_a_revoked_record_says_when(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("s1")])
    clock.now += HOUR
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    [facts] = await store.look_up([subject("s1")])

    assert facts.coverage.session_revoked
    assert facts.record is not None
    assert facts.record.revoke_time == NOW + HOUR


async def test_the_newest_watermark_that_does_not_spare_the_session_is_told(
    store: SessionStore, clock: FakeClock
) -> None:
    await revoke_user(store)
    clock.now = NOW + HOUR
    await revoke_user(store, tenant="red")
    clock.now = NOW + 2 * HOUR
    await revoke_user(store, spare="s1", accept_unknown=True)
    clock.now = NOW - HOUR  # stepped back: the last is not the newest
    await revoke_user(store)

    facts = await store.look_up(
        [
            subject("s1"),
            subject("s1", tenant="red"),
            subject("s1", tenant="blue"),
            subject("s2", tenant="red"),
            subject("s1", user="bob"),
            subject("s1", issuer="https://other.example"),
        ]
    )

    told = [each.coverage.user_watermark for each in facts]
    assert told == [NOW, NOW + HOUR, NOW, NOW + 2 * HOUR, None, None]


async def test_what_newer_watermarks_make_superfluous_changes_no_answer(store: SessionStore, clock: FakeClock) -> None:
    """Five of a user's, with every fifth choice of what they spare and where they hold; the clock steps back once."""
    written: list[tuple[Micros, str | None, str | None]] = []
    steps = [1, 2, 3, 2, 4]
    scopes = [(spare, tenant) for spare in (None, "s1", "s2") for tenant in (None, "red")]
    for number, (one, two, three) in enumerate(itertools.islice(itertools.product(scopes, repeat=3), 0, None, 5)):
        user = f"u{number}"
        written.clear()
        for step, (spare, tenant) in zip(steps, [one, two, three, one, two], strict=True):
            clock.now = NOW + step * HOUR
            await revoke_user(store, user, tenant=tenant, spare=spare, accept_unknown=True)
            written.append((clock.now, spare, tenant))
        asked = [(handle, tenant) for handle in ("s1", "s2", "s3") for tenant in ("", "red", "blue")]

        facts = await store.look_up([subject(handle, user=user, tenant=tenant) for handle, tenant in asked])

        assert [each.coverage.user_watermark for each in facts] == [
            max((time for time, spare, where in written if spare != handle and where in (None, tenant)), default=None)
            for handle, tenant in asked
        ]


async def test_without_a_handle_only_watermarks_count(store: SessionStore) -> None:
    await store.register([session("s1")])
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    await revoke_user(store, spare="s2", accept_unknown=True)

    [facts] = await store.look_up([subject("")])

    assert (facts.coverage, facts.record) == (Coverage(user_watermark=NOW), None)


async def test_many_subjects_are_answered_in_their_order_repeated_ones_too(store: SessionStore) -> None:
    handles = [f"s{number}" for number in range(700)]
    await store.register([session(handle) for handle in handles])
    await store.revoke_sessions(ISSUER, handles[::7], OPS)
    asked = [*reversed(handles), *handles]

    facts = await store.look_up([subject(handle) for handle in asked])

    assert [each.record.session_handle for each in facts if each.record] == asked
    assert [each.coverage.session_revoked for each in facts] == [int(handle[1:]) % 7 == 0 for handle in asked]


async def test_a_revocation_acknowledged_by_one_store_is_seen_by_every_other(
    store: SessionStore, open_store: StoreFactory
) -> None:
    other = await open_store()
    await other.look_up([subject("s1")])

    for number in range(20):
        await store.revoke_sessions(ISSUER, [f"s{number}"], OPS)

        [facts] = await other.look_up([subject(f"s{number}")])
        assert facts.coverage.session_revoked
