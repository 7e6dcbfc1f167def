"""Fuzz the key set loader: whatever an issuer sends, there is a key set or NotAKeySet.

Run by `make fuzz`, in an environment of its own that has atheris. Arguments go to libFuzzer, e.g. -max_total_time=60.
"""

import importlib
import json

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from seeding import fuzz

# By name: atheris is in this script's own environment alone, where no type checker looks.
atheris = importlib.import_module("atheris")

with atheris.instrument_imports(include=["sidegate_sidecar.keys", "json"]):
    from sidegate_sidecar.keys import NotAKeySet, parse_jwks


def one_input(document: bytes) -> None:
    """Load one document. Raises AssertionError if a set breaks its promises, and whatever else the loader lets out."""
    try:
        content = parse_jwks(document)
    except NotAKeySet:
        return
    named = [key.key_id for key in content.keys if key.key_id is not None]
    if len(named) != len(set(named)):
        raise AssertionError("two keys share a kid")
    if not all(key.algorithms and key.thumbprint for key in content.keys):
        raise AssertionError("a key without algorithms or name")
    if not all(dropped.reason and dropped.shown_key_id.isprintable() for dropped in content.dropped):
        raise AssertionError("a member was dropped without a reason, or its kid would break a log line")


def _seeds() -> list[bytes]:
    keys = [
        {**RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True), "use": "sig"},
        {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True), "alg": "ES256"},
        {
            **ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP521R1()).public_key(), as_dict=True),
            "key_ops": ["verify"],
        },
        {**OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True), "alg": "EdDSA"},
        {"kty": "oct", "k": "c2VjcmV0"},
    ]
    named = [{**key, "kid": f"k{number}"} for number, key in enumerate(keys)]
    return [json.dumps({"keys": members}).encode() for members in (named, keys, [], *([key] for key in named))]


if __name__ == "__main__":
    fuzz(one_input, _seeds())
