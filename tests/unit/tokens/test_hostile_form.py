"""docs/hostile-tokens.md, the rows about the compact form, the header and the JSON: 1, 2, 4, 5, 9 to 14, 24."""

import hmac
import json
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import Reason
from sidegate_sidecar.tokens import MAX_TOKEN_BYTES, parse_token

from tests.unit.tokens.minting import (
    CLAIMS,
    KEY_ID,
    NOW_MICROS,
    as_bytes,
    base64url,
    claims_with,
    header,
    json_with,
    mint,
    plain_decode,
    refusal,
    sign,
    signer,
    verify,
)

GOOD = mint()
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True)
class Case:
    """A hostile token. `plain_accepts`: plain jwt.decode wrongly takes it."""

    row: str
    text: str
    reason: Reason = Reason.MALFORMED
    plain_accepts: bool = False


def _wrap(algorithm: str, signature: bytes = b"") -> str:
    return f"{base64url(as_bytes(header(algorithm)))}.{PAYLOAD}.{base64url(signature)}"


def _hmac_by(secret: bytes) -> str:
    signing_input = f"{base64url(as_bytes(header('HS256')))}.{PAYLOAD}"
    return f"{signing_input}.{base64url(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def _kid_again(name: str) -> str:
    return mint(head=json_with(f'"{name}":"{KEY_ID}"', header()))


def _head_with(member: str) -> bytes:
    return json_with(member, header())


def _twisted(part: str) -> str:
    """The same bytes again, but with a one among the bits that carry nothing."""
    return part[:-1] + BASE64URL[BASE64URL.index(part[-1]) + 1]


def _of_length(remainder: int) -> str:
    """A payload whose base64url length is `remainder` modulo 4."""
    padding = next(n for n in range(4) if len(base64url(as_bytes(claims_with(pad="x" * n)))) % 4 == remainder)
    return base64url(as_bytes(claims_with(pad="x" * padding)))


def _deep(levels: int) -> str:
    return "[" * levels + "]" * levels


PUBLIC_KEY = signer("RS256").public_key
UNSUPPORTED = Reason.UNSUPPORTED_ALGORITHM

CASES = [
    *(Case(f"row 1: alg {name}", _wrap(name), UNSUPPORTED) for name in ("none", "None", "NONE", "nOnE", "")),
    *(Case(f"row 1: alg {name}", _wrap(name, b"x" * 32), UNSUPPORTED) for name in ("HS256", "HS384", "HS512")),
    *(Case(f"row 1: alg {name}", mint(head=header(name)), UNSUPPORTED) for name in ("rs256", "ES256K", "Ed25519")),
    Case("row 1: no alg", mint(head={"kid": KEY_ID}), UNSUPPORTED),
    *(
        Case(f"row 1: alg {json.dumps(value)}", mint(head={"alg": value, "kid": KEY_ID}), UNSUPPORTED)
        for value in (None, 256, True, ["RS256"], {"RS256": 1})
    ),
    Case("row 1: empty signature", f"{HEAD}.{PAYLOAD}.", Reason.BAD_SIGNATURE),
    *(
        Case(
            f"row 2: a public key as HMAC secret, {name}",
            _hmac_by(PUBLIC_KEY.public_bytes(encoding, form)),
            UNSUPPORTED,
        )
        for name, encoding, form in (
            ("PEM", Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            ("DER", Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            ("PKCS 1", Encoding.PEM, PublicFormat.PKCS1),
            ("OpenSSH", Encoding.OpenSSH, PublicFormat.OpenSSH),
        )
    ),
    *(
        Case(f"row 5: kid {name}", mint(head=header(kid=value)), reason, plain_accepts=isinstance(value, str))
        for name, value, reason in (
            ("is a path", "../../../dev/null", Reason.UNKNOWN_KEY),
            ("is SQL", "x' OR '1'='1", Reason.UNKNOWN_KEY),
            ("has CR and LF", f"{KEY_ID}\r\nX: y", Reason.UNKNOWN_KEY),
            ("has another case", KEY_ID.upper(), Reason.UNKNOWN_KEY),
            ("is empty", "", Reason.UNKNOWN_KEY),
            ("of 256 characters", "k" * 256, Reason.UNKNOWN_KEY),
            ("of 257 characters", "k" * 257, Reason.MALFORMED),
            ("of 64 kB", "k" * 65536, Reason.MALFORMED),
            ("is a number", 1, Reason.MALFORMED),
            ("is a list", [KEY_ID], Reason.MALFORMED),
            ("is null", None, Reason.MALFORMED),
        )
    ),
    Case("row 9: crit of an unknown", mint(head=header(crit=["exp"], exp=1))),
    Case("row 9: crit empty", mint(head=header(crit=[]))),
    Case("row 9: crit null", mint(head=header(crit=None))),
    Case("row 9: b64 false", mint(head=header(crit=["b64"], b64=False))),
    Case("row 9: b64 true", mint(head=header(b64=True)), plain_accepts=True),
    Case("row 9: crit of b64", mint(head=header(crit=["b64"], b64=True)), plain_accepts=True),
    Case("row 10: duplicate members", mint(json_with('"sub":"root"')), plain_accepts=True),
    Case("row 10: duplicate members through an escape", mint(json_with(r'"\u0073ub":"root"')), plain_accepts=True),
    Case("row 10: duplicate members, deeper", mint(json_with('"x":[{"a":1,"a":2}]')), plain_accepts=True),
    Case("row 10: duplicate alg in the header", mint(head=_head_with('"alg":"RS256"')), plain_accepts=True),
    Case("row 10: duplicate kid through an escape", _kid_again(r"k\u0069d"), plain_accepts=True),
    *(
        Case(f"row 11: {literal}", mint(json_with(f'"x":{literal}')), plain_accepts=True)
        for literal in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400")
    ),
    Case("row 11: BOM", mint(b"\xef\xbb\xbf" + as_bytes(CLAIMS)), plain_accepts=True),
    Case("row 11: BOM in the header", mint(head=b"\xef\xbb\xbf" + as_bytes(header())), plain_accepts=True),
    *(
        Case(f"row 11: {encoding}", mint(json.dumps(CLAIMS).encode(encoding)), plain_accepts=True)
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
    ),
    Case("row 11: not UTF-8", mint(as_bytes(CLAIMS)[:-1] + b',"x":"\xff"}')),
    Case("row 11: overlong UTF-8", mint(as_bytes(CLAIMS)[:-1] + b',"x":"\xc0\xaf"}')),
    Case("row 11: a surrogate in UTF-8", mint(as_bytes(CLAIMS)[:-1] + b',"x":"\xed\xa0\x80"}'), plain_accepts=True),
    *(
        Case(f"row 11: lone surrogate, {name}", mint(json_with(member)), plain_accepts=True)
        for name, member in (
            ("high", r'"x":"\ud83d"'),
            ("low", r'"x":"\udE00"'),
            ("low then high", r'"x":"\ude00\ud83d"'),
            ("high, high, low", r'"x":"\ud83d\uD83d\ude00"'),
            ("high, low, low", r'"x":"\ud83d\ude00\ude00"'),
            ("high, then a letter", r'"x":"\uDBFFx"'),
            ("after an escaped backslash", r'"x":"\\\ud83d"'),
            ("in a name", r'"\ud83d":1'),
        )
    ),
    Case("row 11: NUL", mint(json_with(r'"x":"\u0000"')), plain_accepts=True),
    Case("row 11: NUL after an escaped backslash", mint(json_with(r'"x":"\\\u0000"')), plain_accepts=True),
    Case("row 11: NUL in a name", mint(json_with(r'"a\u0000b":1')), plain_accepts=True),
    Case("row 11: NUL in the header", mint(head=_head_with(r'"x":"\u0000"')), plain_accepts=True),
    Case("row 11: raw NUL", mint(json_with('"x":"\0"'))),
    Case("row 11: raw line feed", mint(json_with('"x":"\n"'))),
    Case("row 11: something after the object", mint(as_bytes(CLAIMS) + b"{}")),
    Case("row 11: a form feed before the object", mint(b"\x0c" + as_bytes(CLAIMS))),
    Case("row 11: a no-break space after the object", mint(as_bytes(CLAIMS) + b"\xc2\xa0")),
    Case("row 11: a NUL after the object", mint(as_bytes(CLAIMS) + b"\0")),
    *(Case(f"row 11: payload {payload!r}", mint(payload)) for payload in (b"", b"[]", b"1", b'"x"', b"null", b"{")),
    *(Case(f"row 11: header {head!r}", mint(head=head)) for head in (b"", b"[]", b"null", b"{")),
    Case("row 12: 17 kB", mint(claims_with(x="x" * 17 * 1024)), plain_accepts=True),
    Case("row 12: a megabyte", mint(claims_with(x="x" * 2**20)), plain_accepts=True),
    Case("row 12: 33 levels", mint(json_with(f'"x":{_deep(32)}')), plain_accepts=True),
    Case("row 12: 400 levels", mint(json_with(f'"x":{_deep(400)}')), plain_accepts=True),
    Case("row 12: 5,000 levels", mint(json_with(f'"x":{_deep(5000)}'))),
    Case("row 12: 5,000 levels that never end", mint(json_with('"x":' + "[" * 5000))),
    Case("row 12: an integer of 4,000 digits", mint(json_with(f'"x":{"9" * 4000}')), plain_accepts=True),
    Case("row 12: an integer of 20,000 digits", mint(json_with(f'"x":{"9" * 20000}'))),
    Case("row 12: a real of 4,000 digits", mint(json_with(f'"x":0.{"9" * 4000}')), plain_accepts=True),
    Case("row 12: 5,000 elements", mint(json_with(f'"x":[{"1," * 5000}1]')), plain_accepts=True),
    Case("row 12: 50,000 members", mint(claims_with(**{f"m{n}": n for n in range(50000)})), plain_accepts=True),
    *(Case(f"row 13: {dots} dots", "." * dots) for dots in (0, 1, 2, 3, 4, 16383, 16384, 10**6)),
    Case("row 13: two parts", f"{HEAD}.{PAYLOAD}"),
    Case("row 13: four parts", f"{GOOD}.{SIGNATURE}"),
    Case("row 13: five parts, a JWE", f"{HEAD}.{PAYLOAD}.{PAYLOAD}.{PAYLOAD}.{SIGNATURE}"),
    Case("row 13: no token", ""),
    Case("row 14: padding after the signature", f"{GOOD}=="[: len(GOOD) + -len(SIGNATURE) % 4], plain_accepts=True),
    Case("row 14: padding after the payload", sign(f"{HEAD}.{_of_length(3)}="), plain_accepts=True),
    Case("row 14: space before", f" {GOOD}"),
    Case("row 14: line feed after", f"{GOOD}\n"),
    Case("row 14: line feed within", f"{HEAD}.{PAYLOAD[:8]}\n{PAYLOAD[8:]}.{SIGNATURE}"),
    Case("row 14: + of the other alphabet", sign(f"{HEAD}.{base64url(as_bytes(CLAIMS))}+")),
    Case("row 14: / of the other alphabet", sign(f"{HEAD}.{base64url(as_bytes(CLAIMS))}/")),
    Case("row 14: trailing bits in the signature", f"{HEAD}.{PAYLOAD}.{_twisted(SIGNATURE)}"),
    Case("row 14: trailing bits in the payload, two over", sign(f"{HEAD}.{_twisted(_of_length(2))}")),
    Case("row 14: trailing bits in the payload, three over", sign(f"{HEAD}.{_twisted(_of_length(3))}")),
    Case("row 14: one character over", sign(f"{HEAD}.{_of_length(0)}A")),
    Case("row 14: full-width letters", GOOD.replace("e", "\uff45", 1)),
    Case("row 14: a lone surrogate as text", f"{GOOD}\ud800"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_a_hostile_token_is_refused_for_its_reason(case: Case) -> None:
    assert refusal(case.text) is case.reason


@pytest.mark.parametrize("case", [case for case in CASES if case.plain_accepts], ids=lambda case: case.row)
def test_plain_jwt_decode_wrongly_accepts_it(case: Case) -> None:
    assert plain_decode(case.text)["sub"]


def test_the_token_that_the_hostile_ones_are_made_of_is_good() -> None:
    assert verify(GOOD).user_id == CLAIMS["sub"]


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t", "unknown"])
def test_row_4_a_key_that_the_token_brings_is_ignored(name: str) -> None:
    stranger = signer("EdDSA")
    text = mint(head=header("EdDSA", **{name: "https://attacker.example/keys"}), algorithm="EdDSA")
    only_ours = signer("RS256").key_set()
    assert refusal(text, key_set=only_ours) is Reason.UNSUPPORTED_ALGORITHM
    assert verify(text, key_set=stranger.key_set()).user_id == CLAIMS["sub"]


def test_row_13_too_many_parts_are_counted_before_anything_is_decoded() -> None:
    with pytest.raises(Rejected, match="three parts"):
        parse_token(f"!.{'.' * 16000}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"Bearer {GOOD}", "begins with 'Bearer '"),
        (f"bearer {GOOD}", "begins with 'Bearer '"),
        (f" BEARER {GOOD}\n", "begins with 'Bearer '"),
        (f" {GOOD}", "white space around it"),
        (f"{GOOD}\r\n", "white space around it"),
        (f"{GOOD}\u00a0", "white space around it"),
        (f"Bearer.{GOOD}", "three parts"),
        (GOOD.replace(".", ". "), "three parts"),
    ],
    ids=["Bearer", "bearer", "all of it", "leading space", "line end", "no-break space", "no space", "inside"],
)
def test_row_14_what_is_easily_mended_is_refused_and_told(text: str, problem: str) -> None:
    with pytest.raises(Rejected, match=problem) as refused:
        parse_token(text)
    assert refused.value.reason is Reason.MALFORMED


def test_row_12_the_cap_is_on_the_whole_token() -> None:
    fitting = next(
        text for pad in range(12000, 11000, -1) if len(text := mint(claims_with(x="x" * pad))) <= MAX_TOKEN_BYTES
    )
    assert len(fitting) > MAX_TOKEN_BYTES - 4
    assert verify(fitting).user_id == CLAIMS["sub"]


def test_row_24_no_refusal_repeats_what_the_token_says() -> None:
    poison = "Mallory\r\nlevel=fatal\x1b[2J"
    for claims in (
        claims_with(iss=poison),
        claims_with(sub=[poison]),
        claims_with(sid=poison * 100),
        claims_with(aud=[poison, 1]),
    ):
        with pytest.raises(Rejected) as refused:
            verify(mint(claims), now=NOW_MICROS)
        assert "Mallory" not in str(refused.value)
        assert refused.value.message.isprintable()


def test_row_24_what_was_parsed_does_not_print_itself() -> None:
    token = parse_token(GOOD)
    assert str(CLAIMS["sub"]) not in repr(token)
    assert str(CLAIMS["sub"]) not in repr(verify(GOOD))
