"""What must not be refused: every legal thing that issuers in the wild do."""

import json
from dataclasses import dataclass, replace

import pytest
from sidegate_sidecar.model import SECOND, Demand
from sidegate_sidecar.tokens import IssuerPolicy, parse_token

from tests.unit.tokens.minting import CLAIMS, NOW, POLICY, as_bytes, claims_with, header, json_with, mint, verify

SUPERTOKENS = replace(
    POLICY,
    issuer="https://api.example/auth",
    session_claim="sessionHandle",
    tenant_claim="tId",
    anti_csrf_claim="antiCsrfToken",
)
SUPERTOKENS_SESSION: dict[str, object] = {
    "sub": "fa7a0841-b533-4478-9523-0fde890c3483",
    "sessionHandle": "eb8f1f2a-5a6c-4a0b-b4e4-9d0a7b3c1e5f",
    "refreshTokenHash1": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "parentRefreshTokenHash1": None,
    "antiCsrfToken": None,
}


@dataclass(frozen=True)
class Shape:
    """A token as an issuer writes it. The claims that its policy reads are those of `user` and `handle`."""

    name: str
    policy: IssuerPolicy
    head: dict[str, object]
    claims: dict[str, object] | bytes
    user: str
    handle: str
    tenant: str = ""


def _supertokens(
    version: str, policy: IssuerPolicy, claims: dict[str, object] | bytes, tenant: str = "public"
) -> Shape:
    head = header("RS256", kid=f"d-{NOW}123", typ="JWT", version=version)
    user, handle = str(SUPERTOKENS_SESSION["sub"]), str(SUPERTOKENS_SESSION["sessionHandle"])
    return Shape(f"SuperTokens v{version}", policy, head, claims, user, handle, tenant)


KEYCLOAK: dict[str, object] = {
    "exp": NOW + 300,
    "iat": NOW,
    "auth_time": NOW - 900,
    "jti": "onrtac:6c0b7d4e-6a4c-4a42-9d5e-3e0e9f6a1b2c",
    "iss": "https://sso.example/realms/shop",
    "aud": ["realm-management", "account"],
    "sub": "f:0f5c:7a1b",
    "typ": "Bearer",
    "azp": "shop-web",
    "sid": "9b2f6c1e-7d53-4a61-8f0c-2d7f0f1f8a11",
    "acr": "1",
    "allowed-origins": ["https://shop.example"],
    "realm_access": {"roles": ["offline_access", "uma_authorization"]},
    "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
    "scope": "openid email profile",
    "email_verified": True,
    "name": "Zoë Müller \U0001f600",
}
AUTH0: dict[str, object] = {
    "iss": "https://tenant.eu.auth0.example/",
    "sub": "auth0|64b8f0c2a1",
    "aud": ["https://api.example", "https://tenant.eu.auth0.example/userinfo"],
    "iat": NOW,
    "exp": NOW + 86400,
    "azp": "my_client_id",
    "scope": "openid profile",
    "permissions": [],
}
RFC_9068: dict[str, object] = {
    "iss": "https://authorization-server.example/",
    "sub": "5ba552d67",
    "aud": "https://rs.example/",
    "exp": NOW + 3600,
    "iat": NOW,
    "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
    "client_id": "s6BhdRkqt3",
    "scope": "openid profile reademail",
}

SHAPES = [
    _supertokens(
        "3",
        replace(SUPERTOKENS, issuer_claim_absent=True),
        as_bytes(SUPERTOKENS_SESSION)[:-1] + f',"iat":{NOW / 10**9!r}E9,"exp":{(NOW + 3600) / 10**9!r}E9}}'.encode(),
        "",
    ),
    _supertokens(
        "4",
        SUPERTOKENS,
        {**SUPERTOKENS_SESSION, "iss": SUPERTOKENS.issuer, "tId": "public", "iat": NOW, "exp": NOW + 3600},
    ),
    _supertokens(
        "5",
        SUPERTOKENS,
        {
            **SUPERTOKENS_SESSION,
            "iss": SUPERTOKENS.issuer,
            "tId": "public",
            "rsub": SUPERTOKENS_SESSION["sub"],
            "iat": NOW,
            "exp": NOW + 3600,
            "st-ev": {"v": True, "t": NOW * 1000},
        },
    ),
    Shape(
        "Keycloak",
        replace(POLICY, issuer=str(KEYCLOAK["iss"]), begin_claim="auth_time", audiences=frozenset({"account"})),
        header("RS256", typ="JWT"),
        KEYCLOAK,
        str(KEYCLOAK["sub"]),
        str(KEYCLOAK["sid"]),
    ),
    Shape(
        "Auth0, without a session",
        replace(POLICY, issuer=str(AUTH0["iss"]), session_claim=None, audiences=frozenset({"https://api.example"})),
        header("RS256", typ="JWT"),
        AUTH0,
        str(AUTH0["sub"]),
        "",
    ),
    Shape(
        "RFC 9068, with its type pinned",
        replace(POLICY, issuer=str(RFC_9068["iss"]), session_claim="jti", token_type="at+jwt"),
        header("RS256", typ="at+JWT"),
        RFC_9068,
        str(RFC_9068["sub"]),
        str(RFC_9068["jti"]),
    ),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_tokens_of_known_issuers_are_good(shape: Shape) -> None:
    head = {**shape.head, "kid": "key-1"}
    claims = verify(mint(shape.claims, head), shape.policy)
    assert (claims.user_id, claims.session_handle, claims.tenant_id) == (shape.user, shape.handle, shape.tenant)
    assert claims.expire_time > NOW * SECOND


def test_an_anti_csrf_token_of_supertokens_is_checked() -> None:
    claims = {
        **SUPERTOKENS_SESSION,
        "iss": SUPERTOKENS.issuer,
        "iat": NOW,
        "exp": NOW + 3600,
        "antiCsrfToken": "a1b2",
    }
    policy = replace(SUPERTOKENS, anti_csrf_required=True)
    assert verify(mint(claims), policy, Demand("x", anti_csrf_token="a1b2")).anti_csrf_token == "a1b2"


LEGAL = [
    ("float dates", json_with('"nbf":1.691623046E9')),
    ("eight kilobytes of claims", claims_with(permissions=[f"read:{number:05}" for number in range(540)])),
    ("text full of commas and brackets", claims_with(x=',[{"' * 2000)),
    ("an escaped backslash before a plain u", json_with(r'"x":"\\ud83d \\u0000 \\\\u0000"')),
    ("an escaped pair of surrogates", json_with(r'"x":"\ud83d\ude00\uD83D\uDE00"')),
    ("other escapes", json_with(r'"x":"\"\\\/\b\f\n\r\t\u00e9"')),
    ("whitespace around everything", b" \r\n\t" + json.dumps(CLAIMS, indent=2).encode() + b"\n"),
    ("32 levels", json_with(f'"x":{"[" * 31}{"]" * 31}')),
    ("many shallow lists", json_with(f'"x":[{"[]," * 500}[]]')),
    ("integers past 2^53", json_with('"x":123456789012345678901234567890')),
    ("a number as long as a double's greatest", json_with(f'"x":-{"9" * 309}')),
    ("the same member in two objects", json_with('"x":{"a":1},"y":{"a":1}')),
    ("members whose names differ in case", json_with('"Sub":"x"')),
    ("a control character, escaped", claims_with(sub="line\nfeed")),
    ("the empty string as a name", claims_with(**{"": 1})),
    ("null for what is optional", claims_with(aud=None, nbf=None)),
]


@pytest.mark.parametrize(("name", "payload"), LEGAL, ids=[name for name, _ in LEGAL])
def test_legal_claims_are_good(name: str, payload: dict[str, object] | bytes) -> None:
    text = mint(payload)
    assert verify(text).session_handle == CLAIMS["sid"], name
    assert parse_token(text).claims == json.loads(as_bytes(payload))


def test_a_payload_is_handed_on_as_it_was_written() -> None:
    payload = b'\t{ "sub":"caf\\u00e9",  "x":1.0e2,\n"y":123456789012345678901234567890 } '
    assert parse_token(mint(payload)).claims_json.encode() == payload


def test_a_header_may_hold_what_we_do_not_know() -> None:
    text = mint(head=header(x5c=["MIIB"], cty="JWT", nonce={"a": [1]}))
    assert verify(text).user_id == CLAIMS["sub"]


def test_one_header_in_two_tokens_is_read_alike() -> None:
    first, second = mint(head=header(typ="JWT")), mint(claims_with(jti="2"), head=header(typ="JWT"))
    for text in (first, second, first):
        token = parse_token(text)
        assert (token.key_id, token.algorithm, token.token_type) == ("key-1", "RS256", "JWT")
