"""What the policy and the demand ask of a good token: audience, tenant, type and anti-CSRF token; rows 17 and 19."""

from dataclasses import replace

import pytest
from sidegate_sidecar.model import Demand, Reason

from tests.unit.tokens.minting import POLICY, claims_with, claims_without, header, mint, plain_decode, refusal, verify

# Row 17: audiences.


@pytest.mark.parametrize(
    ("carried", "accepted", "good"),
    [
        ("orders", ("orders",), True),
        ("orders", ("stock", "orders"), True),
        (["billing", "orders"], ("orders",), True),
        ("orders-admin", ("orders",), False),
        ("order", ("orders",), False),
        ("orders", ("order",), False),
        ("Orders", ("orders",), False),
        ("orders ", ("orders",), False),
        ("orders billing", ("orders",), False),
        (["orders-admin", "Orders"], ("orders",), False),
        ([], ("orders",), False),
        (None, ("orders",), False),
        ("", ("orders",), False),
        ("o", ("orders",), False),
    ],
)
def test_row_17_an_audience_matches_exactly_or_not_at_all(
    carried: object, accepted: tuple[str, ...], *, good: bool
) -> None:
    text = mint(claims_with(aud=carried))
    by_policy = replace(POLICY, audiences=frozenset(accepted))
    by_demand = Demand(text, accepted_audiences=accepted)
    if good:
        assert verify(text, by_policy).user_id
        assert verify(text, demand=by_demand).user_id
    else:
        assert refusal(text, by_policy) is Reason.WRONG_AUDIENCE
        assert refusal(text, demand=by_demand) is Reason.WRONG_AUDIENCE


def test_row_17_policy_and_demand_must_both_be_satisfied() -> None:
    text = mint()
    policy = replace(POLICY, audiences=frozenset({"orders"}))
    assert verify(text, policy, Demand(text, accepted_audiences=("billing",))).audiences == ("orders", "billing")
    assert refusal(text, policy, Demand(text, accepted_audiences=("stock",))) is Reason.WRONG_AUDIENCE
    other = replace(POLICY, audiences=frozenset({"stock"}))
    assert refusal(text, other, Demand(text, accepted_audiences=("orders",))) is Reason.WRONG_AUDIENCE


def test_row_17_nobody_who_asks_for_no_audience_is_given_one() -> None:
    assert verify(mint(claims_without("aud"))).audiences == ()


# Row 19: types.


@pytest.mark.parametrize(
    ("pinned", "carried", "good"),
    [
        ("at+jwt", "at+jwt", True),
        ("at+jwt", "AT+JWT", True),
        ("at+jwt", "application/at+jwt", True),
        ("application/at+jwt", "at+jwt", True),
        ("At+Jwt", "Application/AT+jwt", True),
        ("at+jwt", "JWT", False),
        ("at+jwt", "jwt+at", False),
        ("at+jwt", "text/at+jwt", False),
        ("at+jwt", "application/application/at+jwt", False),
        ("at+jwt", "", False),
        ("at+jwt", None, False),
        ("kb+jwt", "\u212ab+jwt", False),  # the Kelvin sign, whose lower case is a plain k
    ],
)
def test_row_19_a_pinned_type_is_compared_as_rfc_7515_says(pinned: str, carried: str | None, *, good: bool) -> None:
    text = mint(head=header() if carried is None else header(typ=carried))
    policy = replace(POLICY, token_type=pinned)
    if good:
        assert verify(text, policy).user_id
    else:
        assert refusal(text, policy) is Reason.WRONG_TYPE
        assert plain_decode(text)["sub"]  # which knows nothing of types


@pytest.mark.parametrize("value", [1, None, True, ["JWT"], {}])
def test_row_19_a_type_that_is_no_string_is_malformed(value: object) -> None:
    assert refusal(mint(head=header(typ=value))) is Reason.MALFORMED


# Tenant and anti-CSRF token.


def test_the_tenant_must_be_the_one_demanded() -> None:
    policy = replace(POLICY, tenant_claim="tId")
    text = mint(claims_with(tId="north"))
    assert verify(text, policy).tenant_id == "north"
    assert verify(text, policy, Demand(text, tenant_id="north")).tenant_id == "north"
    for other in ("south", "", "North", "nort"):
        assert refusal(text, policy, Demand(text, tenant_id=other)) is Reason.WRONG_TENANT
    assert verify(text).tenant_id == ""
    assert refusal(text, demand=Demand(text, tenant_id="north")) is Reason.WRONG_TENANT
    assert refusal(mint(claims_with(tId=["north"])), policy) is Reason.MALFORMED
    assert verify(mint(claims_with(tId=None)), policy).tenant_id == ""


@pytest.mark.parametrize(
    ("carried", "brought", "required", "good"),
    [
        ("c5rf", "c5rf", False, True),
        ("c5rf", "c5rf", True, True),
        ("c5rf", None, False, True),
        (None, None, False, True),
        ("c5rf", None, True, False),
        ("c5rf", "c5r", False, False),
        ("c5rf", "", False, False),
        ("", "", False, False),
        ("", "", True, False),
        (None, "c5rf", False, False),
        (None, None, True, False),
        (None, "", True, False),
        ("schlüssel", "schlüssel", True, True),
        ("c5rf", "\ud800", True, False),
    ],
)
def test_the_anti_csrf_token_must_be_the_one_carried(
    carried: str | None, brought: str | None, *, required: bool, good: bool
) -> None:
    policy = replace(POLICY, anti_csrf_claim="antiCsrfToken", anti_csrf_required=required)
    text = mint(claims_with(antiCsrfToken=carried))
    demand = Demand(text, anti_csrf_token=brought)
    if good:
        assert verify(text, policy, demand).user_id
    else:
        assert refusal(text, policy, demand) is Reason.ANTI_CSRF_MISMATCH


def test_an_anti_csrf_token_brought_where_none_are_carried_is_refused() -> None:
    assert refusal(mint(), demand=Demand("x", anti_csrf_token="c5rf")) is Reason.ANTI_CSRF_MISMATCH
