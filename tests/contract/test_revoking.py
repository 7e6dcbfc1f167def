"""RevokeSession and RevokeUserSessions, as the store keeps them."""

import pytest
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import Attribution, AuditFilter, Coverage, RevocationKind, StoreLimits
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

AFTERLIFE = LIMITS.max_token_lifetime + LIMITS.leeway


async def test_a_registered_session_is_revoked_once(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("s1")])

    first = await store.revoke_sessions(ISSUER, ["s1"], OPS)
    clock.now += HOUR
    second = await store.revoke_sessions(ISSUER, ["s1"], OPS)

    assert first.newly_revoked == ("s1",)
    assert second.newly_revoked == ()
    assert first.revision.sequence == second.revision.sequence == 1
    record = await store.get_session(ISSUER, "s1")
    assert record is not None
    assert record.revoke_time == NOW


async def test_a_handle_that_nobody_registered_is_revoked_all_the_same(store: SessionStore) -> None:
    assert (await store.revoke_sessions(ISSUER, ["s1"], OPS)).newly_revoked == ("s1",)
    assert (await store.revoke_sessions(ISSUER, ["s1"], OPS)).newly_revoked == ()

    [facts] = await store.look_up([subject("s1")])
    assert facts.coverage == Coverage(session_revoked=True)


async def test_a_batch_is_logged_and_answered_in_the_order_asked(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["old"], OPS)

    outcome = await store.revoke_sessions(ISSUER, ["z", "old", "a", "z", "m"], OPS)

    assert outcome.newly_revoked == ("z", "a", "m")
    assert outcome.revision.sequence == 4
    assert [entry.subject for entry in await log_of(store)] == ["old", "z", "a", "m"]


async def test_a_user_is_revoked_by_a_watermark_and_then_by_handles(store: SessionStore) -> None:
    await store.register([session("s2", tenant="red"), session("s1"), session("s3", user="bob")])

    assert await revoke_user(store) == 2

    watermark, *handles = await log_of(store)
    assert (watermark.kind, watermark.subject, watermark.revoke_time) == (RevocationKind.USER, "ada", NOW)
    assert (watermark.tenant_id, watermark.except_session_handle) == (None, None)
    assert [(entry.kind, entry.subject, entry.revoke_time) for entry in handles] == [
        (RevocationKind.SESSION, "s1", NOW),
        (RevocationKind.SESSION, "s2", NOW),
    ]
    audit = await store.list_revocations(AuditFilter(), before=None, limit=10)
    assert [(entry.user_id, entry.cause_sequence) for entry in audit] == [("ada", 1), ("ada", 1), ("", 0)]


async def test_the_revision_of_a_user_revocation_is_after_all_its_entries(store: SessionStore) -> None:
    await store.register([session(f"s{number}") for number in range(5)])

    outcome = await store.revoke_user(
        ISSUER,
        "ada",
        tenant_id=None,
        except_session_handle=None,
        accept_unknown_exception=False,
        attribution=OPS,
    )

    page = await store.read_log(1, 100)
    assert (outcome.revision.store_id, outcome.revision.sequence) == (page.store_id, page.head) == (page.store_id, 6)


async def test_a_user_without_sessions_gets_a_watermark(store: SessionStore) -> None:
    assert await revoke_user(store) == 0
    assert await revoke_user(store) == 0

    assert [entry.kind for entry in await log_of(store)] == [RevocationKind.USER, RevocationKind.USER]


async def test_what_has_ended_already_is_neither_counted_nor_logged(store: SessionStore, clock: FakeClock) -> None:
    await store.register([session("gone"), session("past", expire_time=NOW + HOUR), session("alive")])
    await store.revoke_sessions(ISSUER, ["gone"], OPS)
    clock.now = NOW + HOUR  # at its session_expire_time a session is expired

    assert await revoke_user(store) == 1

    assert [entry.subject for entry in await log_of(store)] == ["gone", "ada", "alive"]


async def test_a_session_registered_before_ends_even_if_its_beginning_lies_ahead(store: SessionStore) -> None:
    await store.register([session("s1", create_time=NOW + HOUR)])

    assert await revoke_user(store) == 1


async def test_only_the_given_tenant_ends(store: SessionStore) -> None:
    await store.register([session("r", tenant="red"), session("b", tenant="blue"), session("none")])

    assert await revoke_user(store, tenant="red") == 1

    red, blue = await store.look_up([subject("x", tenant="red"), subject("x", tenant="blue")])
    assert red.coverage.user_watermark == NOW
    assert blue.coverage.user_watermark is None


async def test_the_exception_is_spared(store: SessionStore) -> None:
    await store.register([session("s1"), session("s2")])

    assert await revoke_user(store, spare="s1") == 1

    spared, ended = await store.look_up([subject("s1"), subject("s2")])
    assert spared.coverage == Coverage()
    assert ended.coverage == Coverage(session_revoked=True, user_watermark=NOW)


@pytest.mark.parametrize("registered", [True, False], ids=["registered", "unregistered"])
async def test_two_exceptions_of_two_watermarks_both_end(store: SessionStore, registered: bool) -> None:
    if registered:
        await store.register([session("s1"), session("s2")])

    await revoke_user(store, spare="s1", accept_unknown=True)
    await revoke_user(store, spare="s2", accept_unknown=True)

    facts = await store.look_up([subject("s1"), subject("s2")])
    assert [each.coverage for each in facts] == [Coverage(session_revoked=registered, user_watermark=NOW)] * 2


@pytest.mark.parametrize(
    ("spare", "accept_unknown"),
    [("nobody's", False), ("bob's", False), ("bob's", True)],
    ids=["unregistered", "of another user", "of another user, unknown ones accepted"],
)
async def test_an_exception_that_is_no_session_of_the_user_is_refused(
    store: SessionStore, spare: str, accept_unknown: bool
) -> None:
    await store.register([session("s1"), session("bob's", user="bob")])

    with pytest.raises(InvalidRequest) as refused:
        await revoke_user(store, spare=spare, accept_unknown=accept_unknown)

    assert refused.value.reason == "NOT_A_SESSION_OF_USER"
    assert refused.value.metadata["field"] == "except_session_handle"
    assert await log_of(store) == []


async def test_an_exception_that_nobody_registered_will_do_where_the_caller_says_so(store: SessionStore) -> None:
    assert await revoke_user(store, spare="unknown", accept_unknown=True) == 0

    [spared] = await store.look_up([subject("unknown")])
    assert spared.coverage == Coverage()


async def test_sparing_a_revoked_session_does_not_bring_it_back(store: SessionStore) -> None:
    await store.register([session("s1")])
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    await revoke_user(store, spare="s1")

    [facts] = await store.look_up([subject("s1")])
    assert facts.coverage.session_revoked


async def test_a_registered_handle_is_kept_until_its_last_token_has_expired(store: SessionStore) -> None:
    await store.register([session("s1", expire_time=NOW + 7 * DAY)])
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    [entry] = await log_of(store)
    assert entry.forget_time == NOW + 7 * DAY + AFTERLIFE


async def test_an_unregistered_handle_is_kept_as_long_as_any_session_can_live(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)

    [entry] = await log_of(store)
    assert entry.forget_time == NOW + LIMITS.max_session_lifetime + AFTERLIFE


async def test_a_watermark_is_kept_as_long_as_any_session_can_live(store: SessionStore) -> None:
    await store.register([session("s1", expire_time=NOW + 7 * DAY)])
    await revoke_user(store)

    watermark, handle = await log_of(store)
    assert watermark.forget_time == NOW + LIMITS.max_session_lifetime + AFTERLIFE
    assert handle.forget_time == NOW + 7 * DAY + AFTERLIFE


async def test_limits_are_raised_and_never_lowered(store: SessionStore, open_store: StoreFactory) -> None:
    raised = await store.raise_limits(StoreLimits(max_token_lifetime=2 * DAY, leeway=1, max_session_lifetime=40 * DAY))

    assert raised == StoreLimits(2 * DAY, LIMITS.leeway, 40 * DAY)
    assert await (await open_store()).limits() == raised  # migrating again left them alone


async def test_raised_limits_keep_what_is_revoked_already_for_longer(store: SessionStore) -> None:
    await store.revoke_sessions(ISSUER, ["s1"], OPS)
    raised = await store.raise_limits(StoreLimits(2 * DAY, LIMITS.leeway, 40 * DAY))

    await store.revoke_sessions(ISSUER, ["s2"], OPS)

    before, after = await log_of(store)
    assert after.forget_time == NOW + raised.max_session_lifetime + raised.max_token_lifetime + raised.leeway
    assert before.forget_time == after.forget_time


async def test_attribution_reaches_the_audit_trail(store: SessionStore) -> None:
    attribution = Attribution(actor="ada@support", reason="stolen \N{GRINNING FACE}", request_id="r1")
    await store.register([session("s1")])

    await revoke_user(store, attribution=attribution)

    audit = await store.list_revocations(AuditFilter(), before=None, limit=10)
    assert [entry.attribution for entry in audit] == [attribution, attribution]
