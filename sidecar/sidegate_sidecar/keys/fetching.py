"""One bounded HTTP GET, made for sources that may be slow, wrong or hostile."""

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sidegate_sidecar.keys.dialing import TargetRefused, checking_socket_factory
from sidegate_sidecar.keys.jwks import MAX_DOCUMENT_BYTES
from sidegate_sidecar.keys.loading import LoadFailed
from sidegate_sidecar.keys.sources import checked_url
from sidegate_sidecar.keys.wording import in_words, printable, shown_path, shown_url

TIMEOUT_SECONDS = 5.0  # in all, from the look-up of the name to the last byte
_CHUNK_BYTES = 64 * 1024
_MAX_AGE_DIGITS = 9  # thirty years


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document.

    Attributes:
        shown_url: Where it came from, as it may be shown.
        body: The document itself.
        max_age: For how many seconds its sender calls it fresh. None: it did not say.
    """

    shown_url: str
    body: bytes
    max_age: float | None


class Fetcher:
    """Fetches documents of at most 1 MiB.

    Each over a connection of its own: fetches are rare, and what was true of an old connection's address and
    certificate need not be true any more.

    Args:
        ca_file: PEM certificates to trust instead of the system's.
        allow_http: Whether plain http is allowed to other machines.
        executor: Where certificates are read, which takes longer than the event loop may stand still.
        timeout: For one document, in seconds.
    """

    def __init__(
        self, *, ca_file: Path | None, allow_http: bool, executor: Executor, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._ca_file = ca_file
        self._allow_http = allow_http
        self._executor = executor
        self._timeout = timeout
        self._certificates: asyncio.Future[ssl.SSLContext | str] | None = None

    async def get(self, url: str, headers: Mapping[str, str]) -> Fetched:
        """Fetch a document. Only a plain 200 will do; a redirect is a failure.

        Args:
            url: Checked by `checked_url`.

        Raises:
            LoadFailed: Whatever went wrong.
        """
        try:
            return await self._get_in_time(url, headers)
        except _Fault as fault:
            raise LoadFailed(f"{shown_url(url)}: {fault}") from None

    async def _get_in_time(self, url: str, headers: Mapping[str, str]) -> Fetched:
        target = checked_url(url, allow_http=self._allow_http)
        try:
            async with asyncio.timeout(self._timeout):
                # True asks for aiohttp's own context, which is not used: http has none.
                tls = await self._tls_context() if target.scheme == "https" else True
                loopback_only = target.scheme == "http" and not self._allow_http
                return await self._get(url, headers, tls, loopback_only=loopback_only)
        except TimeoutError:
            raise _Fault(f"no complete answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _fault(error) from None

    async def _tls_context(self) -> ssl.SSLContext:
        if self._certificates is not None and not self._certificates.done():
            # One thread may wait for a file system that hangs, and not one more for each attempt.
            raise _Fault("the CA file's file system does not answer")
        self._certificates = asyncio.get_running_loop().run_in_executor(self._executor, _tls_context_of, self._ca_file)
        await asyncio.wait({self._certificates})  # which leaves it running when the time is up
        context = self._certificates.result()
        if isinstance(context, str):
            raise _Fault(context)
        return context

    async def _get(
        self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | bool, *, loopback_only: bool
    ) -> Fetched:
        connector = aiohttp.TCPConnector(
            ssl=tls,
            force_close=True,
            use_dns_cache=False,
            socket_factory=checking_socket_factory(loopback_only=loopback_only),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The issuer is to be asked, not a cache between (RFC 9111 §5.2.1.4): an answer without a key says that
            # there is none. And a small compressed answer can be a huge one: none is asked for, and none is unpacked.
            headers={
                "Accept": "application/json",
                "Cache-Control": "no-cache",
                **headers,
                "Accept-Encoding": "identity",
            },
            auto_decompress=False,
            trust_env=False,
            middlewares=(_only_once,),
        )
        async with session, session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise _Fault(f"the server answered {response.status}")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _Fault("the server compressed its answer unasked")
            return Fetched(
                shown_url(url), await _bounded_body(response), max_age(response.headers.getall("Cache-Control", []))
            )


class _Fault(Exception):
    """Why there is no document, in words that hold nothing of the request or the answer."""


def _tls_context_of(ca_file: Path | None) -> ssl.SSLContext | str:
    """A string says why there is none. No exception, for nobody may be left to take it when a disk answers at last."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        shown = "the system's CA file" if ca_file is None else f"the CA file {shown_path(ca_file)}"
        # An ssl.SSLError's errno is OpenSSL's and none of the system's.
        return f"{shown}: {'no certificate in PEM form' if isinstance(error, ssl.SSLError) else in_words(error)}"


def same_origin(one: str, other: str) -> bool:
    """Whether two checked URLs have the same scheme, host and port, so that what is secret to one is safe with both."""
    first, second = (checked_url(url, allow_http=True) for url in (one, other))
    return (first.scheme, first.hostname, _port(first.scheme, first.port)) == (
        second.scheme,
        second.hostname,
        _port(second.scheme, second.port),
    )


def _port(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "https" else 80)


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    too_large = _Fault(f"the answer is larger than {MAX_DOCUMENT_BYTES} bytes")
    if (response.content_length or 0) > MAX_DOCUMENT_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise too_large
    return bytes(body)


def max_age(fields: list[str]) -> float | None:
    """RFC 9111 §5.2.2. What may not be stored without asking again is fresh for no time."""
    directives: dict[str, str] = {}
    for directive in ",".join(fields).split(","):
        name, _, value = directive.partition("=")
        directives[name.strip().lower()] = value.strip().strip('"')
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    seconds = directives.get("max-age", "")
    return float(seconds[:_MAX_AGE_DIGITS]) if seconds.isascii() and seconds.isdecimal() else None


async def _only_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Aiohttp repeats a GET whose connection broke, for a connection that it kept may have been stale. These are all
    new, and a fetch is to be one request: the token bucket counts on it.
    """
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _fault(error) from None


def _fault(error: Exception) -> _Fault:
    """The texts of these hold addresses and what the server sent, so each is put into words of our own."""
    refused = _refused_target(error)
    if refused is not None:
        return _Fault(f"the host is {refused}")
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _Fault(f"the server's certificate is not trusted{_distrust(error.certificate_error)}")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return _Fault("no TLS connection came about; does the server speak https?")
        case aiohttp.ClientConnectorDNSError():
            return _Fault("the host's name cannot be resolved")
        case aiohttp.ClientConnectorError():
            return _Fault(f"no connection: {in_words(error.os_error)}")
        case aiohttp.ServerDisconnectedError():
            return _Fault("the server closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return _Fault("the answer broke off")
        case aiohttp.ClientResponseError():
            return _Fault("the answer is not HTTP, or its headers are too large")
        case OSError():  # aiohttp.ClientOSError is one
            return _Fault(f"the connection broke: {in_words(error)}")
        case _:
            return _Fault(f"the request failed ({type(error).__name__})")


def _distrust(error: Exception) -> str:
    """OpenSSL's reason, e.g. that the certificate is self-signed, or for another name than the host's."""
    return f" ({printable(error.verify_message)})" if isinstance(error, ssl.SSLCertVerificationError) else ""


def _refused_target(error: BaseException) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TargetRefused):
            return str(cause)
        cause = cause.__cause__
    return None
