"""The admin listener's certificate, key and client CA as they lie on the disk, reloaded while the listener serves.

A pair that cannot be used refuses the start; later it leaves the old one in place, and the log says so.
"""

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import structlog

from sidegate_sidecar.errors import StartupError

LOOK_SECONDS = 1.0  # how often the files are looked at

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are. `client_ca` None: no client certificate is asked for."""

    certificate: Path
    key: Path
    client_ca: Path | None


class ServerTls:
    """What to shake hands with, at this moment.

    Args:
        files: Read when this is made. Raises StartupError if they cannot be used.
        requires_client_certificate: Whether a connection without one is refused. If not, one that is brought must be
            good all the same.
    """

    def __init__(self, files: CertificateFiles, *, requires_client_certificate: bool) -> None:
        self._files = files
        self._requires_client_certificate = requires_client_certificate
        self._told = ""
        try:
            self._seen = self._digest()
            self.context = self._load()
        except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
            raise StartupError(f"the TLS files of the admin listener cannot be used: {_in_words(fault)}") from None

    async def reload_for_ever(self) -> None:
        """Look at the files again and again, and take up what has changed. Ends when cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Take up what has changed since the last look. New connections use it; those that there are go on."""
        try:
            digest = self._digest()
            if digest == self._seen:
                return
            self.context = self._load()
        except (OSError, ValueError) as fault:
            # The digest is not kept: a key may follow its certificate a moment later.
            if (problem := _in_words(fault)) != self._told:
                _log.warning("admin_tls_not_reloaded", error=problem)
                self._told = problem
            return
        self._seen, self._told = digest, ""
        _log.info("admin_tls_reloaded")

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for path in (self._files.certificate, self._files.key, self._files.client_ca):
            if path is not None:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.digest()

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        # No tickets: a resumed session brings a client certificate whose issuer nobody looks at again. By its id one of
        # TLS 1.2 can be resumed, which Python cannot switch off, but only where it began: in this context, which knows
        # no other CA. The certificate's own dates are looked at on every call.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION  # nor may it be exchanged for another
        context.num_tickets = 0
        context.load_cert_chain(self._files.certificate, self._files.key, password=_refuse_to_ask)
        if self._files.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED if self._requires_client_certificate else ssl.CERT_OPTIONAL
            context.load_verify_locations(self._files.client_ca)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a CA there is trusted, also without its own issuer
            if not context.get_ca_certs():
                raise ValueError(f"{self._files.client_ca}: holds no CA certificate")
        return context


def _refuse_to_ask() -> str:
    """OpenSSL would ask on the terminal, and wait."""
    raise ValueError("the private key is encrypted; it must lie there in the clear, readable by its owner alone")


def _in_words(fault: OSError | ValueError) -> str:
    if isinstance(fault, ssl.SSLError):
        return {
            "KEY_VALUES_MISMATCH": "the private key is not the certificate's",
            "KEY_TYPE_MISMATCH": "the private key is not the certificate's",
            "NO_START_LINE": "the certificate, the key or the client CA is not PEM",
        }.get(fault.reason or "", (fault.reason or "not PEM").replace("_", " ").lower())
    if isinstance(fault, OSError):
        return f"{fault.filename}: {fault.strerror}"
    return str(fault)
