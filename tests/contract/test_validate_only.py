"""A revocation that is only validated: the same answer, and nothing of it is done."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Protocol

import pytest
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.model import (
    Attribution,
    AuditFilter,
    KeyRevoked,
    Revision,
    SessionsEnded,
    SessionsRevoked,
)
from sidegate_sidecar.store.protocol import SessionStore

from tests.contract.fakes import ISSUER, OPS, log_of, session, subject

ONCE = Attribution("ops", "drill", "0f8fad5b-d9cb-469f-a165-70867728950e")


class Revoke(Protocol):
    """One of the four, on the sessions that the test registered."""

    def __call__(
        self, store: SessionStore, attribution: Attribution = OPS, *, validate_only: bool = False
    ) -> Awaitable[SessionsRevoked | SessionsEnded | KeyRevoked]: ...


async def sessions(
    store: SessionStore, attribution: Attribution = OPS, *, validate_only: bool = False
) -> SessionsRevoked:
    return await store.revoke_sessions(ISSUER, ["s1", "unknown"], attribution, validate_only=validate_only)


async def user(store: SessionStore, attribution: Attribution = OPS, *, validate_only: bool = False) -> SessionsEnded:
    return await store.revoke_user(
        ISSUER,
        "ada",
        tenant_id=None,
        except_session_handle=None,
        accept_unknown_exception=False,
        attribution=attribution,
        validate_only=validate_only,
    )


async def tenant(store: SessionStore, attribution: Attribution = OPS, *, validate_only: bool = False) -> SessionsEnded:
    return await store.revoke_tenant(ISSUER, "red", attribution, validate_only=validate_only)


async def key(store: SessionStore, attribution: Attribution = OPS, *, validate_only: bool = False) -> KeyRevoked:
    return await store.revoke_key(ISSUER, "thumbprint", attribution, key_id="k1", validate_only=validate_only)


every_revoke = pytest.mark.parametrize("revoke", [sessions, user, tenant, key])


async def head(store: SessionStore) -> Revision:
    page = await store.read_log(1, 1)
    return Revision(page.store_id, page.head)


async def fill(store: SessionStore) -> None:
    await store.register([session("s1", tenant="red"), session("s2", tenant="red"), session("s3")])
    await store.revoke_sessions(ISSUER, ["s2"], OPS)


@every_revoke
async def test_the_answer_is_that_of_doing_it_at_the_head(store: SessionStore, revoke: Revoke) -> None:
    await fill(store)
    before = await head(store)

    rehearsed = await revoke(store, validate_only=True)

    assert rehearsed == replace(await revoke(store), revision=before)


@every_revoke
async def test_nothing_is_changed(store: SessionStore, revoke: Revoke) -> None:
    await fill(store)
    log = await log_of(store)
    subjects = [subject("s1", tenant="red", key="thumbprint"), subject("unknown")]
    facts = await store.look_up(subjects)

    await revoke(store, validate_only=True)

    assert await log_of(store) == log
    assert await store.look_up(subjects) == facts
    assert len(await store.list_revocations(AuditFilter(), before=None, limit=10)) == 1


@every_revoke
async def test_what_was_only_validated_can_be_done_under_the_same_key(store: SessionStore, revoke: Revoke) -> None:
    await fill(store)
    rehearsed = await revoke(store, ONCE, validate_only=True)

    done = await revoke(store, ONCE)

    assert done == replace(rehearsed, revision=await head(store))
    assert done.revision != rehearsed.revision


@every_revoke
async def test_a_key_used_only_to_validate_stands_for_no_request(store: SessionStore, revoke: Revoke) -> None:
    await revoke(store, ONCE, validate_only=True)

    await store.revoke_sessions(ISSUER, ["another"], ONCE)


@every_revoke
async def test_an_answer_that_is_kept_is_repeated(store: SessionStore, revoke: Revoke) -> None:
    await fill(store)
    done = await revoke(store, ONCE)
    await store.revoke_sessions(ISSUER, ["later"], OPS)

    assert await revoke(store, ONCE, validate_only=True) == done


@every_revoke
async def test_a_key_that_stands_for_another_request_is_refused(store: SessionStore, revoke: Revoke) -> None:
    await store.revoke_sessions(ISSUER, ["another"], ONCE)

    with pytest.raises(InvalidRequest) as refused:
        await revoke(store, ONCE, validate_only=True)

    assert refused.value.reason == "REQUEST_ID_REUSED"


async def test_an_exception_of_somebody_else_is_refused(store: SessionStore) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await store.revoke_user(
            ISSUER,
            "ada",
            tenant_id=None,
            except_session_handle="s1",
            accept_unknown_exception=False,
            attribution=OPS,
            validate_only=True,
        )

    assert refused.value.reason == "NOT_A_SESSION_OF_USER"


async def test_the_store_goes_on_after_it(store: SessionStore) -> None:
    await user(store, validate_only=True)

    await store.register([session("s1")])
    done = await user(store)

    assert (done.revoked_count, done.revision.sequence) == (1, 2)
