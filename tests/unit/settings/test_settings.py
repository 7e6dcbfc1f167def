"""What an operator writes, right and wrong. Every mistake is told at once, by its name, and never with its value."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import ALGORITHMS, SECOND
from sidegate_sidecar.settings import (
    IssuerEntry,
    Settings,
    SettingsInvalid,
    load_settings,
    load_store_settings,
    misspelt_variables,
)

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


def test_an_empty_variable_counts_as_absent() -> None:
    every = {*Settings.model_fields, *IssuerEntry.model_fields} - {"issuer", "session_claim"}

    assert load_settings(ONE | variables(**dict.fromkeys(every, ""), config="")) == load_settings(ONE)
    assert mistakes(variables(issuer="")) == mistakes({})


def test_an_empty_session_claim_waives_the_handle() -> None:
    assert only_entry(load_settings(ONE | variables(session_claim=""))).session_claim == ""
    assert only_entry(load_settings(ONE)).session_claim == "sid"


def test_an_empty_variable_leaves_what_the_file_says(tmp_path: Path) -> None:
    path = toml(tmp_path, f'issuer = "{ISSUER}"\nleeway = 5\n')

    assert load_settings(variables(leeway=""), path).leeway == 5 * SECOND


@pytest.mark.parametrize(
    "url", ["sqlite:///var/lib/s.db", "sqlite:////var/lib/s.db"], ids=["three slashes", "four slashes"]
)
def test_the_stores_file_is_named_from_the_root(url: str) -> None:
    assert str(load_settings(ONE | variables(store_url=url)).sqlite_path) == "/var/lib/s.db"


@pytest.mark.parametrize("url", ["mysql://h/d", "sqlite://s.db", "sqlite:///", "sqlite:////", "/var/lib/s.db"])
def test_what_is_no_store_is_refused_with_what_to_write(url: str) -> None:
    [mistake] = mistakes(ONE | variables(store_url=url))

    assert mistake == (
        "SIDEGATE_STORE_URL: must be sqlite:///path or postgresql://user:password@host/database, or empty for a"
        " stateless sidecar"
    )


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
        "SIDEGATE_LOG_LEVEL: must be 'debug', 'info', 'warning' or 'error'",
        f"issuers[0].pem_file: must be a path (in {path})",
        f"leeway: not a duration; {units} (in {path})",
    ]


@pytest.mark.parametrize(
    ("in_file", "in_variables", "named"),
    [
        pytest.param(f'issuer = "{ISSUER}"\nuser_claim = ""\n', {}, "user_claim: ", id="all in the file"),
        pytest.param(f'issuer = "{ISSUER}"\n', {"algorithms": "x"}, "SIDEGATE_ALGORITHMS: ", id="issuer in the file"),
        pytest.param('user_claim = ""\n', {"issuer": ISSUER}, "user_claim: ", id="issuer in a variable"),
        pytest.param("", {"issuer": ISSUER, "algorithms": "x"}, "SIDEGATE_ALGORITHMS: ", id="all in variables"),
    ],
)
def test_a_mistake_of_the_single_issuer_is_named_by_its_own_setting(
    tmp_path: Path, in_file: str, in_variables: dict[str, str], named: str
) -> None:
    (told,) = mistakes(variables(**in_variables), toml(tmp_path, in_file))

    assert told.startswith(named)


UNITS = "not a duration; write seconds as a plain number, or with a unit: 250ms, 90s, 15m, 24h, 30d"
ENTRY_LIST = "must be a list of entries; in TOML write [[issuers]]"
LISTENERS = "write unix:///path or host:port, or a list of them"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("reflection = 'perhaps'", "reflection: must be true or false"),
        ("reflection = [true]", "reflection: must be true or false"),
        ("reflection = 2", "reflection: must be true or false"),
        ("remembered_tokens = 'many'", "remembered_tokens: must be a whole number"),
        ("remembered_tokens = 1.5", "remembered_tokens: must be a whole number"),
        ("remembered_tokens = inf", "remembered_tokens: must be a whole number"),
        ("remembered_tokens = true", "remembered_tokens: must be a whole number"),
        ("remembered_tokens = []", "remembered_tokens: must be a whole number"),
        pytest.param(
            f"remembered_tokens = '{'9' * 5000}'",
            "remembered_tokens: must be a whole number of a size that makes sense",
            id="5,000 digits",
        ),
        ("remembered_tokens = -1", "remembered_tokens: must be at least 0"),
        ("leeway = true", f"leeway: {UNITS}"),
        ("leeway = ['5s']", f"leeway: {UNITS}"),
        ("leeway = nan", f"leeway: {UNITS}"),
        ("leeway = ''", f"leeway: {UNITS}"),
        ("key_cache_dir = 3", "key_cache_dir: must be a path"),
        ("key_cache_dir = ['/a']", "key_cache_dir: must be a path"),
        ("key_cache_dir = ''", "key_cache_dir: must not be empty"),
        ("log_level = 3", "log_level: must be 'debug', 'info', 'warning' or 'error'"),
        ("log_level = ['info']", "log_level: must be 'debug', 'info', 'warning' or 'error'"),
        ("store_url = 3", "store_url: must be text"),
        ("store_url = ['sqlite:///s']", "store_url: must be text"),
        ("listen = 3", f"listen: {LISTENERS}"),
        ("listen = [3]", "listen: write unix:///path or host:port"),
        ("listen = [{path = '/s'}]", "listen: write unix:///path or host:port"),
        ("listen = {path = '/s'}", f"listen: {LISTENERS}"),
        ("listen = []", "listen: must not be empty"),
        ("listen = '127.0.0.1:70000'", "listen: '127.0.0.1:70000': a port is at most 65535"),
        ("issuers = {issuer = 'i'}", f"issuers: {ENTRY_LIST}"),
        ("issuers = 3", f"issuers: {ENTRY_LIST}"),
        ("issuers = '3'", f"issuers: {ENTRY_LIST}"),
        ("issuers = []", "issuers: must not be empty"),
        ("issuers = ['i']", "issuers[0]: must be an entry: a JSON object, in TOML [[issuers]]"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_what_it_must_be(tmp_path: Path, written: str, told: str) -> None:
    path = toml(tmp_path, f"{written}\n" + ("" if "issuers" in written else f'issuer = "{ISSUER}"\n'))

    assert mistakes({}, path) == [f"{told} (in {path})"]


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"issuer": 3}, ".issuer: must be text"),
        ({"user_claim": ["sub"]}, ".user_claim: must be text"),
        ({"tenant_claim": ""}, ".tenant_claim: must not be empty"),
        ({"discovery": "perhaps"}, ".discovery: must be true or false"),
        ({"jwks_file": 3}, ".jwks_file: must be a path"),
        ({"jwks_file": ""}, ".jwks_file: must not be empty"),
        ({"jwks_url": ""}, ".jwks_url: must not be empty"),
        ({"jwks_url": {}}, ".jwks_url: must be text"),
        ({"audiences": 3}, ".audiences: must be a list"),
        ({"audiences": {"a": 1}}, ".audiences: must be a list"),
        ({"audiences": [3]}, ".audiences[0]: must be text"),
        ({"preset": "none"}, ".preset: must be 'oidc' or 'supertokens'"),
        ({"preset": ["oidc"]}, ".preset: must be 'oidc' or 'supertokens'"),
        ({"request_headers": []}, ".request_headers: must be a JSON object, in TOML a table"),
        ({"request_headers": {"A": 3}}, ".request_headers.A: must be text"),
        ({"issuer_clock_skew": "soon"}, f".issuer_clock_skew: {UNITS}"),
    ],
)
def test_a_field_of_the_wrong_kind_is_told_what_it_must_be(members: dict[str, object], told: str) -> None:
    assert mistakes(issuers(entry(**members))) == [f"SIDEGATE_ISSUERS[0]{told}"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*IssuerEntry.model_fields, "other"]), json_values, max_size=4) | json_values)
def test_whatever_an_entry_is_it_is_understood_or_refused_in_words_of_ours(written: object) -> None:
    told: list[str] = []
    try:
        load_settings(variables(issuers=json.dumps([written])))
    except SettingsInvalid as refused:
        told = refused.mistakes

    assert all(mistake.startswith("SIDEGATE_ISSUERS") for mistake in told)
    assert re.search("Input|Unable|instance|tuple|pydantic|Extra", "\n".join(told)) is None


def test_an_entry_without_its_issuer_is_told_that() -> None:
    nameless = {"jwks_file": "/keys.json"}

    assert mistakes(issuers(entry(), nameless)) == ["SIDEGATE_ISSUERS[1].issuer: is required"]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        pytest.param(
            ONE | variables(jwks_url="http://keys.example/"),
            "SIDEGATE_JWKS_URL: must be an https URL; http only to loopback, or with allow_http"
            " (SIDEGATE_ALLOW_HTTP for a single issuer) elsewhere",
            id="plain http",
        ),
        pytest.param(
            ONE | variables(jwks_url="ftp://keys.example/", allow_http="true"),
            "SIDEGATE_JWKS_URL: must be an https URL; http only to loopback or where it is allowed expressly",
            id="neither http nor https",
        ),
        pytest.param(
            ONE | variables(jwks_url="https://keys.example/", request_headers='{"A": "\\n"}'),
            "SIDEGATE_REQUEST_HEADERS: the value of request header A holds characters that no header may have",
            id="a header",
        ),
        pytest.param(
            variables(issuer="login.example.com", discovery="true"),
            "SIDEGATE_ISSUER: not a URL with a host",
            id="discovery asked for",
        ),
        pytest.param(
            variables(issuer="login.example.com"),
            "SIDEGATE_ISSUER: not a URL with a host; discovery there was assumed, for want of a key source:"
            " jwks_url, jwks_file or pem_file would do",
            id="discovery assumed",
        ),
        pytest.param(
            ONE | variables(jwks_file="/k", discovery="true"),
            "SIDEGATE_ISSUER: exactly one of jwks_url, jwks_file, pem_file and discovery is needed; found jwks_file and"
            " discovery",
            id="two key sources",
        ),
    ],
)
def test_a_key_source_that_will_not_do_is_named_with_the_way_out(environ: dict[str, str], told: str) -> None:
    assert mistakes(environ) == [told]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (
            'SIDEGATE_LEEWAY = 3\nissuer = "https://i"',
            "SIDEGATE_LEEWAY: no such setting; in a file write it in lower case, without SIDEGATE_: leeway",
        ),
        (
            'Leeway = 3\nissuer = "https://i"',
            "Leeway: no such setting; in a file write it in lower case, without SIDEGATE_: leeway",
        ),
        ('audience = "a"\nissuer = "https://i"', "audience: no such setting; did you mean audiences?"),
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
        pytest.param({"jwks_url": "https://i.example"}, "found jwks_url and jwks_file", id="two key sources"),
        pytest.param({"jwks_file": None}, "is needed; found none", id="no key source"),
        pytest.param(
            {"anti_csrf_required": True}, ".anti_csrf_required: needs anti_csrf_claim", id="no anti-CSRF claim"
        ),
        pytest.param({"algorithms": ["HS256"]}, "not supported: HS256", id="a symmetric algorithm"),
        pytest.param({"algorithms": "none"}, "not supported: none", id="no algorithm"),
        pytest.param({"issuer_clock_skew": -1}, "not a duration", id="a negative span"),
        pytest.param({"issuer_clock_skew": True}, "not a duration", id="a flag for a span"),
        pytest.param({"issuer": ""}, ".issuer: must not be empty", id="no name"),
        pytest.param({"issuer": "i" * 513}, ".issuer: must be at most 512 characters long", id="an endless name"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(members: dict[str, object], told: str) -> None:
    (only,) = mistakes(issuers(entry(**members)))

    assert only.startswith("SIDEGATE_ISSUERS[0]")
    assert told in only


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        pytest.param(
            {"jwks_file": None, "anti_csrf_required": True, "user_claim": ""},
            ["", ".anti_csrf_required", ".user_claim"],
            id="no key source, no anti-CSRF claim, no name",
        ),
        pytest.param(
            {"pem_file": "/key.pem", "algorithms": "none", "audience": "orders"},
            ["", ".algorithms", ".audience"],
            id="two key sources, no algorithm, no such field",
        ),
        pytest.param(
            {"jwks_file": None, "jwks_url": "http://i.example", "request_headers": {"A": "\n"}, "discovery": "perhaps"},
            [".discovery"],
            id="which key source it is cannot be said",
        ),
        pytest.param(
            {"jwks_file": None, "jwks_url": "http://i.example", "request_headers": {"A": "\n"}, "leeway": 3},
            [".jwks_url", ".leeway", ".request_headers"],
            id="a URL and a header",
        ),
        pytest.param(
            {"jwks_file": None, "jwks_url": "http://i.example", "allow_http": "perhaps"},
            [".allow_http"],
            id="whether http will do cannot be said",
        ),
        pytest.param(
            {"jwks_file": None, "discovery": True, "issuer": "", "request_headers": {"A B": ""}},
            [".issuer", ".request_headers"],
            id="a name that is none and a header",
        ),
        pytest.param(
            {"preset": "none", "anti_csrf_required": True, "session_claim": "", "unknown_sessions": "reject"},
            [".preset", ".unknown_sessions"],
            id="what the preset would say cannot be said",
        ),
        pytest.param(
            {"anti_csrf_claim": "", "anti_csrf_required": True}, [".anti_csrf_claim"], id="a claim that is wrong itself"
        ),
    ],
)
def test_all_mistakes_of_an_entry_are_told_at_once_and_none_that_hangs_on_another(
    members: dict[str, object], wrong: list[str]
) -> None:
    written = {name: value for name, value in entry(**members).items() if value is not None}

    told = sorted(line.partition(": ")[0].removeprefix("SIDEGATE_ISSUERS[0]") for line in mistakes(issuers(written)))

    assert told == wrong


REJECTED_WITHOUT_HANDLE = "reject would refuse every check_database of an issuer whose session handle is waived"


def test_an_issuer_without_handles_cannot_reject_unknown_sessions() -> None:
    assert mistakes(ONE | variables(session_claim="", unknown_sessions="reject")) == [
        f"SIDEGATE_UNKNOWN_SESSIONS: {REJECTED_WITHOUT_HANDLE}, as session_claim does for {ISSUER}"
    ]
    assert mistakes(issuers(entry(session_claim="", unknown_sessions="reject"))) == [
        f"SIDEGATE_ISSUERS[0].unknown_sessions: {REJECTED_WITHOUT_HANDLE}: session_claim is empty"
    ]


def test_an_issuer_without_handles_may_accept_what_the_others_reject() -> None:
    settings = load_settings(
        variables(unknown_sessions="reject")
        | issuers(entry(), entry(issuer="two", session_claim="", unknown_sessions="accept"))
    )

    assert [one.unknown_sessions for one in settings.issuers] == [None, "accept"]


@pytest.mark.parametrize("text", [",", " , "])
def test_a_list_of_algorithms_without_any_is_refused(text: str) -> None:
    told = "must not be empty: no token could be verified"

    assert mistakes(ONE | variables(algorithms=text)) == [f"SIDEGATE_ALGORITHMS: {told}"]
    assert mistakes(issuers(entry(algorithms=[]))) == [f"SIDEGATE_ISSUERS[0].algorithms: {told}"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_token_lifetime": "0"}, "SIDEGATE_MAX_TOKEN_LIFETIME: must be more than 0"),
        ({"compaction_interval": "0"}, "SIDEGATE_COMPACTION_INTERVAL: must be more than 0"),
        ({"max_session_lifetime": "0s"}, "SIDEGATE_MAX_SESSION_LIFETIME: must be more than 0"),
        ({"shutdown_grace": "10.001s"}, "SIDEGATE_SHUTDOWN_GRACE: must not be more than 10s"),
        ({"store_poll_interval": "9ms"}, "SIDEGATE_STORE_POLL_INTERVAL: must be at least 10ms"),
        ({"store_poll_interval": "1.001s"}, "SIDEGATE_STORE_POLL_INTERVAL: must not be more than 1s"),
        ({"key_min_refresh": "999ms"}, "SIDEGATE_KEY_MIN_REFRESH: must be at least 1s"),
        (
            {"key_min_refresh": "2m", "key_max_refresh": "1m"},
            "SIDEGATE_KEY_MAX_REFRESH: must be at least key_min_refresh, which is 2m",
        ),
        ({"key_min_refresh": "2h"}, "SIDEGATE_KEY_MAX_REFRESH: must be at least key_min_refresh, which is 2h"),
        ({"key_max_refresh": "59s"}, "SIDEGATE_KEY_MAX_REFRESH: must be at least key_min_refresh, which is 1m"),
        ({"key_outage_cap": "1h"}, "SIDEGATE_KEY_OUTAGE_CAP: must be more than key_max_refresh, which is 1h"),
        (
            {"max_revocation_lag": "2s", "store_url": "sqlite:///s"},
            "SIDEGATE_MAX_REVOCATION_LAG: must be more than 2s",
        ),
        ({"max_revocation_lag": "5s"}, "SIDEGATE_MAX_REVOCATION_LAG: needs a store; set SIDEGATE_STORE_URL"),
        ({"key_max_refresh": "48h"}, "SIDEGATE_KEY_OUTAGE_CAP: must be more than key_max_refresh, which is 2d"),
    ],
)
def test_a_span_that_makes_no_sense_is_refused(settings: dict[str, str], told: str) -> None:
    assert mistakes(ONE | variables(**settings)) == [told]


def test_spans_at_their_bounds_are_taken() -> None:
    settings = load_settings(
        ONE
        | variables(
            shutdown_grace="10s",
            key_min_refresh="1s",
            key_max_refresh="1s",
            key_outage_cap="2s",
            max_token_lifetime="1ms",
            max_revocation_lag="2001ms",
            store_url="sqlite:///s",
        )
    )

    assert (settings.shutdown_grace, settings.key_max_refresh) == (10 * SECOND, SECOND)
    assert settings.max_revocation_lag == 2_001_000


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


@pytest.mark.parametrize(
    ("places", "told"),
    [
        pytest.param(
            {"listen": "unix:///s,unix:/s"}, "SIDEGATE_LISTEN: unix:///s: given more than once", id="a socket twice"
        ),
        pytest.param(
            {"listen": "127.0.0.1:1,127.0.0.1:1"},
            "SIDEGATE_LISTEN: 127.0.0.1:1: given more than once",
            id="an address twice",
        ),
        pytest.param(
            {"listen": "unix:///s", "admin_listen": "unix:///s"},
            "SIDEGATE_ADMIN_LISTEN: unix:///s: the data plane listens there already",
            id="both planes on a socket",
        ),
        pytest.param(
            {"admin_listen": "unix:///run/sidegate/sidegate.sock"},
            "SIDEGATE_ADMIN_LISTEN: unix:///run/sidegate/sidegate.sock: the data plane listens there already",
            id="the admin plane where the data plane is by default",
        ),
        pytest.param(
            {"admin_listen": "unix:///s,unix:///s"},
            "SIDEGATE_ADMIN_LISTEN: unix:///s: given more than once",
            id="an admin socket twice",
        ),
    ],
)
def test_no_two_services_listen_in_one_place(places: dict[str, str], told: str) -> None:
    assert mistakes(WITH_STORE | variables(**places)) == [told]


def test_ports_of_the_systems_choice_are_never_the_same() -> None:
    assert len(load_settings(ONE | variables(listen="127.0.0.1:0,127.0.0.1:0")).listen) == 2


# What `sidegate migrate` reads.


def test_the_stores_settings_need_nothing_else() -> None:
    store = load_store_settings(variables(store_url="sqlite:///s.db", max_token_lifetime="48h", issuers="no JSON"))

    assert (str(store.sqlite_path), store.max_token_lifetime) == ("/s.db", 48 * HOUR)


def test_the_stores_settings_are_read_from_the_sidecars_file(tmp_path: Path) -> None:
    path = toml(tmp_path, f'leeway = 5\nlisten = "unix:///s"\naudiences = "a"\n[[issuers]]\nissuer = "{ISSUER}"\n')

    assert load_store_settings({}, path).leeway == 5 * SECOND


def test_every_mistake_in_the_stores_settings_is_told(tmp_path: Path) -> None:
    path = toml(tmp_path, 'max_token_lifetme = "48h"\nleeway = "2m"\n')
    with pytest.raises(SettingsInvalid) as refused:
        load_store_settings({}, path)

    assert sorted(refused.value.mistakes) == [
        f"leeway: must not be more than 60s (in {path})",
        f"max_token_lifetme: no such setting; did you mean max_token_lifetime? (in {path})",
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
