"""What it costs to verify one token: ours, plain jwt.decode, the bare signature check beneath both, and ours once more
for a token that is remembered.

One token of about 1 kB per algorithm. But for the last column nothing is remembered of it (of a header that many tokens
share, the reading is). All take turns within one run, so that a busy machine is unfair to none. Medians in
microseconds of CPU; the spread is the 10th to the 90th percentile. Asserts nothing. Takes about 20 s.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.errors import Rejected
from sidegate_sidecar.model import ALGORITHMS, SECOND, Demand, KeySet, Micros, VerificationKey
from sidegate_sidecar.tokens import IssuerPolicy, check_claims, verify_token

SECONDS_PER_ALGORITHM = 1.7
CALLS_PER_TURN = 20
HASHES = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}

NOW = int(time.time())
POLICY = IssuerPolicy(
    issuer="https://issuer.example",
    session_claim="sid",
    audiences=frozenset({"orders"}),
    max_token_lifetime=86400 * SECOND,
    leeway=0,
)
NO_DEMAND = Demand("")
CLAIMS = {
    "iss": POLICY.issuer,
    "sub": "f:0f5c7a1b:7d534a61",
    "sid": "9b2f6c1e-7d53-4a61-8f0c-2d7f0f1f8a11",
    "aud": ["orders", "billing"],
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 3600,
    "azp": "shop-web",
    "realm_access": {"roles": ["offline_access", "uma_authorization"]},
    "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
    "scope": "openid email profile",
    "permissions": [f"orders:{number}" for number in range(12)],
}

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def private_key(algorithm: str, rsa_key: rsa.RSAPrivateKey) -> PrivateKey:
    """A key for the algorithm; those of RSA share one of 2048 bits."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa_key


def bare_check(algorithm: str, key: PrivateKey, data: bytes) -> Callable[[], object]:
    """The library's signature check alone, all else prepared."""
    if isinstance(key, Ed25519PrivateKey):
        ed25519, signature = key.public_key(), key.sign(data)
        return lambda: ed25519.verify(signature, data)
    digest = HASHES[algorithm[2:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve_key, scheme = key.public_key(), ec.ECDSA(digest)
        der = key.sign(data, scheme)
        return lambda: curve_key.verify(der, data, scheme)
    pss = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
    rsa_key, rsa_scheme = key.public_key(), pss if algorithm.startswith("PS") else padding.PKCS1v15()
    signed = key.sign(data, rsa_scheme, digest)
    return lambda: rsa_key.verify(signed, data, rsa_scheme, digest)


def take_turns(contenders: list[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Microseconds of CPU per call, one figure per turn, for each contender."""
    figures: list[list[float]] = [[] for _ in contenders]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for figure, contender in zip(figures, contenders, strict=True):
            began = time.thread_time()
            for _ in range(CALLS_PER_TURN):
                contender()
            figure.append((time.thread_time() - began) / CALLS_PER_TURN * 1e6)
    return figures


def summary(figures: list[float]) -> str:
    """Median and spread."""
    tenths = statistics.quantiles(figures, n=10)
    return f"{statistics.median(figures):6.0f} ({tenths[0]:.0f}-{tenths[-1]:.0f})"


class FixedKeys:
    """An issuer whose keys never change."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def key_set(self, issuer: str) -> KeySet:
        """The set."""
        return self._keys

    async def key_set_with(self, issuer: str, key_id: str | None) -> KeySet:
        """The set; it has all there are."""
        return self._keys


def verify_again(authenticator: Authenticator, text: str, now: Micros) -> None:
    """What the sidecar does with a token that it remembers."""
    token = authenticator.recall(text)
    if token is None:
        raise RuntimeError("it was not remembered")
    check_claims(token.claims, token.policy, token.token_type, NO_DEMAND, now)


def compare(algorithm: str, key: PrivateKey) -> str:
    """One line of the table."""
    text = jwt.encode(CLAIMS, key, algorithm, headers={"kid": "k"})
    public_key = key.public_key()
    key_set = KeySet(1, (VerificationKey("k", frozenset({algorithm}), "thumbprint", public_key),))
    now: Micros = NOW * SECOND
    authenticator = Authenticator([POLICY], FixedKeys(key_set), remembered=10)
    with contextlib.suppress(StopIteration):
        next(authenticator.authenticate(text))
    ours, plain, bare, remembered = take_turns(
        [
            lambda: verify_token(text, key_set, POLICY, None, now),
            lambda: jwt.decode(
                text, public_key, algorithms=[algorithm], audience="orders", issuer=POLICY.issuer, leeway=60
            ),
            bare_check(algorithm, key, text.rsplit(".", 1)[0].encode()),
            lambda: verify_again(authenticator, text, now),
        ],
        SECONDS_PER_ALGORITHM,
    )
    over = statistics.median(mine - check for mine, check in zip(ours, bare, strict=True))
    ratio = statistics.median(theirs / mine for theirs, mine in zip(plain, ours, strict=True))
    return (
        f"{algorithm:9} {summary(ours):>18} {summary(plain):>18} {summary(bare):>18} {over:9.0f} {ratio:9.2f}"
        f" {statistics.median(remembered):14.1f}"
    )


def worst_token(key_count: int) -> float:
    """Milliseconds of CPU for 14 kB without `kid`, a thousand objects among them, beside P-384 keys of others."""
    signing_key = ec.generate_private_key(ec.SECP384R1())
    claims: dict[str, object] = {**CLAIMS, "x": json.loads("[" + "{}," * 1000 + "0]"), "y": "z" * 7500}
    text = jwt.encode(claims, signing_key, "ES384")
    strangers = (ec.generate_private_key(ec.SECP384R1()).public_key() for _ in range(key_count))
    key_set = KeySet(1, tuple(VerificationKey(None, frozenset({"ES384"}), "t", key) for key in strangers))
    costs: list[float] = []
    for _ in range(25):
        began = time.process_time()
        try:
            verify_token(text, key_set, POLICY, None, NOW * SECOND)
        except Rejected:
            costs.append((time.process_time() - began) * 1e3)
    return statistics.median(costs)


def main() -> None:
    """Print the table."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    columns = ("ours", "jwt.decode", "bare signature")
    lines = [
        f"{'':9} {' '.join(f'{name:>18}' for name in columns)} {'over bare':>9} {'x faster':>9} {'remembered':>14}"
    ]
    lines += [compare(algorithm, private_key(algorithm, rsa_key)) for algorithm in sorted(ALGORITHMS)]
    lines.append(
        f"a hostile token of 16 KiB: {worst_token(1):.1f} ms of CPU with one key, {worst_token(8):.1f} with eight"
    )
    print("\n".join(lines))  # noqa: T201  # the table is what a benchmark is run for


if __name__ == "__main__":
    main()
