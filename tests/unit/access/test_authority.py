"""Who a caller is found to be, and that a credential ends when it ends."""

from datetime import timedelta

import pytest
from sidegate_sidecar.access import Authority, Certificate, Grant, Role, read_certificate
from sidegate_sidecar.errors import KeysUnavailable, PermissionDenied, Unauthenticated
from sidegate_sidecar.model import (
    SECOND,
    Demand,
    Evidence,
    NextAction,
    Reason,
    Rejection,
    Session,
    Source,
    Verdict,
)

from tests.fakes.certificate_authority import A_DAY, CertificateAuthority

METHOD = "/sidegate.v1.RevocationService/RevokeSession"
AUDIT = "/sidegate.v1.RevocationService/ListRevocations"
REVOKER, AUDITOR = frozenset({Role.REVOKER}), frozenset({Role.AUDITOR})
BEGIN, END = 100 * SECOND, 200 * SECOND


class FakeTokens:
    """Says of every token what it is told to."""

    def __init__(self) -> None:
        self.outcome: Session | Rejection | KeysUnavailable = Rejection(
            Reason.EXPIRED, NextAction.REFRESH, "the token has expired"
        )
        self.asked: list[str] = []

    async def verify(self, demand: Demand) -> Verdict:
        self.asked.append(demand.access_token)
        if isinstance(self.outcome, KeysUnavailable):
            raise self.outcome
        return Verdict(self.outcome, Evidence(Source.LOCAL, None, None, None))


class Desk:
    """An authority, its clock and its tokens."""

    def __init__(self, *grants: Grant) -> None:
        self.now = BEGIN
        self.tokens = FakeTokens()
        self._authority = Authority(grants, self.tokens, lambda: self.now)

    async def actor(self, *subjects: str, method: str = METHOD) -> str:
        certificate = Certificate(subjects, BEGIN, END)
        return (await self._authority.identify(method, certificate, None)).actor

    async def actor_of_token(self, token: str) -> str:
        return (await self._authority.identify(METHOD, None, token)).actor


def a_session(user: str) -> Session:
    return Session("https://admin.example", "", user, "", BEGIN, END, "{}")


async def test_a_certificate_is_good_from_its_first_instant_to_its_last() -> None:
    desk = Desk(Grant("mtls:a", REVOKER))

    for now, good in ((BEGIN - 1, False), (BEGIN, True), (END, True), (END + 1, False)):
        desk.now = now
        if good:
            assert await desk.actor("mtls:a") == "mtls:a"
        else:
            with pytest.raises(Unauthenticated):
                await desk.actor("mtls:a")


async def test_the_actor_is_the_first_of_the_names_that_has_a_grant() -> None:
    desk = Desk(Grant("mtls:b", REVOKER), Grant("mtls:c", REVOKER))

    assert await desk.actor("mtls:a", "mtls:b", "mtls:c") == "mtls:b"


async def test_the_grants_of_all_names_count_and_the_actor_does_not_change_with_the_call() -> None:
    desk = Desk(Grant("mtls:a", AUDITOR), Grant("mtls:b", REVOKER))

    assert await desk.actor("mtls:a", "mtls:b", method=METHOD) == "mtls:a"
    assert await desk.actor("mtls:a", "mtls:b", method=AUDIT) == "mtls:a"


async def test_a_caller_without_a_grant_is_named_in_the_refusal() -> None:
    with pytest.raises(PermissionDenied) as denied:
        await Desk(Grant("mtls:b", REVOKER)).actor("mtls:a")

    assert (denied.value.actor, denied.value.cause) == ("mtls:a", "no grant")


@pytest.mark.parametrize("method", ["", "RevokeSession", f"{METHOD}/", METHOD.lower(), METHOD.replace("/Rev", "//Rev")])
async def test_a_method_that_is_not_in_the_table_is_for_nobody(method: str) -> None:
    with pytest.raises(PermissionDenied):
        await Desk(Grant("mtls:a", frozenset(Role))).actor("mtls:a", method=method)


async def test_a_token_is_its_issuers_user() -> None:
    desk = Desk(Grant("token:https://admin.example#machine", REVOKER))
    desk.tokens.outcome = a_session("machine")

    assert await desk.actor_of_token("t") == "token:https://admin.example#machine"


async def test_a_token_is_verified_on_every_call() -> None:
    desk = Desk(Grant("token:https://admin.example#machine", REVOKER))
    desk.tokens.outcome = a_session("machine")
    await desk.actor_of_token("t")
    desk.tokens.outcome = Rejection(Reason.SESSION_REVOKED, NextAction.REAUTHENTICATE, "")

    with pytest.raises(Unauthenticated) as refused:
        await desk.actor_of_token("t")

    assert refused.value.metadata == {"rejection_reason": "SESSION_REVOKED"}
    assert desk.tokens.asked == ["t", "t"]


async def test_a_token_that_nobody_can_judge_is_no_refusal() -> None:
    desk = Desk()
    desk.tokens.outcome = KeysUnavailable("no keys")

    with pytest.raises(KeysUnavailable):
        await desk.actor_of_token("t")


def test_a_certificate_is_read_with_its_names_in_order_and_its_dates() -> None:
    pair = CertificateAuthority().issue(
        dns=["b.internal", "A.internal", "*.internal", "a.internal"],
        uris=["spiffe://z", "spiffe://y"],
        begins=-A_DAY,
        ends=timedelta(hours=1),
    )

    certificate = read_certificate(pair.der)

    assert certificate.subjects == ("mtls:spiffe://y", "mtls:spiffe://z", "mtls:a.internal", "mtls:b.internal")
    assert certificate.expire_time - certificate.begin_time == 25 * 3600 * SECOND


def test_a_certificate_without_alternative_names_names_nobody() -> None:
    assert read_certificate(CertificateAuthority().issue(common_name="login.internal").der).subjects == ()


@pytest.mark.parametrize("name", ["a.internal\x00.example", "a.internal.", "*.internal", "a..internal", "10.0.0.1 "])
def test_a_name_that_is_none_names_nobody(name: str) -> None:
    assert read_certificate(CertificateAuthority().issue(dns=[name]).der).subjects == ()


@pytest.mark.parametrize("uri", ["spiffe://a/b\x00c", "spiffe://a/b c", "a.internal"])
def test_a_uri_that_is_none_names_nobody(uri: str) -> None:
    assert read_certificate(CertificateAuthority().issue(uris=[uri]).der).subjects == ()


def test_an_address_names_nobody() -> None:
    assert read_certificate(CertificateAuthority().issue_for_loopback().der).subjects == ()


@pytest.mark.parametrize("version", [1, 3, 255])
def test_a_certificate_of_another_version_cannot_be_read(version: int) -> None:
    """X.509 v3 is written as 2 [RFC 5280 §4.1.2.1]; OpenSSL lets others pass, if a CA signs them."""
    v3, other = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([version])
    der = CertificateAuthority().issue(dns=["a.internal"]).der

    with pytest.raises(ValueError, match="the client certificate cannot be read"):
        read_certificate(der.replace(v3, other, 1))


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"junk"])
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(ValueError, match="the client certificate cannot be read"):
        read_certificate(der)
