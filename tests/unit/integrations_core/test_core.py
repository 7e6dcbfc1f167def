"""The core of the integrations, by itself: what settings it takes, what tokens it finds, what it says."""

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidegate import (
    ClientClosed,
    EvidenceSource,
    ForkUnsupported,
    NextAction,
    NotSupported,
    Rejection,
    RejectionReason,
    RevocationUnavailable,
    Session,
    SessionRejected,
    VerificationUnavailable,
)
from sidegate.integrations.answers import answer_to, answer_to_sign_out_failure
from sidegate.integrations.credentials import Credentials, IncomingRequest, Transfer, bearer_token, read_credentials
from sidegate.integrations.guard import route_rules
from sidegate.integrations.policy import AntiCsrf, SessionCookie, WebPolicy
from sidegate.integrations.refusals import (
    ClaimRequirementFailed,
    CredentialsProblem,
    CredentialsRefused,
    CsrfRefused,
    ScopeRefused,
)
from sidegate.integrations.requirements import check_session, checks
from sidegate.verdicts import Evidence

SESSION = Session(
    issuer="https://issuer.example",
    session_handle="s1",
    user_id="ada",
    tenant_id="",
    token_issue_time=datetime(2026, 1, 1, tzinfo=UTC),
    token_expire_time=datetime(2026, 1, 2, tzinfo=UTC),
    claims_json='{"role": "admin"}',
    evidence=Evidence(EvidenceSource.LOCAL),
)
BY_COOKIE = WebPolicy(cookie="session", anti_csrf=AntiCsrf.NONE)
TOKENS = st.text("ABCxyz019-._~+/", min_size=1)


def request_with(method: str = "GET", **headers: str) -> IncomingRequest:
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return IncomingRequest(method, lambda name: [found[name.lower()]] if name.lower() in found else [])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: WebPolicy(cookie="a;b"), id="a semicolon in the cookie's name"),
        pytest.param(lambda: WebPolicy(cookie=""), id="a cookie without a name"),
        pytest.param(lambda: WebPolicy(cookie="a b"), id="a space in the cookie's name"),
        pytest.param(lambda: WebPolicy(realm='x"'), id="a quote in the realm"),
        pytest.param(lambda: WebPolicy(realm="x\r\ny"), id="a line break in the realm"),
        pytest.param(lambda: WebPolicy(realm=""), id="an empty realm"),
        pytest.param(lambda: WebPolicy(custom_header="X Y"), id="a space in a header's name"),
        pytest.param(lambda: WebPolicy(anti_csrf_header=""), id="a header without a name"),
        pytest.param(lambda: WebPolicy(retry_after=0), id="no pause before trying again"),
        pytest.param(lambda: WebPolicy(sign_out_headers=(("a", "b\nc"),)), id="a line break in a header"),
        pytest.param(lambda: WebPolicy(sign_out_headers=(("a:", "b"),)), id="a colon in a header's name"),
        pytest.param(lambda: SessionCookie(name="a="), id="an equals sign in a name"),
        pytest.param(lambda: SessionCookie(name="a", path="x"), id="a path without a slash"),
        pytest.param(lambda: SessionCookie(name="a", path="/; Secure"), id="a semicolon in a path"),
        pytest.param(lambda: SessionCookie(name="a", domain="a;b"), id="a semicolon in a domain"),
        pytest.param(lambda: SessionCookie(name="a", domain=""), id="an empty domain"),
    ],
)
def test_what_cannot_stand_in_a_header_is_a_mistake(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|cannot"):
        make()


@pytest.mark.parametrize("rule", ["VIA_TOKEN", "VIA_CUSTOM_HEADER", "none", "", None, True])
def test_a_rule_that_there_is_not_is_a_mistake_and_no_absence_of_rules(rule: Any) -> None:
    for make in (WebPolicy, WebPolicy.supertokens):
        with pytest.raises(ValueError, match="one of TOKEN, CUSTOM_HEADER, NONE"):
            make(anti_csrf=rule)


@pytest.mark.parametrize("name", ["Accept", "content-type", "Origin", "Cookie", "Authorization", "Sec-Fetch-Site"])
def test_a_header_that_other_sites_can_have_sent_is_no_proof(name: str) -> None:
    """Fetch standard: "CORS-safelisted request-header", "forbidden request-header"."""
    with pytest.raises(ValueError, match="custom_header"):
        WebPolicy(cookie="session", custom_header=name)


def test_a_policy_clears_the_cookie_that_it_reads() -> None:
    assert WebPolicy().cleared_cookies == ()
    assert [cookie.clearing() for cookie in BY_COOKIE.cleared_cookies] == [
        "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"
    ]


@given(TOKENS)
def test_a_bearer_token_is_found_whole(token: str) -> None:
    assert bearer_token([f"Bearer {token}"]) == token
    assert bearer_token([f" bEARER   {token}= \t"]) == f"{token}="


@given(st.lists(st.text(), max_size=3))
def test_no_authorization_header_breaks_the_parser_or_comes_back_in_its_complaint(values: list[str]) -> None:
    complaint, found = None, None
    try:
        found = bearer_token(values)
    except CredentialsRefused as refused:
        complaint = refused.message

    assert found is None or found in values[0]
    assert complaint in {
        None,
        "the request has more than one Authorization header",
        "the Authorization header is not 'Bearer' and one token",
    }


@given(st.text().filter(lambda text: "session" not in text))
def test_a_cookie_is_found_by_its_exact_name_whatever_stands_beside_it(noise: str) -> None:
    for name in ("Session", "xsession", "session.1"):
        assert read_credentials(request_with(cookie=f"{noise};{name}=t"), BY_COOKIE) is None
    found = read_credentials(request_with(cookie=f"{noise}; session=t;{noise}"), BY_COOKIE)
    assert found == Credentials("t", Transfer.COOKIE)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_a_safe_method_needs_no_proof(method: str) -> None:
    """RFC 9110 section 9.2.1."""
    policy = WebPolicy(cookie="session")

    assert read_credentials(request_with(method, cookie="session=t"), policy) == Credentials("t", Transfer.COOKIE)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "QUERY", "get", "WEBSOCKET", ""])
def test_every_other_method_needs_proof(method: str) -> None:
    with pytest.raises(CsrfRefused):
        read_credentials(request_with(method, cookie="session=t"), WebPolicy(cookie="session"))


def test_a_cookie_split_over_several_fields_is_one() -> None:
    """RFC 9113 section 8.2.3."""
    request = IncomingRequest("GET", lambda name: ["a=1", "session=t"] if name == "cookie" else [])

    assert read_credentials(request, BY_COOKIE) == Credentials("t", Transfer.COOKIE)


@pytest.mark.parametrize(
    "second", ["session=t", " session=t", "\tsession =t", "session", 'session="t"', "session=t; y=1"]
)
@pytest.mark.parametrize("first", ["session=t; x=1", 'session="t"; x="1"', "x=1", "x=", "", "session=t", "x=1,y=1"])
def test_a_cookie_behind_the_comma_of_joined_headers_is_refused(first: str, second: str) -> None:
    """Alone it may be another cookie's value that looks so: it proves nothing, and is no reason to serve a stranger."""
    with pytest.raises(CredentialsRefused) as refused:
        read_credentials(request_with(cookie=f"{first},{second}"), BY_COOKIE)
    assert refused.value.problem is CredentialsProblem.DUPLICATE_CREDENTIALS


def test_commas_in_other_cookies_do_no_harm() -> None:
    found = read_credentials(request_with(cookie='x=1,2; prefs={"a":1,"sessions":2},xsession=1; session=t'), BY_COOKIE)

    assert found == Credentials("t", Transfer.COOKIE)


def test_tokens_stay_out_of_what_is_printed() -> None:
    assert "t0ken" not in repr(Credentials("t0ken", Transfer.COOKIE, "t0ken"))


async def coroutine(session: Session) -> bool:
    return False


@pytest.mark.parametrize(
    "require",
    [
        pytest.param(coroutine, id="a coroutine function"),
        pytest.param([coroutine], id="one of several"),
        pytest.param({"role": ["a"]}, id="a list for a claim"),
        pytest.param({"role": None}, id="nothing for a claim"),
        pytest.param("admin", id="a string"),
        pytest.param(7, id="a number"),
        pytest.param([7], id="a list of numbers"),
    ],
)
def test_what_could_not_be_checked_is_a_mistake_before_any_request(require: Any) -> None:
    with pytest.raises(TypeError):
        route_rules(require=require)


def test_audiences_are_not_one_string() -> None:
    with pytest.raises(TypeError):
        route_rules(audiences="orders")


@pytest.mark.parametrize("answer", [None, 1, "yes", coroutine], ids=["nothing", "1", "yes", "a function"])
def test_a_requirement_that_answers_neither_yes_nor_no_lets_nobody_in(answer: object) -> None:
    with pytest.raises(TypeError):
        check_session(checks(lambda session: answer), SESSION)  # type: ignore[arg-type, return-value] # the mistake


@pytest.mark.parametrize(
    ("claim", "required", "met"),
    [("true", True, True), ("true", 1, False), ("1", True, False), ("[1]", True, False), ("1", 1.0, True)],
)
def test_a_bool_is_no_number(claim: str, required: Any, met: bool) -> None:
    session = dataclasses.replace(SESSION, claims_json=f'{{"level": {claim}}}')

    with nullcontext() if met else pytest.raises(ClaimRequirementFailed):
        check_session(checks({"level": required}), session)


def test_all_of_several_requirements_must_be_met() -> None:
    def is_bob(session: Session) -> bool:
        return session.user_id == "bob"

    check_session(checks([{"role": "admin"}]), SESSION)
    with pytest.raises(ClaimRequirementFailed) as caught:
        check_session(checks([{"role": "admin"}, is_bob]), SESSION)
    assert caught.value.requirement == "is_bob"


@pytest.mark.parametrize(
    "error",
    [
        CredentialsRefused(CredentialsProblem.NO_CREDENTIALS, "said"),
        CsrfRefused("said"),
        ScopeRefused("said"),
        ClaimRequirementFailed("role"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_survives_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert (type(copy), vars(copy), str(copy)) == (type(error), vars(error), str(error))


def test_what_a_sidecar_says_cannot_break_out_of_the_challenge() -> None:
    message = 'evil"\r\nSet-Cookie: a=b\\ é'
    rejected = SessionRejected(Rejection(RejectionReason.EXPIRED, NextAction.REFRESH, message))

    (challenge, _) = answer_to(rejected, WebPolicy()).headers

    assert challenge[1].endswith('error_description="evil???Set-Cookie: a=b? ?"')


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (VerificationUnavailable("unix:///secret: down", code="UNAVAILABLE"), 503, "VERIFICATION_UNAVAILABLE"),
        (ClientClosed("the client was closed"), 503, "VERIFICATION_UNAVAILABLE"),
        (ForkUnsupported("gRPC would hang here"), 503, "VERIFICATION_UNAVAILABLE"),
    ],
)
def test_no_verdict_is_503_and_says_nothing_of_the_inside(error: Any, status: int, reason: str) -> None:
    answer = answer_to(error, WebPolicy(retry_after=7))

    assert (answer.status, answer.body["reason"], dict(answer.headers)["Retry-After"]) == (status, reason, "7")
    assert error.args[0] not in str(answer)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (RevocationUnavailable("down", code="UNAVAILABLE"), 503, "SIGN_OUT_UNAVAILABLE"),
        (NotSupported("no", code="UNIMPLEMENTED"), 501, "SIGN_OUT_NOT_SUPPORTED"),
    ],
)
def test_a_sign_out_that_did_not_happen_clears_nothing(error: Any, status: int, reason: str) -> None:
    answer = answer_to_sign_out_failure(error, BY_COOKIE)

    assert (answer.status, answer.body["reason"], answer.cleared_cookies) == (status, reason, ())


@pytest.mark.parametrize("framework", ["fastapi", "starlette", "flask", "django"])
def test_a_missing_framework_is_named_with_the_extra_that_brings_it(framework: str) -> None:
    program = f"import sys; sys.modules[{framework!r}] = None; import sidegate.integrations.{framework}"
    # None in sys.modules makes an import fail as if nothing were installed.
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert outcome.returncode == 1
    assert f"ImportError: sidegate.integrations.{framework} needs {framework}" in outcome.stderr
    assert f"pip install 'sidegate[{framework}]'" in outcome.stderr
