"""Fuzz the token parser and verifier: whatever comes in, only a verdict or Rejected comes out.

Run by `make fuzz`, in an environment of its own that has atheris. Arguments go to libFuzzer, e.g. -max_total_time=60.

The first byte of an input picks what the rest is: the text of a token; the header and the payload of a token that is
then properly signed, with a line feed between them; or the payload alone.
"""

import importlib
import json
from base64 import urlsafe_b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from seeding import fuzz

# By name: atheris is in this script's own environment alone, where no type checker looks.
atheris = importlib.import_module("atheris")

with atheris.instrument_imports(include=["sidegate_sidecar.tokens", "json"]):
    from sidegate_sidecar.errors import Rejected
    from sidegate_sidecar.model import SECOND, Demand, KeySet, VerificationKey
    from sidegate_sidecar.tokens import IssuerPolicy, parse_token, verify_token

NOW = 1_800_000_000
HEADER = b'{"alg":"EdDSA","kid":"k"}'
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY_SET = KeySet(1, (VerificationKey("k", frozenset({"EdDSA"}), "thumbprint", PRIVATE_KEY.public_key()),))
POLICY = IssuerPolicy(
    issuer="i",
    session_claim="sid",
    tenant_claim="tid",
    begin_claim="auth_time",
    anti_csrf_claim="csrf",
    token_type="JWT",  # noqa: S106  # a media type
    max_token_lifetime=86400 * SECOND,
    leeway=0,
)
DEMAND = Demand("", accepted_audiences=("a",), tenant_id="t", anti_csrf_token="c")  # noqa: S106  # nothing here is secret


def _signed(header: bytes, payload: bytes) -> str:
    signing_input = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = urlsafe_b64encode(PRIVATE_KEY.sign(signing_input)).rstrip(b"=")
    return b".".join((signing_input, signature)).decode()


def judge(data: bytes) -> None:
    """Verify one input. Raises: whatever is a defect."""
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        text, genuine = rest.decode("utf-8", "surrogateescape"), False
    elif kind < b"\x80":
        header, _, payload = rest.partition(b"\n")
        text, genuine = _signed(header, payload), True
    else:
        text, genuine = _signed(HEADER, rest), True
    try:
        token = parse_token(text)
    except Rejected:
        return
    if json.loads(token.claims_json) != token.claims:
        raise AssertionError("the claims are not what their text says")
    token.claims_json.encode()
    for demand in (None, DEMAND):
        try:
            claims = verify_token(text, KEY_SET, POLICY, demand, NOW * SECOND)
        except Rejected as refused:
            if not refused.message.isprintable():
                raise AssertionError("a message holds what it should not") from refused
        else:
            if not (genuine and claims.user_id and claims.session_handle):
                raise AssertionError("a token was accepted that never should be")


def _seeds() -> list[bytes]:
    claims: dict[str, object] = {"iss": "i", "sub": "u", "sid": "s", "tid": "t", "aud": ["a"], "csrf": "c"}
    claims |= {"iat": NOW, "exp": NOW + 3600, "auth_time": NOW}
    payloads = [
        claims,
        claims | {"exp": 1.8e9, "nbf": NOW - 0.5, "aud": "a", "roles": ["é", "\U0001f511", {"deep": [[[None, True]]]}]},
        claims | {"exp": "soon", "iat": -1, "aud": ["a", 1], "sub": ""},
    ]
    texts = [json.dumps(payload).encode() for payload in payloads]
    texts += [texts[0][:-1] + b',"sub":"v"}', texts[0][:-1] + b',"x":NaN,"y":1e400,"z":"\\ud800\\u0000"}']
    return [
        *(b"\xff" + text for text in texts),
        *(b"\x60" + header + b"\n" + texts[0] for header in (HEADER, HEADER[:-1] + b',"crit":["b64"],"typ":"JWT"}')),
        *(b"\x20" + _signed(HEADER, text).encode() for text in texts[:2]),
    ]


if __name__ == "__main__":
    fuzz(judge, _seeds())
