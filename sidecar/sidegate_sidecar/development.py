"""A development issuer: a signing key made on the spot, for trying sidegate out. The only place that ever makes one."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.model import SECOND, Micros

ISSUER = "sidegate-dev"
ALGORITHM = "ES256"
KEY_ID = "development"
KEY_FILE = "development-key.pem"
JWKS_FILE = "jwks.json"


@dataclass(frozen=True, slots=True)
class DevelopmentIssuer:
    """Signs access tokens for `sidegate dev`. The key stays in its directory, readable by its owner alone."""

    directory: Path
    private_key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The issuer whose key lies in the directory. Raises StartupError if there is none."""
        try:
            key = load_pem_private_key((directory / KEY_FILE).read_bytes(), password=None)
        except OSError as fault:
            raise StartupError(
                f"no development key in {directory}: {fault.strerror}; `sidegate dev` makes one"
            ) from None
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
            key = None
        if not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
            raise StartupError(f"{directory / KEY_FILE} is not a development key; delete it, `sidegate dev` makes one")
        return cls(directory, key)

    @classmethod
    def load_or_create(cls, directory: Path) -> Self:
        """The issuer of the directory, made with its key and JWKS file if there is none yet."""
        if not (directory / KEY_FILE).exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(
                directory / KEY_FILE,
                key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            )
        issuer = cls.load(directory)
        public = ECAlgorithm.to_jwk(issuer.private_key.public_key(), as_dict=True)
        jwks = {"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": ALGORITHM}]}
        write_private(issuer.jwks_file, json.dumps(jwks, indent=2).encode())
        return issuer

    @property
    def jwks_file(self) -> Path:
        """The public half, as an issuer would publish it."""
        return self.directory / JWKS_FILE

    def mint(self, user_id: str, session_handle: str, *, tenant_id: str = "", lifetime: Micros) -> str:
        """A signed access token, issued now. Its claims are those of the `oidc` preset, with `tid` for the tenant."""
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "sub": user_id,
            "sid": session_handle,
            "iat": now,
            "exp": now + lifetime // SECOND,
        }
        if tenant_id:
            claims["tid"] = tenant_id
        return jwt.encode(claims, self.private_key, algorithm=ALGORITHM, headers={"kid": KEY_ID})


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
