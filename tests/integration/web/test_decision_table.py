"""Every row of the decision table, by every framework."""

from collections import Counter
from collections.abc import Mapping
from itertools import product

import pytest
from sidegate.integrations.policy import AntiCsrf, WebPolicy
from sidegate.testing import FakeSidecar

from tests.fakes.issuer import with_another_signature
from tests.integration.web.conftest import Serve
from tests.integration.web.decision_table import BODIES, ROWS, VALUES, Case, Row
from tests.integration.web.in_process import Reply, Sent

COOKIE = "session"
ANTI_CSRF_TOKEN = "csrf-1"


def request_of(case: Case, tokens: Mapping[str, str]) -> Sent:
    headers: list[tuple[str, str]] = []
    token = tokens[case.token]
    if case.transfer in {"header", "both"}:
        headers.append(("Authorization", f"Bearer {token}"))
    if case.transfer in {"cookie", "both"}:
        carried = token if case.transfer == "cookie" else tokens["forged"]
        headers.append(("Cookie", f"theme=dark; {COOKIE}={carried}; other=1"))
    if case.proof != "nothing":
        value = ANTI_CSRF_TOKEN if case.proof == "right" else "something"
        headers += [("anti-csrf", value), ("X-Requested-With", value)]
    return Sent(case.method, f"/{case.route}", headers)


def check(case: Case, reply: Reply, row: Row, tokens: Mapping[str, str]) -> None:
    assert reply.status == row.status, (case, reply)
    body = reply.body
    assert reply.one("content-type") == "application/json"
    assert reply.all("set-cookie") == []
    assert not any(token in reply.text or token in str(reply.headers) for token in tokens.values())
    assert (reply.one("retry-after") == "1") is (row.status == 503)
    challenge = reply.one("www-authenticate")
    if row.reason is None:
        assert body == {"user": None if case.transfer == "none" else "ada"}
        assert challenge is None
        return
    error, next_action = BODIES[row.reason]
    assert (body["error"], body["reason"], body.get("next_action")) == (error, row.reason, next_action), (case, reply)
    assert set(body) <= {"error", "reason", "next_action", "message"}
    assert body["message"]
    assert reply.one("cache-control") == "no-store"
    if row.status != 401:
        assert challenge is None
    elif row.reason == "NO_CREDENTIALS":
        assert challenge == 'Bearer realm="sidegate"'
    else:
        assert challenge == f'Bearer realm="sidegate", error="{error}", error_description="{body["message"]}"'


@pytest.fixture(scope="module")
def tokens(shared_sidecar: FakeSidecar) -> dict[str, str]:
    good = shared_sidecar.issue_token("ada", "alive", anti_csrf_token=ANTI_CSRF_TOKEN)
    revoked = shared_sidecar.issue_token("ada", "ended", anti_csrf_token=ANTI_CSRF_TOKEN)
    shared_sidecar.revoke_session("ended")
    return {
        "good": good,
        "expired": shared_sidecar.issue_token("ada", "alive", anti_csrf_token=ANTI_CSRF_TOKEN, expires_in=-60),
        "revoked": revoked,
        "forged": with_another_signature(good),
        "silent": shared_sidecar.issue_token("ada", "silent", anti_csrf_token=ANTI_CSRF_TOKEN),
    }


def test_every_case_has_exactly_one_row() -> None:
    covered = Counter(case for row in ROWS for case in row.cases())

    assert covered == Counter(Case(*values) for values in product(*VALUES))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_it_is_answered_as_the_table_says(row: Row, serve: Serve, sidecar: FakeSidecar, tokens: dict[str, str]) -> None:
    for anti_csrf in AntiCsrf:
        with serve(WebPolicy(cookie=COOKIE, anti_csrf=anti_csrf)) as send:
            cases = [case for case in row.cases() if case.anti_csrf == anti_csrf]
            for silent in (False, True):
                chosen = [case for case in cases if (case.token == "silent") is silent]
                if silent:
                    sidecar.faults.answer_unavailable()
                replies = send([request_of(case, tokens) for case in chosen])
                for case, reply in zip(chosen, replies, strict=True):
                    check(case, reply, row, tokens)
                sidecar.faults.clear()
