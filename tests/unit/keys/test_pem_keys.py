"""A PEM file holds an issuer's one key and no `kid`; the issuer's tokens usually carry one all the same."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sidegate_sidecar.keys import IssuerKeysConfig, KeyRing, PemFile
from sidegate_sidecar.tokens import candidate_keys, parse_token

from tests.unit.tokens.minting import POLICY, mint


@pytest.mark.parametrize(
    ("named", "served"),
    [(None, {"its own", "another", None}), ("its own", {"its own", None})],
    ids=["unnamed: whatever the kid", "named: that kid alone, or none"],
)
async def test_the_key_of_a_pem_file_serves(tmp_path: Path, named: str | None, served: set[str | None]) -> None:
    path = tmp_path / "key.pem"
    key = Ed25519PrivateKey.generate().public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    ring = KeyRing([IssuerKeysConfig("issuer", PemFile(path, key_id=named))])
    await ring.start()
    key_set = ring.key_set("issuer")
    await ring.close()

    def is_candidate(key_id: str | None) -> bool:
        head = {"alg": "EdDSA"} | ({} if key_id is None else {"kid": key_id})
        return bool(candidate_keys(parse_token(mint(head=head, algorithm="EdDSA")), key_set, POLICY))

    assert {key_id for key_id in ("its own", "another", None) if is_candidate(key_id)} == served
