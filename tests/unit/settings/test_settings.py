"""What an operator writes, right and wrong. Every mistake is told at once, by its name, and never with its value."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import ALGORITHMS, SECOND
from sidegate_sidecar.settings import IssuerEntry, Settings, SettingsInvalid, load_settings, misspelt_variables

ISSUER = "https://issuer.example"
ONE = {"SIDEGATE_ISSUER": ISSUER}
SECRET = "s3cret-value"
HOUR = 3600 * SECOND


def variables(**settings: str) -> dict[str, str]:
    return {f"SIDEGATE_{name.upper()}": value for name, value in settings.items()}


def issuers(*entries: Mapping[str, object]) -> dict[str, str]:
    return variables(issuers=json.dumps(entries))


def entry(**members: object) -> dict[str, object]:
    return {"issuer": ISSUER, "jwks_file": "/keys.json", **members}


def toml(folder: Path, text: str) -> Path:
    path = folder / "sidegate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(environ: Mapping[str, str], config: Path | None = None, *, admin_on_loopback: bool = False) -> list[str]:
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(environ, config, admin_on_loopback=admin_on_loopback)
    assert str(refused.value) == "\n".join(refused.value.mistakes)
    assert SECRET not in str(refused.value)
    return refused.value.mistakes


def only_entry(settings: Settings) -> IssuerEntry:
    (only,) = settings.issuers
    return only


# What is understood.


def test_one_issuer_alone_is_enough_and_asked_by_discovery() -> None:
    settings = load_settings(ONE)

    assert only_entry(settings).issuer == ISSUER
    assert only_entry(settings).discovery
    assert settings.listen == (Listener(path=Path("/run/sidegate/sidegate.sock")),)
    assert (settings.admin_listen, settings.store_url, settings.sqlite_path) == ((), "", None)
    assert (settings.max_token_lifetime, settings.max_session_lifetime) == (24 * HOUR, 30 * 24 * HOUR)


def test_one_issuer_takes_everything_that_an_entry_takes() -> None:
    one = only_entry(
        load_settings(
            ONE
            | variables(
                jwks_url="https://issuer.example/keys",
                audiences="orders, billing",
                algorithms="RS256,ES256",
                session_claim="handle",
                key_id_required="true",
                issuer_clock_skew="1.5s",
                request_headers=json.dumps({"Authorization": SECRET}),
            )
        )
    )

    assert (one.jwks_url, one.discovery) == ("https://issuer.example/keys", False)
    assert (one.audiences, one.algorithms) == (("orders", "billing"), ("RS256", "ES256"))
    assert (one.session_claim, one.key_id_required, one.issuer_clock_skew) == ("handle", True, 3 * SECOND // 2)
    assert one.request_headers == {"Authorization": SECRET}


def test_unknown_sessions_of_one_issuer_are_those_of_the_sidecar() -> None:
    settings = load_settings(ONE | variables(unknown_sessions="reject"))

    assert settings.unknown_sessions == "reject"
    assert only_entry(settings).unknown_sessions is None


@pytest.mark.parametrize("key_source", ["jwks_url", "jwks_file", "pem_file"])
def test_one_issuer_with_keys_of_its_own_is_not_asked_by_discovery(key_source: str) -> None:
    value = "https://issuer.example/keys" if key_source == "jwks_url" else "/keys"

    assert not only_entry(load_settings(ONE | variables(**{key_source: value}))).discovery


def test_a_file_says_what_variables_say(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        """
        listen = ["unix:///run/a.sock", "127.0.0.1:0"]
        store_url = "sqlite:///var/lib/sidegate/sessions.db"
        admin_listen = "unix:///run/admin.sock"
        leeway = 5
        max_token_lifetime = "1h"
        [[issuers]]
        issuer = "https://one.example"
        discovery = true
        [[issuers]]
        issuer = "two"
        jwks_file = "/keys.json"
        audiences = ["orders"]
        [issuers.request_headers]
        X-Key = "x"
        """,
    )

    from_file = load_settings({}, path)

    assert from_file == load_settings(
        variables(
            listen="unix:///run/a.sock,127.0.0.1:0",
            store_url="sqlite:///var/lib/sidegate/sessions.db",
            admin_listen="unix:///run/admin.sock",
            leeway="5s",
            max_token_lifetime="60m",
        )
        | issuers(
            {"issuer": "https://one.example", "discovery": True},
            {"issuer": "two", "jwks_file": "/keys.json", "audiences": ["orders"], "request_headers": {"X-Key": "x"}},
        )
    )
    assert from_file.sqlite_path == Path("/var/lib/sidegate/sessions.db")


def test_variables_win_over_the_file_setting_by_setting(tmp_path: Path) -> None:
    path = toml(tmp_path, f'issuer = "{ISSUER}"\nleeway = 5\nlog_level = "debug"\n')

    settings = load_settings(variables(leeway="7"), path)

    assert (settings.leeway, settings.log_level) == (7 * SECOND, "debug")


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    path = toml(tmp_path, f'issuer = "{ISSUER}"\nleeway = 5\n')

    assert load_settings({"SIDEGATE_CONFIG": str(path)}).leeway == 5 * SECOND


def test_an_argument_names_the_file_before_the_variable_does(tmp_path: Path) -> None:
    path = toml(tmp_path, f'issuer = "{ISSUER}"\n')

    assert load_settings({"SIDEGATE_CONFIG": str(tmp_path / "none")}, path).issuers


@pytest.mark.parametrize(
    ("preset", "session", "tenant", "anti_csrf"),
    [("oidc", "sid", None, None), ("supertokens", "sessionHandle", "tId", "antiCsrfToken")],
)
def test_a_preset_names_the_claims(preset: str, session: str, tenant: str | None, anti_csrf: str | None) -> None:
    one = only_entry(load_settings(issuers(entry(preset=preset))))

    assert (one.session_claim, one.tenant_claim, one.anti_csrf_claim) == (session, tenant, anti_csrf)


def test_what_an_entry_names_itself_wins_over_its_preset() -> None:
    one = only_entry(load_settings(issuers(entry(preset="supertokens", session_claim="", tenant_claim="tenant"))))

    assert (one.session_claim, one.tenant_claim, one.anti_csrf_claim) == ("", "tenant", "antiCsrfToken")


def test_without_a_list_every_supported_algorithm_will_do() -> None:
    assert set(only_entry(load_settings(ONE)).algorithms) == ALGORITHMS


def test_a_leeway_of_60_s_is_the_most() -> None:
    assert load_settings(ONE | variables(leeway="60s")).leeway == 60 * SECOND
    assert mistakes(ONE | variables(leeway="60.001s")) == ["SIDEGATE_LEEWAY: must not be more than 60s"]


# Mistakes.


def test_every_mistake_is_told_at_once() -> None:
    told = mistakes(
        variables(leeway="soon", log_level="loud", admin_listen="unix:///a", reflection="perhaps")
        | issuers(entry(algorithms=["none"]), {"issuer": "no key source"}, entry(user_claim="", audience="orders"))
    )

    assert sorted(line.partition(": ")[0] for line in told) == [
        "SIDEGATE_ADMIN_LISTEN",
        "SIDEGATE_ISSUERS[0].algorithms",
        "SIDEGATE_ISSUERS[1]",
        "SIDEGATE_ISSUERS[2].audience",
        "SIDEGATE_ISSUERS[2].user_claim",
        "SIDEGATE_LEEWAY",
        "SIDEGATE_LOG_LEVEL",
        "SIDEGATE_REFLECTION",
    ]


def test_a_mistake_names_where_it_was_made(tmp_path: Path) -> None:
    path = toml(tmp_path, 'leeway = "soon"\nlog_level = "loud"\n[[issuers]]\nissuer = "i"\npem_file = 3\n')

    units = "write seconds as a plain number, or with a unit: 250ms, 90s, 15m, 24h, 30d"
    assert sorted(mistakes(variables(log_level="louder"), path)) == [
        "SIDEGATE_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'",
        f"issuers[0].pem_file: Input is not a valid path for <class 'pathlib.Path'> (in {path})",
        f"leeway: not a duration; {units} (in {path})",
    ]


@pytest.mark.parametrize(
    ("in_file", "in_variables", "named"),
    [
        pytest.param('issuer = "i"\nuser_claim = ""\n', {}, "user_claim: ", id="all in the file"),
        pytest.param('issuer = "i"\n', {"user_claim": ""}, "SIDEGATE_USER_CLAIM: ", id="issuer in the file"),
        pytest.param('user_claim = ""\n', {"issuer": "i"}, "user_claim: ", id="issuer in a variable"),
        pytest.param("", {"issuer": "i", "user_claim": ""}, "SIDEGATE_USER_CLAIM: ", id="all in variables"),
    ],
)
def test_a_mistake_of_the_single_issuer_is_named_by_its_own_setting(
    tmp_path: Path, in_file: str, in_variables: dict[str, str], named: str
) -> None:
    (told,) = mistakes(variables(**in_variables), toml(tmp_path, in_file))

    assert told.startswith(named)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('leeeway = 3\nissuer = "https://i"', "leeeway: no such setting; did you mean leeway?"),
        ('zzz = 3\nissuer = "https://i"', "zzz: no such setting"),
        (
            '[[issuers]]\nissuer = "i"\njwks_file = "/k"\naudience = "a"',
            "issuers[0].audience: no such setting; did you mean audiences?",
        ),
    ],
)
def test_a_setting_that_does_not_exist_is_a_mistake_with_a_suggestion(tmp_path: Path, written: str, meant: str) -> None:
    path = toml(tmp_path, written)

    assert mistakes({}, path) == [f"{meant} (in {path})"]


def test_no_issuer_is_a_mistake_that_says_what_to_set() -> None:
    (told,) = mistakes({})

    assert "no issuer is configured; set SIDEGATE_ISSUER" in told


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param(ONE | issuers(entry()), id="issuer beside issuers"),
        pytest.param(issuers(entry()) | variables(audiences="orders"), id="audiences beside issuers"),
        pytest.param(variables(jwks_url="https://issuer.example/keys"), id="jwks_url without an issuer"),
    ],
)
def test_what_is_for_a_single_issuer_stands_beside_that_alone(environ: dict[str, str]) -> None:
    assert any("is for a single issuer" in told for told in mistakes(environ))


@pytest.mark.parametrize(
    ("members", "told"),
    [
        pytest.param({"jwks_url": "https://i.example"}, "exactly one of jwks_url, jwks_file", id="two key sources"),
        pytest.param({"jwks_file": None}, "exactly one of jwks_url, jwks_file", id="no key source"),
        pytest.param({"anti_csrf_required": True}, "anti_csrf_required needs anti_csrf_claim", id="no anti-CSRF claim"),
        pytest.param({"algorithms": ["HS256"]}, "not supported: HS256", id="a symmetric algorithm"),
        pytest.param({"algorithms": "none"}, "not supported: none", id="no algorithm"),
        pytest.param({"issuer_clock_skew": -1}, "not a duration", id="a negative span"),
        pytest.param({"issuer_clock_skew": True}, "not a duration", id="a flag for a span"),
        pytest.param({"issuer": ""}, "at least 1 character", id="no name"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(members: dict[str, object], told: str) -> None:
    (only,) = mistakes(issuers(entry(**members)))

    assert only.startswith("SIDEGATE_ISSUERS[0]")
    assert told in only


def test_two_entries_of_one_issuer_are_refused() -> None:
    assert mistakes(issuers(entry(), entry())) == [f"SIDEGATE_ISSUERS: configured more than once: {ISSUER}"]


def test_only_one_entry_can_be_for_tokens_that_do_not_say_whose_they_are() -> None:
    (told,) = mistakes(issuers(entry(issuer_claim_absent=True), entry(issuer="two", issuer_claim_absent=True)))

    assert "only one entry can have issuer_claim_absent" in told


# The admin listener.

WITH_STORE = ONE | variables(store_url="sqlite:///sessions.db")


@pytest.mark.parametrize(
    ("listener", "by_run", "by_dev"),
    [
        ("unix:///run/admin.sock", True, True),
        ("127.0.0.1:0", False, True),
        ("[::1]:0", False, True),
        ("localhost:0", False, True),
        ("0.0.0.0:0", False, False),
        ("[::]:0", False, False),
        ("admin.example:1", False, False),
        ("unix:///run/admin.sock,10.0.0.1:1", False, False),
    ],
)
def test_admin_services_without_authentication_are_private(listener: str, by_run: bool, by_dev: bool) -> None:
    environ = WITH_STORE | variables(admin_listen=listener)
    for allowed, on_loopback in ((by_run, False), (by_dev, True)):
        if allowed:
            assert load_settings(environ, admin_on_loopback=on_loopback).admin_listen
        else:
            (told,) = mistakes(environ, admin_on_loopback=on_loopback)
            assert told.startswith("SIDEGATE_ADMIN_LISTEN: ")
            assert "without authentication" in told


def test_admin_services_need_a_store() -> None:
    assert mistakes(ONE | variables(admin_listen="unix:///run/admin.sock")) == [
        "SIDEGATE_ADMIN_LISTEN: needs a store; set SIDEGATE_STORE_URL"
    ]


# Secrets.


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param(ONE | variables(store_url=f"mysql://u:{SECRET}@h"), id="store_url"),
        pytest.param(ONE | variables(request_headers=f'{{"A": ["{SECRET}"]}}'), id="a header that is no text"),
        pytest.param(ONE | variables(request_headers=f'"{SECRET}"'), id="headers that are no object"),
        pytest.param(ONE | variables(request_headers=SECRET), id="headers that are no JSON"),
        pytest.param(issuers(entry(request_headers={"A": {"B": SECRET}})), id="a header of an entry"),
        pytest.param(
            issuers(entry(jwks_file=None, jwks_url="https://i", request_headers={"A": SECRET + "\n"})),
            id="a header with a line break",
        ),
        pytest.param(issuers(entry(jwks_file=None, jwks_url=f"https://u:{SECRET}@i")), id="a password in a URL"),
        pytest.param(variables(issuers=SECRET), id="issuers that are no JSON"),
    ],
)
def test_no_secret_is_in_a_message(environ: dict[str, str]) -> None:
    assert mistakes(environ)  # which looks for it


def test_no_secret_of_a_file_is_in_a_message(tmp_path: Path) -> None:
    for text in (f"store_url = {SECRET}", f'store_url = "{SECRET}', f'store_url = ["{SECRET}"]\nissuer = "i"'):
        assert mistakes({}, toml(tmp_path, text))


def test_no_secret_is_in_a_repr() -> None:
    settings = load_settings(
        variables(store_url=f"sqlite:///{SECRET}") | issuers(entry(request_headers={"Authorization": SECRET}))
    )

    assert SECRET in settings.store_url
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


# Files and variables that are not what they should be.


@pytest.mark.parametrize(
    ("content", "told"), [(b"leeway = ", "not TOML: "), (b"\xff", "not TOML: "), (None, "cannot be read: No such file")]
)
def test_a_file_that_cannot_be_used_is_a_mistake(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "sidegate.toml"
    if content is not None:
        path.write_bytes(content)

    (only,) = mistakes(ONE, path)

    assert only.startswith(f"{path}: {told}")


def test_a_misspelt_variable_is_told_from_one_that_kubernetes_sets() -> None:
    assert misspelt_variables(
        {
            "SIDEGATE_LEEWAYS": "3",
            "SIDEGATE_ISUER": ISSUER,
            "SIDEGATE_LEEWAY": "3",
            "SIDEGATE_CONFIG": "x",
            "SIDEGATE_TARGET": "unix:///run/sidegate/sidegate.sock",
            "SIDEGATE_ADMIN_TARGET": "unix:///run/sidegate/admin.sock",
            "SIDEGATE_SERVICE_HOST": "10.0.0.1",
            "SIDEGATE_PORT_8080_TCP_ADDR": "10.0.0.1",
            "LEEWAYS": "3",
        }
    ) == {"SIDEGATE_LEEWAYS": "SIDEGATE_LEEWAY", "SIDEGATE_ISUER": "SIDEGATE_ISSUER"}
