"""The issuer of `sidegate dev`: its key is private and its own, its tokens are good."""

import stat
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from sidegate_sidecar.development import ISSUER, KEY_FILE, KEY_ID, DevelopmentIssuer
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.keys import parse_jwks
from sidegate_sidecar.model import SECOND, KeySet
from sidegate_sidecar.tokens import IssuerPolicy, TokenClaims, verify_token

HOUR = 3600 * SECOND
POLICY = IssuerPolicy(
    issuer=ISSUER,
    session_claim="sid",
    tenant_claim="tid",
    key_id_required=True,
    max_token_lifetime=HOUR,
    leeway=0,
)


def claims_of(token: str, issuer: DevelopmentIssuer) -> TokenClaims:
    """What the token says, verified as the sidecar would with the published keys."""
    keys = parse_jwks(issuer.jwks_file.read_bytes()).keys
    return verify_token(token, KeySet(1, keys), POLICY, None, time.time_ns() // 1000)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_of_its_own_is_good(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer.load_or_create(tmp_path)

    claims = claims_of(issuer.mint("ada", "phone", tenant_id="acme", lifetime=HOUR), issuer)

    assert (claims.user_id, claims.session_handle, claims.tenant_id) == ("ada", "phone", "acme")
    assert claims.expire_time - claims.issue_time == HOUR


def test_a_token_without_tenant_names_none(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer.load_or_create(tmp_path)

    assert claims_of(issuer.mint("ada", "phone", lifetime=HOUR), issuer).tenant_id == ""


def test_a_token_names_the_key(tmp_path: Path) -> None:
    token = DevelopmentIssuer.load_or_create(tmp_path).mint("ada", "phone", lifetime=HOUR)

    assert jwt.get_unverified_header(token)["kid"] == KEY_ID


def test_the_key_is_made_where_its_owner_alone_can_read_it(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer.load_or_create(tmp_path / "new" / ".sidegate")

    assert mode_of(issuer.directory) == 0o700
    assert mode_of(issuer.directory / KEY_FILE) == 0o600
    assert sorted(path.name for path in issuer.directory.iterdir()) == [KEY_FILE, "jwks.json"]


def test_the_published_keys_hold_nothing_private(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer.load_or_create(tmp_path)

    assert '"d"' not in issuer.jwks_file.read_text()
    assert parse_jwks(issuer.jwks_file.read_bytes()).dropped == ()


def test_a_later_start_signs_with_the_same_key(tmp_path: Path) -> None:
    first = DevelopmentIssuer.load_or_create(tmp_path)
    token = first.mint("ada", "phone", lifetime=HOUR)

    assert claims_of(token, DevelopmentIssuer.load_or_create(tmp_path)).user_id == "ada"
    assert claims_of(DevelopmentIssuer.load(tmp_path).mint("eve", "pad", lifetime=HOUR), first).user_id == "eve"


def test_published_keys_that_were_lost_are_published_again(tmp_path: Path) -> None:
    DevelopmentIssuer.load_or_create(tmp_path).jwks_file.unlink()

    issuer = DevelopmentIssuer.load_or_create(tmp_path)

    assert claims_of(issuer.mint("ada", "phone", lifetime=HOUR), issuer)


def pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", id="a certificate"),
        pytest.param(pem(rsa.generate_private_key(65537, 2048)), id="an RSA key"),
        pytest.param(pem(ec.generate_private_key(ec.SECP384R1())), id="a key of another curve"),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"password")), id="an encrypted key"
        ),
    ],
)
def test_a_file_that_is_no_development_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)

    for start in (DevelopmentIssuer.load, DevelopmentIssuer.load_or_create):
        with pytest.raises(StartupError, match="is not a development key; delete it"):
            start(tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_without_a_key_there_is_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"no development key in .*`sidegate dev` makes one"):
        DevelopmentIssuer.load(tmp_path)
