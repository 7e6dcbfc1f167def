"""Keys behind a URL: a JWK set, or the one that an OpenID configuration names."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor

from sidegate_sidecar.keys.fetching import Fetched, Fetcher, same_origin
from sidegate_sidecar.keys.jwks import NotAKeySet, parse_jwks
from sidegate_sidecar.keys.loading import Loaded, LoadFailed, NoUsableKey, usable
from sidegate_sidecar.keys.sources import Discovery, IssuerKeysConfig, JwksUrl, checked_url
from sidegate_sidecar.keys.strict_json import NotStrictJson, parse_strict_json

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 60.0
LAST_RETRY_WITHOUT_KEYS_SECONDS = 5.0  # nothing of the issuer can be verified until it answers

Jitter = Callable[[float, float], float]
"""A number between two others. Sidecars that started together, or lost the same issuer together, must not ask it in
step for ever after."""


def refresh_in(config: IssuerKeysConfig, max_age: float | None, jitter: Jitter = random.uniform) -> float:
    """When to fetch again, in seconds: somewhat before the answer is stale, within the bounds of the settings."""
    fresh_for = config.default_refresh if max_age is None else max_age
    span = min(max(fresh_for, config.min_refresh), config.max_refresh)
    return max(config.min_refresh, jitter(0.8 * span, 0.95 * span))


def backoff(failures: int, *, without_keys: bool, jitter: Jitter = random.uniform) -> float:
    """How long to wait after so many failures in a row: twice as long each time, half of it by lot. Up to a minute, or
    without any keys up to 5 s.
    """
    longest = LAST_RETRY_WITHOUT_KEYS_SECONDS if without_keys else LAST_RETRY_SECONDS
    span = min(longest, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10))
    return jitter(span / 2, span)


class UrlLoader:
    """Loads a JWK set from a URL.

    Args:
        config: Of the issuer; `source` is of no concern here.
        source: What to fetch.
        executor: Where documents are parsed and certificates are read.
    """

    def __init__(self, config: IssuerKeysConfig, source: JwksUrl | Discovery, executor: Executor) -> None:
        self._config = config
        self._source = source
        self._executor = executor
        self._fetcher = Fetcher(ca_file=source.ca_file, allow_http=source.allow_http, executor=executor)

    async def load(self) -> Loaded:
        """As in KeyLoader. A discovered address is discovered anew each time, for an issuer may move its keys."""
        fetched = await self._fetch_keys()
        loop = asyncio.get_running_loop()
        try:
            content = usable(await loop.run_in_executor(self._executor, parse_jwks, fetched.body))
        except NotAKeySet as error:
            raise LoadFailed(f"{fetched.shown_url}: the answer is no key set: {error}") from None
        except NoUsableKey as error:
            raise LoadFailed(f"{fetched.shown_url}: {error}") from None
        return Loaded(content, refresh_in(self._config, fetched.max_age))

    def retry_in(self, failures: int, *, without_keys: bool) -> float:
        """As in KeyLoader."""
        return backoff(failures, without_keys=without_keys)

    async def _fetch_keys(self) -> Fetched:
        source = self._source
        if isinstance(source, JwksUrl):
            return await self._fetcher.get(source.url, source.headers)
        # OpenID Connect Discovery 1.0 §4.1: a final slash is removed first.
        configuration_url = source.issuer_url.removesuffix("/") + "/.well-known/openid-configuration"
        configuration = await self._fetcher.get(configuration_url, source.headers)
        loop = asyncio.get_running_loop()
        try:
            jwks_uri = await loop.run_in_executor(self._executor, _jwks_uri, configuration.body, source)
        except _ConfigurationUnusable as error:
            raise LoadFailed(f"{configuration.shown_url}: {error}") from None
        shares_origin = same_origin(jwks_uri, source.issuer_url)
        return await self._fetcher.get(jwks_uri, source.headers if shares_origin else {})


class _ConfigurationUnusable(Exception):
    """An OpenID configuration does not lead to keys. The message says why and holds nothing of it."""


def _jwks_uri(document: bytes, source: Discovery) -> str:
    """The address that the document names, one that may be fetched. Raises: _ConfigurationUnusable."""
    try:
        configuration = parse_strict_json(document)
    except NotStrictJson as error:
        raise _ConfigurationUnusable(f"the OpenID configuration is unusable: {error}") from None
    if not isinstance(configuration, dict):
        raise _ConfigurationUnusable("the OpenID configuration is not a JSON object")
    if configuration.get("issuer") != source.issuer_url:  # §4.3: exactly
        raise _ConfigurationUnusable("the OpenID configuration is that of another issuer")
    jwks_uri = configuration.get("jwks_uri")
    if not isinstance(jwks_uri, str):
        raise _ConfigurationUnusable("the OpenID configuration names no jwks_uri")
    try:
        checked_url(jwks_uri, allow_http=source.allow_http)
    except ValueError as error:
        raise _ConfigurationUnusable(f"the jwks_uri is refused: {error}") from None
    return jwks_uri
