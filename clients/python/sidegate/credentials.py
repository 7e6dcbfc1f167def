"""What an admin client proves itself by: files for TLS and tokens, each read again when it changes."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from sidegate.errors import CredentialsUnavailable

Token: TypeAlias = Callable[[], str]
"""Returns the token of the moment, without "Bearer". Called before every call, in its thread or task: it must not wait
for long. What it raises, the call raises.
"""

_BEARER = re.compile(r"[!-~]+")  # laxer than RFC 6750 §2.1, but without what ends a header or a token

_Version: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS to an admin listener. Files are PEM, and looked at before every call.

    Attributes:
        ca_file: The CA certificates that the listener's certificate must come from. None: those that gRPC trusts.
        certificate_file: The client's own certificate chain. None: it has none, and proves itself by a token.
        key_file: That certificate's private key, not encrypted.

    Raises:
        ValueError: Only one of the certificate and the key is given.
    """

    ca_file: Path | str | None = None
    certificate_file: Path | str | None = None
    key_file: Path | str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are needed together")


class TokenFile:
    """The token in a file that somebody renews, such as a Kubernetes service-account token.

    Raises:
        CredentialsUnavailable: On use: the file cannot be read, or is empty.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def __call__(self) -> str:
        """What the file holds now."""
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except OSError as fault:
            raise CredentialsUnavailable(f"the token file {self._path}: {fault.strerror}") from None
        except ValueError:
            raise CredentialsUnavailable(f"the token file {self._path} holds no token") from None
        if not token:
            raise CredentialsUnavailable(f"the token file {self._path} is empty")
        return token

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"


class Credentials:
    """TLS and a token, as one client uses them.

    Raises:
        ValueError: A token, and no TLS: it would be sent for all to read.
    """

    def __init__(self, tls: ClientTls | None, token: Token | None) -> None:
        if token is not None and tls is None:
            raise ValueError("a token is sent over TLS only; give tls too")
        self._tls = tls
        self._token = token
        self._loaded: _Version | None = None

    def metadata(self) -> tuple[tuple[str, str | bytes], ...] | None:
        """What goes with a call. Raises: CredentialsUnavailable, and whatever the token's source raises."""
        if self._token is None:
            return None
        token = self._token()
        if not _BEARER.fullmatch(token):  # gRPC would fail in words of its own, or the listener be told half of it
            raise CredentialsUnavailable(
                "the token is empty, or has spaces, line breaks or other characters of no token"
            )
        return (("authorization", f"Bearer {token}"),)

    def have_changed(self) -> bool:
        """Whether the files are others than those last loaded, and can be used."""
        if self._tls is None or self._loaded is None:
            return False
        try:
            if self._version(self._tls) == self._loaded:
                return False
            _check_pair(self._tls)
        except (OSError, ValueError):
            return False  # half of a renewal: the other half is on its way, and the old pair still good
        return True

    def load(self) -> grpc.ChannelCredentials | None:
        """For a new channel. None: it needs none. Raises: CredentialsUnavailable."""
        if self._tls is None:
            return None
        try:
            self._loaded = self._version(self._tls)  # first: what changes while it is read is read again
            _check_pair(self._tls)
            ca, key, certificate = (
                None if path is None else Path(path).read_bytes()
                for path in (self._tls.ca_file, self._tls.key_file, self._tls.certificate_file)
            )
        except ssl.SSLError:
            raise CredentialsUnavailable("the client's certificate and key cannot be used together") from None
        except OSError as fault:
            raise CredentialsUnavailable(f"{fault.filename}: {fault.strerror}") from None
        except ValueError as fault:
            raise CredentialsUnavailable(str(fault)) from None
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def _version(self, tls: ClientTls) -> _Version:
        statuses = [Path(path).stat() for path in (tls.ca_file, tls.certificate_file, tls.key_file) if path is not None]
        return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in statuses)


def _check_pair(tls: ClientTls) -> None:
    """GRPC takes whatever it is given, and then no call succeeds. Raises: ssl.SSLError, OSError, ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca_file is not None:
        context.load_verify_locations(tls.ca_file)
    if tls.certificate_file is not None and tls.key_file is not None:
        context.load_cert_chain(tls.certificate_file, tls.key_file, password=_refuse_to_ask)


def _refuse_to_ask() -> str:
    """OpenSSL would ask on the terminal, and wait."""
    raise ValueError("the client's private key is encrypted")
