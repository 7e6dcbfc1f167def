"""What the decision table leaves out: credentials in odd forms, what routes require, sign-out. By every framework."""

import uuid
from pathlib import Path

import pytest
from sidegate.integrations.policy import AntiCsrf, SessionCookie, WebPolicy
from sidegate.testing import FakeSidecar

from tests.fakes.issuer import FakeIssuer, with_another_signature
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar
from tests.integration.web.conftest import Serve
from tests.integration.web.faces import FACES
from tests.integration.web.in_process import Pairs, Reply, Sent

BY_COOKIE = WebPolicy(cookie="session", anti_csrf=AntiCsrf.NONE)
SUPERTOKENS = WebPolicy.supertokens()
NO_CUSTOM_HEADER = WebPolicy(cookie="session")


def bearer(token: str) -> Pairs:
    return [("Authorization", f"Bearer {token}")]


def cookie(token: str, name: str = "session") -> Pairs:
    return [("Cookie", f"{name}={token}")]


def ask(serve: Serve, sent: Sent, policy: WebPolicy = BY_COOKIE) -> Reply:
    with serve(policy) as send:
        (reply,) = send([sent])
    return reply


def cleared(reply: Reply) -> dict[str, dict[str, str]]:
    """The cookies that a reply clears, and their attributes, all in lower case but for values."""
    found: dict[str, dict[str, str]] = {}
    for header in reply.all("set-cookie"):
        first, *attributes = header.split("; ")
        name, _, value = first.partition("=")
        assert value.strip('"') == ""
        pairs = (attribute.partition("=") for attribute in attributes)
        found[name] = {key.lower(): given for key, _, given in pairs}
    return found


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_in_any_case(serve: Serve, sidecar: FakeSidecar, scheme: str) -> None:
    reply = ask(serve, Sent("GET", "/required", [("Authorization", f"{scheme} {sidecar.issue_token()}")]))

    assert (reply.status, reply.body) == (200, {"user": "ada"})


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        pytest.param([("Authorization", "Bearer")], "MALFORMED_CREDENTIALS", id="no token"),
        pytest.param([("Authorization", "Bearer a b")], "MALFORMED_CREDENTIALS", id="two tokens"),
        pytest.param([("Authorization", "Bearer a,b")], "MALFORMED_CREDENTIALS", id="a list"),
        pytest.param([("Authorization", 'Bearer "a"')], "MALFORMED_CREDENTIALS", id="quoted"),
        pytest.param([("Authorization", "")], "MALFORMED_CREDENTIALS", id="empty"),
        pytest.param([("Authorization", "Bearer a"), ("Authorization", "Bearer a")], "DUPLICATE_CREDENTIALS", id="two"),
        pytest.param(
            [("Authorization", "Basic a"), ("Authorization", "Bearer a")], "DUPLICATE_CREDENTIALS", id="mixed"
        ),
        pytest.param([("Authorization", "Bearer a, Bearer b")], "DUPLICATE_CREDENTIALS", id="joined"),
        pytest.param([("Cookie", "session=a; session=b")], "DUPLICATE_CREDENTIALS", id="two cookies"),
        pytest.param([("Cookie", "session=a; session=a")], "DUPLICATE_CREDENTIALS", id="the same cookie twice"),
        pytest.param([("Cookie", "session=; session=a")], "DUPLICATE_CREDENTIALS", id="an empty cookie and another"),
        pytest.param([("Cookie", "session=a")] * 2, "DUPLICATE_CREDENTIALS", id="in two fields"),
        pytest.param(
            [("Cookie", "session=a; x=1"), ("Cookie", "session=b")], "DUPLICATE_CREDENTIALS", id="behind another cookie"
        ),
        pytest.param([("Cookie", "session=a"), ("Cookie", "x=1; session=b")], "DUPLICATE_CREDENTIALS", id="before one"),
    ],
)
@pytest.mark.parametrize("route", ["/required", "/optional"])
def test_credentials_that_are_not_one_token_are_refused(serve: Serve, headers: Pairs, reason: str, route: str) -> None:
    reply = ask(serve, Sent("GET", route, headers))

    assert reply.status == 401
    assert (reply.body["error"], reply.body["reason"]) == ("invalid_request", reason)
    assert 'error="invalid_request"' in str(reply.one("www-authenticate"))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Authorization", "Basic dXNlcjpwYXNz")], id="another scheme"),
        pytest.param([("Authorization", "Bearerish x")], id="a scheme that begins likewise"),
        pytest.param([("Cookie", "session=")], id="an empty cookie"),
        pytest.param([("Cookie", 'session=""')], id="an empty cookie as Django sets one"),
        pytest.param([("Cookie", "Session=a; sessions=b; xsession=c")], id="other cookies"),
    ],
)
def test_what_is_not_meant_for_us_is_no_token(serve: Serve, headers: Pairs) -> None:
    assert ask(serve, Sent("GET", "/required", headers)).body["reason"] == "NO_CREDENTIALS"
    assert ask(serve, Sent("GET", "/optional", headers)).body == {"user": None}


def test_the_quotes_around_a_cookies_value_are_no_part_of_the_token(serve: Serve, sidecar: FakeSidecar) -> None:
    """RFC 6265 section 4.1.1; the cookie parsers of all frameworks take them off too."""
    reply = ask(serve, Sent("GET", "/required", cookie(f'"{sidecar.issue_token()}"')))

    assert (reply.status, reply.body) == (200, {"user": "ada"})


def test_a_cookie_that_no_policy_names_is_not_read(serve: Serve, sidecar: FakeSidecar) -> None:
    sent = Sent("GET", "/required", cookie(sidecar.issue_token()))

    assert ask(serve, sent, WebPolicy()).body["reason"] == "NO_CREDENTIALS"
    assert ask(serve, sent).status == 200


def test_a_bearer_token_wins_over_duplicate_cookies(serve: Serve, sidecar: FakeSidecar) -> None:
    headers = [*bearer(sidecar.issue_token()), ("Cookie", "session=a; session=b")]

    assert ask(serve, Sent("GET", "/required", headers)).status == 200


@pytest.mark.parametrize(
    ("claims", "status", "failed"),
    [
        ({"role": "admin", "level": 2}, 200, None),
        ({"role": ["user", "admin"], "level": [1, 2]}, 200, None),
        ({"role": "admin", "level": 2.0}, 200, None),
        ({"role": "user", "level": 2}, 403, "role"),
        ({"role": "administrator", "level": 2}, 403, "role"),
        ({"role": {"admin": True}, "level": 2}, 403, "role"),
        ({"level": 2}, 403, "role"),
        ({"role": "admin", "level": "2"}, 403, "level"),
        ({"role": "admin", "level": True}, 403, "level"),
        ({"role": "admin", "level": None}, 403, "level"),
    ],
    ids=str,
)
def test_a_claim_must_equal_what_is_required_or_be_a_list_that_holds_it(
    serve: Serve, sidecar: FakeSidecar, claims: dict[str, object], status: int, failed: str | None
) -> None:
    reply = ask(serve, Sent("GET", "/admin", bearer(sidecar.issue_token(claims=claims))))

    assert reply.status == status, reply
    if failed is not None:
        assert reply.body == {
            "error": "insufficient_claims",
            "reason": "CLAIM_REQUIREMENT_FAILED",
            "claim": failed,
            "message": f"the session does not meet the requirement '{failed}'",
        }
        assert reply.one("www-authenticate") is None


def test_a_function_may_require_anything_and_is_named_when_it_says_no(serve: Serve, sidecar: FakeSidecar) -> None:
    assert ask(serve, Sent("GET", "/ada", bearer(sidecar.issue_token("ada")))).status == 200
    reply = ask(serve, Sent("GET", "/ada", bearer(sidecar.issue_token("bob"))))
    assert (reply.status, reply.body["claim"]) == (403, "is_ada")


@pytest.mark.parametrize(
    ("route", "good", "reason"),
    [
        ("/audience", {"aud": "orders"}, "WRONG_AUDIENCE"),
        ("/tenant", {"tid": "acme"}, "WRONG_TENANT"),
    ],
)
def test_a_route_can_ask_for_audience_and_tenant(
    serve: Serve, sidecar: FakeSidecar, route: str, good: dict[str, object], reason: str
) -> None:
    assert ask(serve, Sent("GET", route, bearer(sidecar.issue_token(claims=good)))).status == 200
    refused = ask(serve, Sent("GET", route, bearer(sidecar.issue_token())))
    assert (refused.status, refused.body["reason"]) == (401, reason)


def test_only_a_route_that_checks_the_database_needs_it(serve: Serve, sidecar: FakeSidecar) -> None:
    token = sidecar.issue_token()
    assert ask(serve, Sent("GET", "/database", bearer(token))).status == 200

    sidecar.faults.take_store_down()

    assert ask(serve, Sent("GET", "/required", bearer(token))).status == 200
    assert ask(serve, Sent("GET", "/database", bearer(token))).status == 503


def test_a_view_can_ask_by_hand(serve: Serve, sidecar: FakeSidecar) -> None:
    assert ask(serve, Sent("GET", "/by-hand", bearer(sidecar.issue_token()))).body == {"user": "ada"}
    assert ask(serve, Sent("GET", "/by-hand")).body["reason"] == "NO_CREDENTIALS"


def test_a_sidecar_that_is_gone_is_no_logout(
    serve: Serve, sidecar: FakeSidecar, caplog: pytest.LogCaptureFixture
) -> None:
    token = sidecar.issue_token()
    sidecar.faults.answer_unavailable()

    reply = ask(serve, Sent("GET", "/required", cookie(token)))

    assert (reply.status, reply.one("retry-after"), reply.all("set-cookie")) == (503, "1", [])
    told = [record.getMessage() for record in caplog.records if record.name == "sidegate.integrations"]
    assert len(told) == 1
    assert "KEYS_UNAVAILABLE" in told[0]
    assert token not in told[0]
    assert "KEYS_UNAVAILABLE" not in reply.text


def test_signing_out_ends_the_session_and_clears_its_cookies(serve: Serve, sidecar: FakeSidecar) -> None:
    token = sidecar.issue_token("ada", anti_csrf_token="csrf-1")
    headers = [*cookie(token, "sAccessToken"), ("anti-csrf", "csrf-1")]

    reply = ask(serve, Sent("POST", "/sign-out", headers), SUPERTOKENS)

    assert (reply.status, reply.body) == (200, {"status": "OK", "revoked_count": 1})
    assert {name: given["path"] for name, given in cleared(reply).items()} == {
        "sAccessToken": "/",
        "sRefreshToken": "/auth/session/refresh",
    }
    for given in cleared(reply).values():
        assert given["max-age"] == "0"
        assert given["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert given["samesite"] == "Lax"
        assert {"secure", "httponly"} <= set(given)
    assert reply.one("front-token") == "remove"
    after = ask(serve, Sent("GET", "/required", cookie(token, "sAccessToken")), SUPERTOKENS)
    assert after.body["reason"] == "SESSION_REVOKED"


def test_cookies_of_one_name_are_cleared_on_every_path(serve: Serve, sidecar: FakeSidecar) -> None:
    policy = WebPolicy(
        cookie="session",
        anti_csrf=AntiCsrf.NONE,
        clear_on_sign_out=(
            SessionCookie(name="session"),
            SessionCookie(name="session", path="/app", domain="example.com", secure=False, http_only=False),
        ),
    )

    reply = ask(serve, Sent("POST", "/sign-out", cookie(sidecar.issue_token())), policy)

    paths = sorted(part for header in reply.all("set-cookie") for part in header.split("; ") if part.startswith("Path"))
    assert paths == ["Path=/", "Path=/app"]
    assert cleared(
        Reply(200, [("set-cookie", header) for header in reply.all("set-cookie") if "/app" in header], "")
    ) == {
        "session": {
            "expires": "Thu, 01 Jan 1970 00:00:00 GMT",
            "max-age": "0",
            "path": "/app",
            "domain": "example.com",
            "samesite": "Lax",
        }
    }


@pytest.mark.parametrize(
    ("scope", "ended", "keeps_cookie"),
    [
        ("THIS_SESSION", {"this"}, False),
        ("ALL_SESSIONS", {"this", "other"}, False),
        ("OTHER_SESSIONS", {"other"}, True),
    ],
)
def test_the_scope_says_which_sessions_end(
    serve: Serve, sidecar: FakeSidecar, scope: str, ended: set[str], *, keeps_cookie: bool
) -> None:
    user = f"user-{uuid.uuid4()}"
    tokens = {name: sidecar.issue_token(user) for name in ("this", "other")}

    reply = ask(serve, Sent("POST", f"/sign-out?scope={scope}", cookie(tokens["this"])))

    assert (reply.status, reply.body["revoked_count"]) == (200, len(ended))
    assert (cleared(reply) == {}) is keeps_cookie
    status = {name: ask(serve, Sent("GET", "/database", bearer(token))).status for name, token in tokens.items()}
    assert {name for name, seen in status.items() if seen == 401} == ended


def test_a_scope_that_there_is_not_ends_nothing(serve: Serve, sidecar: FakeSidecar) -> None:
    token = sidecar.issue_token()

    reply = ask(serve, Sent("POST", "/sign-out?scope=EVERYBODY", cookie(token)))

    assert (reply.status, reply.body["reason"]) == (400, "UNKNOWN_SCOPE")
    assert ask(serve, Sent("GET", "/database", bearer(token))).status == 200


def test_a_token_that_names_no_session_can_only_end_all_of_them(folder: Path) -> None:
    """Its issuer's entry takes such tokens. The fake's does not, so a real sidecar is asked."""
    issuer = FakeIssuer()
    entry = file_issuer(issuer, folder, session_claim="")
    settings = {"issuers": issuers_setting(entry), "store_url": f"sqlite:///{folder}/sessions.db"}
    with running_sidecar(folder, **settings) as real:
        for name, face in FACES.items():
            headers = cookie(issuer.mint(name, sid=None))
            with face(BY_COOKIE, real.target) as send:
                (this,) = send([Sent("POST", "/sign-out", headers)])
                (all_of_them,) = send([Sent("POST", "/sign-out?scope=ALL_SESSIONS", headers)])

            assert (this.status, this.body["reason"], this.all("set-cookie")) == (400, "UNKNOWN_SCOPE", [])
            assert "must be ALL_SESSIONS" in this.body["message"]
            assert (all_of_them.status, set(cleared(all_of_them))) == (200, {"session"})


def test_signing_out_by_bearer_token_leaves_cookies_alone(serve: Serve, sidecar: FakeSidecar) -> None:
    headers = [*bearer(sidecar.issue_token()), *cookie(sidecar.issue_token())]

    reply = ask(serve, Sent("POST", "/sign-out", headers))

    assert (reply.status, reply.all("set-cookie")) == (200, [])


def test_signing_out_is_for_post_alone(serve: Serve, sidecar: FakeSidecar) -> None:
    token = sidecar.issue_token()

    assert ask(serve, Sent("GET", "/sign-out", cookie(token))).status == 405
    assert ask(serve, Sent("GET", "/database", bearer(token))).status == 200


@pytest.mark.parametrize(
    ("state", "reason", "clears"),
    [
        ("revoked", "SESSION_REVOKED", True),
        ("forged", "BAD_SIGNATURE", True),
        ("expired", "EXPIRED", False),  # the session is alive: refresh, then sign out
    ],
)
def test_signing_out_with_a_bad_token_clears_cookies_if_nothing_can_revive_it(
    serve: Serve, sidecar: FakeSidecar, state: str, reason: str, *, clears: bool
) -> None:
    handle = str(uuid.uuid4())
    token = sidecar.issue_token("ada", handle, expires_in=-60 if state == "expired" else 600)
    if state == "revoked":
        sidecar.revoke_session(handle)
    if state == "forged":
        token = with_another_signature(token)

    reply = ask(serve, Sent("POST", "/sign-out", cookie(token)))

    assert (reply.status, reply.body["reason"]) == (401, reason)
    assert set(cleared(reply)) == ({"session"} if clears else set())


@pytest.mark.parametrize(
    ("policy", "proof", "status"),
    [
        pytest.param(NO_CUSTOM_HEADER, [], 403, id="no custom header"),
        pytest.param(WebPolicy(cookie="session", anti_csrf=AntiCsrf.TOKEN), [], 401, id="no anti-CSRF token"),
        pytest.param(
            WebPolicy(cookie="session", anti_csrf=AntiCsrf.TOKEN), [("anti-csrf", "a guess")], 401, id="another token"
        ),
    ],
)
def test_another_site_can_neither_sign_a_user_out_nor_clear_their_cookies(
    serve: Serve, sidecar: FakeSidecar, policy: WebPolicy, proof: Pairs, status: int
) -> None:
    token = sidecar.issue_token("ada", anti_csrf_token="csrf-1")

    reply = ask(serve, Sent("POST", "/sign-out", [*cookie(token), *proof]), policy)

    assert (reply.status, reply.all("set-cookie")) == (status, [])
    assert ask(serve, Sent("GET", "/database", bearer(token))).status == 200


def test_a_sign_out_whose_outcome_is_unknown_leaves_the_cookies(serve: Serve, sidecar: FakeSidecar) -> None:
    token = sidecar.issue_token()
    sidecar.faults.take_store_down()

    reply = ask(serve, Sent("POST", "/sign-out", cookie(token)))

    assert (reply.status, reply.body["reason"]) == (503, "SIGN_OUT_UNAVAILABLE")
    assert (reply.one("retry-after"), reply.all("set-cookie")) == ("1", [])


def test_signing_out_without_a_token_is_refused(serve: Serve) -> None:
    assert ask(serve, Sent("POST", "/sign-out")).body["reason"] == "NO_CREDENTIALS"
