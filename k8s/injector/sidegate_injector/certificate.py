"""The webhook's certificate and key as they lie on the disk, reloaded while it serves."""

import asyncio
import hashlib
import ssl
from pathlib import Path

import structlog

from sidegate_injector.errors import CertificateUnusable

LOOK_SECONDS = 1.0  # how often the files are looked at

_log = structlog.get_logger(__name__)


class Certificate:
    """A TLS context for a server whose certificate changes.

    Args:
        certificate: The chain, in PEM.
        key: The private key, in PEM.

    Attributes:
        context: What to serve with. It shakes hands with what was loaded last.

    Raises:
        CertificateUnusable: They cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._told = ""
        try:
            self._seen = self._digest()
            self._current = self._load()
        except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
            raise CertificateUnusable(f"the certificate cannot be used: {_in_words(fault)}") from None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.sni_callback = self._choose

    async def reload_for_ever(self) -> None:
        """Look at the files again and again. Ends when cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Take up what has changed since the last look. What cannot be used leaves the old one in place."""
        try:
            digest = self._digest()
            if digest == self._seen:
                return
            self._current = self._load()
        except (OSError, ValueError) as fault:
            # The digest is not kept: a key may follow its certificate a moment later.
            if (problem := _in_words(fault)) != self._told:
                _log.warning("certificate_not_reloaded", error=problem)
                self._told = problem
            return
        self._seen, self._told = digest, ""
        _log.info("certificate_reloaded")

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        # Called in each handshake, whether or not the client names a server.
        connection.context = self._current

    def _digest(self) -> bytes:
        return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in self._files)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files, password=_refuse_to_ask)
        return context


def _refuse_to_ask() -> str:
    """OpenSSL would ask on the terminal, and wait."""
    raise ValueError("the private key is encrypted; it must lie there in the clear")


def _in_words(fault: OSError | ValueError) -> str:
    if isinstance(fault, ssl.SSLError):
        return (fault.reason or "not PEM").replace("_", " ").lower()
    if isinstance(fault, OSError):
        return f"{fault.filename}: {fault.strerror}"
    return str(fault)
