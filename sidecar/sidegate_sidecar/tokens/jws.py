"""The JWS compact form [RFC 7515 §7.1]: three parts, one canonical spelling."""

from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import ALGORITHMS, Reason
from sidegate_sidecar.tokens.strict_json import parse_object

Claims: TypeAlias = Mapping[str, object]
"""A token's payload as parsed JSON."""

MAX_TOKEN_BYTES = 16 * 1024  # 8 kB of claims must fit; nginx caps headers at 8 kB, Envoy at 60 kB
MAX_KEY_ID_CHARACTERS = 256

# The decoder knows only the standard alphabet. What that has and base64url has not, padding included, becomes "!",
# which its strict mode refuses like all else outside the alphabet.
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")
_STANDARD_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# What may come last, and the padding that is left out, by length modulo 4: the bits that carry nothing are zero
# [RFC 4648 §3.5]. No number of bytes encodes to 1 modulo 4.
_LAST_AND_PADDING = {
    0: (_STANDARD_ALPHABET, b""),
    2: (b"AQgw", b"=="),
    3: (b"AEIMQUYcgkosw048", b"="),
}


class ParsedToken(NamedTuple):  # a frozen dataclass takes twice as long to make, and so do names for the arguments
    """A well-formed token that nobody has vouched for yet.

    Attributes:
        key_id: The header's `kid`, at most 256 characters. None: it has none.
        algorithm: The header's `alg`, one of ALGORITHMS.
        token_type: The header's `typ` as written. None: it has none.
        claims: The payload.
        claims_json: The payload's text, exactly as written.
        signing_input: The first two parts as the signature covers them.
        signature: The third part, decoded. May be empty.
    """

    key_id: str | None
    algorithm: str
    token_type: str | None
    claims: Claims
    claims_json: str
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "<ParsedToken>"  # the token itself would end up in whatever prints this


def parse_token(text: str) -> ParsedToken:
    """Parse the compact form and the JOSE header. The signature is not looked at.

    `jwk`, `jku`, `x5u` and `x5c` are ignored like every header that we do not know: a token cannot bring its own key.

    Raises:
        Rejected: MALFORMED. UNSUPPORTED_ALGORITHM for any `alg` outside ALGORITHMS, an absent one included.
    """
    if len(text) > MAX_TOKEN_BYTES:
        raise Rejected(Reason.MALFORMED, "the token is larger than 16 KiB")
    try:
        data = text.encode("ascii")
        # In four at most: a flood of dots would make as many parts.
        header_part, payload_part, signature_part = data.translate(_TO_STANDARD_ALPHABET).split(b".", 3)
        key_id, algorithm, token_type = _parse_header(header_part)
        payload, signature = _decode(payload_part), _decode(signature_part)
    except ValueError:
        raise Rejected(Reason.MALFORMED, _form_problem(text)) from None
    claims, claims_json = parse_object(payload)
    signing_input = data[: len(header_part) + 1 + len(payload_part)]
    return ParsedToken(key_id, algorithm, token_type, claims, claims_json, signing_input, signature)


def _form_problem(text: str) -> str:
    """What is wrong with a text that is no token; what developers most often pass in place of one has its own words."""
    if text.lstrip()[:7].lower() == "bearer ":
        return "the token begins with 'Bearer '; pass what follows it"
    if text != text.strip():
        return "the token has white space around it; pass it without"
    return "the token is not three parts of canonical, unpadded base64url"


class _Header(NamedTuple):
    key_id: str | None
    algorithm: str
    token_type: str | None


# An issuer writes one header into all tokens of a key, so nearly every one has been read before. Refusals are not kept,
# and 128 headers of hostile size are 2 MB.
@lru_cache(maxsize=128)
def _parse_header(part: bytes) -> _Header:
    header, _ = parse_object(_decode(part))
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Rejected(Reason.UNSUPPORTED_ALGORITHM, "the token's alg is none of those supported")
    # RFC 7515 §4.1.11 and RFC 7797 §7: what must be understood and is not is refused, and we understand none.
    if "crit" in header or "b64" in header:
        raise Rejected(Reason.MALFORMED, "the token's header demands an extension")
    key_id = _text(header, "kid")
    if key_id is not None and len(key_id) > MAX_KEY_ID_CHARACTERS:
        raise Rejected(Reason.MALFORMED, "the token's kid is longer than 256 characters")
    return _Header(key_id, algorithm, _text(header, "typ"))


def _text(header: Mapping[str, object], name: str) -> str | None:
    """A header parameter that is a string; None if it is absent."""
    if name not in header:
        return None
    value = header[name]
    if not isinstance(value, str):
        raise Rejected(Reason.MALFORMED, f"the token's {name} is not a string")
    return value


def _decode(part: bytes) -> bytes:
    """Decode base64. Raises ValueError for every spelling but the canonical one."""
    if not part:
        return b""
    last, padding = _LAST_AND_PADDING.get(len(part) % 4, (b"", b""))
    if part[-1] not in last:
        raise ValueError("not canonical base64url")
    return a2b_base64(part + padding, strict_mode=True)
