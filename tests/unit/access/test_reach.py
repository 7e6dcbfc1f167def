"""Whether grants reach as far as a request does, and when the store is asked."""

from collections.abc import Mapping, Sequence

import pytest
from sidegate_sidecar.access import Caller, Grant, Reach, Role, check_reach
from sidegate_sidecar.errors import PermissionDenied, StoreUnavailable
from sidegate_sidecar.model import Coverage, Revision, SessionRecord, StoreFacts, Subject

ROLES = frozenset({Role.REVOKER})
ISSUER = "https://issuer.example"
UNBOUND = Grant("s", ROLES)
OF_TENANT = Grant("s", ROLES, tenants=frozenset({"acme"}))
OF_ISSUER = Grant("s", ROLES, issuers=frozenset({ISSUER}))


class FakeRegister:
    """Sessions and their tenants. Counts the questions."""

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._tenants = tenants
        self.asked: list[list[str]] = []

    async def look_up(self, subjects: Sequence[Subject]) -> list[StoreFacts]:
        self.asked.append([subject.session_handle for subject in subjects])
        return [
            StoreFacts(
                Coverage(),
                SessionRecord(ISSUER, subject.session_handle, "alice", self._tenants[subject.session_handle], 0, 1)
                if subject.session_handle in self._tenants
                else None,
                Revision("store", 0),
            )
            for subject in subjects
        ]


async def is_covered(grants: Sequence[Grant], *reaches: Reach, register: FakeRegister | None = None) -> bool:
    try:
        await check_reach(Caller("s", grants), reaches, (register or FakeRegister({})).look_up)
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("grant", "reach", "covered"),
    [
        (UNBOUND, Reach(None), True),
        (UNBOUND, Reach(ISSUER, "acme"), True),
        (OF_TENANT, Reach(ISSUER, "acme"), True),
        (OF_TENANT, Reach(None, "acme"), True),
        (OF_TENANT, Reach(ISSUER, "other"), False),
        (OF_TENANT, Reach(ISSUER, ""), False),
        (OF_TENANT, Reach(ISSUER), False),
        (OF_ISSUER, Reach(ISSUER), True),
        (OF_ISSUER, Reach(ISSUER, "any"), True),
        (OF_ISSUER, Reach("https://other.example"), False),
        (OF_ISSUER, Reach(None), False),
        (OF_ISSUER, Reach(ISSUER, session_handle="x"), True),
        (OF_ISSUER, Reach("https://other.example", session_handle="x"), False),
    ],
)
async def test_a_grant_covers_what_lies_within_its_bounds(grant: Grant, reach: Reach, covered: bool) -> None:
    assert await is_covered([grant], reach) is covered


async def test_every_part_of_a_request_has_to_be_covered() -> None:
    assert not await is_covered([OF_TENANT], Reach(ISSUER, "acme"), Reach(ISSUER, "other"))


async def test_each_part_may_be_covered_by_another_grant() -> None:
    other = Grant("s", ROLES, tenants=frozenset({"other"}))
    assert await is_covered([OF_TENANT, other], Reach(ISSUER, "acme"), Reach(ISSUER, "other"))


async def test_the_store_is_asked_once_for_all_sessions_and_only_where_a_tenant_decides() -> None:
    register = FakeRegister({"a": "acme", "b": "acme"})
    handles = [Reach(ISSUER, session_handle=handle) for handle in ("a", "b", "a")]

    assert await is_covered([UNBOUND], *handles, register=register)
    assert register.asked == []
    assert await is_covered([OF_TENANT], *handles, register=register)
    assert register.asked == [["a", "b"]]


async def test_one_session_of_another_tenant_or_of_nobody_spoils_all() -> None:
    register = FakeRegister({"a": "acme", "b": "other", "c": ""})
    for handle in ("b", "c", "unregistered"):
        handles = [Reach(ISSUER, session_handle="a"), Reach(ISSUER, session_handle=handle)]
        assert not await is_covered([OF_TENANT], *handles, register=register)


@pytest.mark.parametrize("handle", ["", "x" * 513, "é" * 257, "a\x00"])
async def test_the_store_is_not_asked_of_what_it_cannot_hold(handle: str) -> None:
    register = FakeRegister({})
    assert not await is_covered([OF_TENANT], Reach(ISSUER, session_handle=handle), register=register)
    assert register.asked == []


@pytest.mark.parametrize("issuer", ["a\x00b", "x" * 513])
async def test_the_store_is_not_asked_of_an_issuer_that_it_cannot_hold(issuer: str) -> None:
    register = FakeRegister({"a": "acme"})
    assert not await is_covered([OF_TENANT], Reach(issuer, session_handle="a"), register=register)
    assert register.asked == []


async def test_a_store_that_does_not_answer_is_no_refusal() -> None:
    async def fail(_: Sequence[Subject]) -> list[StoreFacts]:
        raise StoreUnavailable("the store does not answer")

    with pytest.raises(StoreUnavailable):
        await check_reach(Caller("s", [OF_TENANT]), [Reach(ISSUER, session_handle="a")], fail)
