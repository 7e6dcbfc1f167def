"""What can be told about the admin listener's callers, and what of it is a mistake."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from sidegate_sidecar.access import Grant, Role
from sidegate_sidecar.settings import Settings, SettingsInvalid, load_settings

ISSUER = {"issuer": "https://issuer.example", "jwks_file": "/keys.json"}
ADMINS: dict[str, object] = {
    "issuer": "https://admin.example",
    "jwks_file": "/admin-keys.json",
    "audiences": ["sidegate-admin"],
    "admin_use": True,
}
GRANT: dict[str, object] = {"subject": "mtls:login.internal", "roles": ["revoker"]}
TOKEN_GRANT: dict[str, object] = {"subject": "token:https://admin.example#machine", "roles": ["revoker"]}


NONE: list[str] = []


def told(**changes: object) -> dict[str, str]:
    """The variables of an admin listener that is complete, but for what the test says. What is no text is JSON."""
    complete: dict[str, object] = {
        "store_url": "sqlite:///sessions.db",
        "admin_listen": "0.0.0.0:7312",
        "admin_tls_cert": "/tls.crt",
        "admin_tls_key": "/tls.key",
        "admin_tls_client_ca": "/ca.crt",
        "issuers": [ISSUER, ADMINS],
        "admin_grants": [GRANT],
        **changes,
    }
    return {
        f"SIDEGATE_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in complete.items()
    }


def settings(environ: Mapping[str, str]) -> Settings:
    return load_settings(environ)


def mistakes(environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(environ)
    return refused.value.mistakes


def test_grants_are_understood() -> None:
    entries = [
        {**GRANT, "roles": ["revoker", "self-sign-out"]},
        {**TOKEN_GRANT, "issuers": ["https://issuer.example"], "tenants": ["acme", "umbrella"]},
    ]

    assert [entry.grant() for entry in settings(told(admin_grants=entries)).admin_grants] == [
        Grant("mtls:login.internal", frozenset({Role.REVOKER, Role.SELF_SIGN_OUT})),
        Grant(
            "token:https://admin.example#machine",
            frozenset({Role.REVOKER}),
            frozenset({"https://issuer.example"}),
            frozenset({"acme", "umbrella"}),
        ),
    ]


def test_grants_can_stand_in_a_file(tmp_path: Path) -> None:
    config = tmp_path / "sidegate.toml"
    config.write_text('[[admin_grants]]\nsubject = "mtls:login.internal"\nroles = ["auditor"]\n')
    environ = told()
    del environ["SIDEGATE_ADMIN_GRANTS"]

    [entry] = load_settings(environ, config).admin_grants
    assert entry.grant() == Grant("mtls:login.internal", frozenset({Role.AUDITOR}))


@pytest.mark.parametrize(
    ("without", "with_"),
    [
        pytest.param("admin_tls_client_ca", {"admin_grants": [TOKEN_GRANT]}, id="tokens alone"),
        pytest.param("", {"issuers": [ISSUER]}, id="certificates alone"),
        pytest.param("", {"admin_grants": [GRANT, TOKEN_GRANT]}, id="both"),
        pytest.param("admin_grants", {"admin_listen": "unix:///run/admin.sock"}, id="no grants for a socket"),
    ],
)
def test_an_admin_listener_that_knows_its_callers_is_good(without: str, with_: dict[str, object]) -> None:
    environ = told(**with_)
    environ.pop(f"SIDEGATE_{without.upper()}", None)

    assert settings(environ).admin_listen


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"admin_tls_cert": "", "admin_tls_key": "", "admin_tls_client_ca": ""},
            "SIDEGATE_ADMIN_LISTEN: 0.0.0.0:7312: without authentication",
            id="no TLS",
        ),
        pytest.param(
            {"admin_tls_key": ""}, "SIDEGATE_ADMIN_TLS_KEY: admin_tls_cert and admin_tls_key are needed", id="no key"
        ),
        pytest.param(
            {"admin_tls_client_ca": "", "issuers": [ISSUER]},
            "SIDEGATE_ADMIN_LISTEN: 0.0.0.0:7312: nobody could be authenticated",
            id="no way to know anybody",
        ),
        pytest.param(
            {"admin_listen": "unix:///s", "admin_tls_cert": "", "admin_tls_key": ""},
            "SIDEGATE_ADMIN_TLS_CLIENT_CA: needs SIDEGATE_ADMIN_TLS_CERT",
            id="a client CA without TLS",
        ),
        pytest.param({"admin_grants": NONE}, "SIDEGATE_ADMIN_GRANTS: needed", id="no grants"),
        pytest.param({"admin_grants": ""}, "SIDEGATE_ADMIN_GRANTS: needed", id="no grants at all"),
        pytest.param({"admin_grants": "{"}, "SIDEGATE_ADMIN_GRANTS: not JSON", id="grants that are no JSON"),
        pytest.param(
            {"admin_grants": "{}"}, "SIDEGATE_ADMIN_GRANTS: must be a list of entries", id="grants that are no list"
        ),
        pytest.param({"admin_grants": [1]}, "SIDEGATE_ADMIN_GRANTS[0]: must be an entry", id="a grant that is none"),
        pytest.param(
            {"admin_grants": [{**GRANT, "tenant": ["a"]}]},
            "SIDEGATE_ADMIN_GRANTS[0].tenant: no such setting; did you mean tenants?",
            id="a misspelt bound",
        ),
        pytest.param(
            {"admin_grants": [{"roles": ["revoker"]}]}, "SIDEGATE_ADMIN_GRANTS[0].subject: is required", id="no subject"
        ),
        pytest.param(
            {"admin_grants": [{**GRANT, "subject": "login"}]},
            "SIDEGATE_ADMIN_GRANTS[0].subject: must begin with mtls: or token:",
            id="a subject that nobody can have",
        ),
        pytest.param(
            {"admin_grants": [{**GRANT, "roles": NONE}]},
            "SIDEGATE_ADMIN_GRANTS[0].roles: must not be empty",
            id="no roles",
        ),
        pytest.param(
            {"admin_grants": [{**GRANT, "roles": ["Revoker"]}]},
            "SIDEGATE_ADMIN_GRANTS[0].roles: no such role: Revoker; there are auditor, breaker",
            id="a role that does not exist",
        ),
        pytest.param(
            {"admin_grants": [{**GRANT, "tenants": NONE}]},
            "SIDEGATE_ADMIN_GRANTS[0].tenants: must name at least one",
            id="bound to no tenant at all",
        ),
        pytest.param(
            {"admin_grants": [{**GRANT, "tenants": [""]}]},
            "SIDEGATE_ADMIN_GRANTS[0].tenants: must name at least one",
            id="bound to an empty tenant",
        ),
        pytest.param(
            {"admin_grants": [GRANT, {**GRANT, "issuers": ["https://isuer.example"]}]},
            "SIDEGATE_ADMIN_GRANTS: entry 1: no issuer of that name is configured: https://isuer.example",
            id="bound to an issuer that does not exist",
        ),
        pytest.param(
            {"admin_grants": [{**GRANT, "subject": "token:https://issuer.example#machine"}]},
            "SIDEGATE_ADMIN_GRANTS: entry 0: no issuer with admin_use",
            id="tokens of a data-plane issuer",
        ),
        pytest.param(
            {"issuers": [ISSUER, {**ADMINS, "audiences": NONE}]},
            "SIDEGATE_ISSUERS[1].admin_use: needs audiences",
            id="admin tokens for any audience",
        ),
        pytest.param(
            {"issuers": [ISSUER, {**ADMINS, "issuer_claim_absent": True}]},
            "SIDEGATE_ISSUERS[1].admin_use: cannot stand beside issuer_claim_absent",
            id="admin tokens of nobody in particular",
        ),
        pytest.param(
            {"issuers": [ISSUER, {**ADMINS, "issuer": "https://admin.example#1"}]},
            "SIDEGATE_ISSUERS[1].issuer: must hold no #",
            id="an admin issuer that a subject could not tell from its user",
        ),
        pytest.param({"issuers": [ADMINS]}, "SIDEGATE_ISSUERS: every entry has admin_use", id="admin issuers alone"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, object], problem: str) -> None:
    (said,) = mistakes(told(**changes))
    assert said.startswith(problem)


def test_mistakes_of_all_kinds_are_told_together() -> None:
    said = mistakes(told(admin_tls_key="", admin_grants=[{**GRANT, "roles": ["boss"]}], log_level="loud"))

    assert [line.partition(":")[0] for line in said] == [
        "SIDEGATE_ADMIN_TLS_KEY",
        "SIDEGATE_ADMIN_GRANTS[0].roles",
        "SIDEGATE_LOG_LEVEL",
    ]


def test_admin_tokens_have_no_session_unless_their_entry_names_one() -> None:
    _, plain = settings(told()).issuers
    _, named = settings(told(issuers=[ISSUER, {**ADMINS, "session_claim": "jti"}])).issuers

    assert (plain.session_claim, named.session_claim) == ("", "jti")


def test_admin_tokens_do_not_stand_in_the_way_of_known_sessions() -> None:
    assert settings(told(unknown_sessions="reject")).unknown_sessions == "reject"
