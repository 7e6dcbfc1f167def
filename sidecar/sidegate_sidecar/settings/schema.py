"""What can be set: the settings, the issuer entries, and what each must be like by itself and beside the others."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sidegate_sidecar.durations import DAY, parse_duration
from sidegate_sidecar.keys import Discovery, JwksFile, JwksUrl, KeySource, PemFile
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import ALGORITHMS, SECOND, Micros
from sidegate_sidecar.tokens import MAX_LEEWAY

PREFIX = "SIDEGATE_"
KEY_SOURCES = ("jwks_url", "jwks_file", "pem_file", "discovery")
ADMIN_ON_LOOPBACK = "admin_on_loopback"
FIELD_ERROR = "field"  # the type of an error that a model finds in one of its fields, which `ctx` names

_PRESETS: Mapping[str, Mapping[str, str]] = {
    "oidc": {"session_claim": "sid"},
    "supertokens": {"session_claim": "sessionHandle", "tenant_claim": "tId", "anti_csrf_claim": "antiCsrfToken"},
}


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed: object = json.loads(value)
    except ValueError as fault:
        raise ValueError(f"not JSON: {fault}") from None
    return parsed


def _duration(value: object) -> object:
    return parse_duration(str(value))  # what is neither text nor a number does not look like a span either


def _listener(value: object) -> object:
    if isinstance(value, Listener):
        return value
    if not isinstance(value, str):
        raise ValueError("write unix:///path or host:port")  # noqa: TRY004 - pydantic lets TypeError out
    return Listener.parse(value)


def _listeners(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, list | tuple):
        raise ValueError("write unix:///path or host:port, or a list of them")  # noqa: TRY004 - as above
    return [_listener(part) for part in cast("list[object]", parts)]


def _not_empty(value: object) -> object:
    if value == "":  # as a path it would be the working directory
        raise ValueError("must not be empty")
    return value


def _not_a_flag(value: object) -> object:
    if isinstance(value, bool):  # which Python counts among the integers
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic lets TypeError out
    return value


Duration = Annotated[Micros, BeforeValidator(_duration)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Listeners = Annotated[tuple[Listener, ...], BeforeValidator(_listeners)]
FilePath = Annotated[Path, BeforeValidator(_not_empty)]
Count = Annotated[int, BeforeValidator(_not_a_flag), Field(ge=0)]
ClaimName = Annotated[str, Field(min_length=1, max_length=256)]


def _known_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(names) - ALGORITHMS)
    if unknown:
        raise ValueError(f"not supported: {', '.join(unknown)}; known are {', '.join(sorted(ALGORITHMS))}")
    return names


def _fault_of(field: str, problem: str) -> PydanticCustomError:
    return PydanticCustomError(FIELD_ERROR, "{problem}", {"field": field, "problem": problem})


class IssuerEntry(BaseModel):
    """One trusted issuer. Exactly one of `jwks_url`, `jwks_file`, `pem_file` and `discovery` says where its keys are.

    An empty `session_claim` waives the session handle; absent, the preset names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    preset: Literal["oidc", "supertokens"] = "oidc"
    jwks_url: Annotated[str, Field(min_length=1)] | None = None
    jwks_file: FilePath | None = None
    pem_file: FilePath | None = None
    discovery: bool = False
    ca_file: FilePath | None = None
    request_headers: Annotated[dict[str, str], BeforeValidator(_json)] = Field(default_factory=dict, repr=False)
    allow_http: bool = False
    audiences: Names = ()
    algorithms: Annotated[Names, AfterValidator(_known_algorithms)] = tuple(sorted(ALGORITHMS))
    session_claim: Annotated[str, Field(max_length=256)] = ""
    user_claim: ClaimName = "sub"
    tenant_claim: ClaimName | None = None
    begin_claim: ClaimName | None = None
    anti_csrf_claim: ClaimName | None = None
    anti_csrf_required: bool = False
    token_type: ClaimName | None = None
    key_id_required: bool = False
    issuer_claim_absent: bool = False
    issuer_clock_skew: Duration = 2 * SECOND
    unknown_sessions: Literal["accept", "reject"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _preset_names(cls, values: Any) -> Any:
        """The preset's claim names stand where the entry gives none of its own."""
        if not isinstance(values, Mapping):
            return values
        given = cast("Mapping[str, object]", values)
        return {**_PRESETS.get(str(given.get("preset", "oidc")), {}), **given}

    @model_validator(mode="after")
    def _one_key_source(self) -> Self:
        found = [name for name in KEY_SOURCES if getattr(self, name)]
        if len(found) != 1:
            which = f"{', '.join(KEY_SOURCES[:-1])} and {KEY_SOURCES[-1]}"
            raise ValueError(f"exactly one of {which} is needed; found {' and '.join(found) or 'none'}")
        try:
            self.key_source()
        except ValueError as fault:
            raise self._key_source_fault(str(fault)) from None
        if self.anti_csrf_required and self.anti_csrf_claim is None:
            raise _fault_of("anti_csrf_required", "needs anti_csrf_claim")
        return self

    def _key_source_fault(self, problem: str) -> PydanticCustomError:
        """Say of which field the problem is, by finding the one whose change would end it."""
        if self._makes_key_source(request_headers={}):
            return _fault_of("request_headers", problem)
        if self._makes_key_source(allow_http=True):
            problem = (
                "must be an https URL; http only to loopback, or with allow_http"
                f" ({PREFIX}ALLOW_HTTP for a single issuer) elsewhere"
            )
        return _fault_of("issuer" if self.discovery else "jwks_url", problem)

    def _makes_key_source(self, **changes: object) -> bool:
        try:
            self.model_copy(update=changes).key_source()
        except ValueError:
            return False
        return True

    def key_source(self) -> KeySource:
        """Where its keys are."""
        if self.jwks_file is not None:
            return JwksFile(self.jwks_file)
        if self.pem_file is not None:
            return PemFile(self.pem_file)
        if self.jwks_url is not None:
            return JwksUrl(
                self.jwks_url, headers=self.request_headers, ca_file=self.ca_file, allow_http=self.allow_http
            )
        return Discovery(self.issuer, headers=self.request_headers, ca_file=self.ca_file, allow_http=self.allow_http)


class StoreSettings(BaseModel):
    """The store, and what its retention rests on: all that `sidegate migrate` needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_url: str = Field(default="", repr=False)
    max_token_lifetime: Duration = DAY
    max_session_lifetime: Duration = 30 * DAY
    leeway: Duration = 10 * SECOND

    @field_validator("leeway")
    @classmethod
    def _leeway_is_small(cls, leeway: Micros) -> Micros:
        if leeway > MAX_LEEWAY:
            raise ValueError("must not be more than 60s")
        return leeway

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url and not (url.startswith("sqlite:///") and url.removeprefix("sqlite:").strip("/")):
            raise ValueError("must be sqlite:///path, or empty for a stateless sidecar")
        return url

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite store, from the root; None for a stateless sidecar."""
        return Path("/", self.store_url.removeprefix("sqlite:").lstrip("/")) if self.store_url else None


class Settings(StoreSettings):
    """Everything the sidecar can be told. docs/configuration.md explains each setting."""

    listen: Annotated[Listeners, Field(min_length=1)] = (Listener(path=Path("/run/sidegate/sidegate.sock")),)
    admin_listen: Listeners = ()  # after store_url and listen, which its validator looks at
    issuers: Annotated[tuple[IssuerEntry, ...], BeforeValidator(_json), Field(min_length=1)]
    unknown_sessions: Literal["accept", "reject"] = "accept"
    key_cache_dir: FilePath | None = None
    remembered_tokens: Count = 10_000
    reflection: bool = False
    shutdown_grace: Duration = 5 * SECOND
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @field_validator("listen", "admin_listen")
    @classmethod
    def _listeners_are_distinct(cls, listeners: tuple[Listener, ...], info: ValidationInfo) -> tuple[Listener, ...]:
        data_plane: tuple[Listener, ...] = info.data.get("listen", ())
        for position, listener in enumerate(listeners):
            if any(listener.clashes_with(other) for other in data_plane):
                raise ValueError(f"{listener}: the data plane listens there already")
            if any(listener.clashes_with(other) for other in listeners[:position]):
                raise ValueError(f"{listener}: given more than once")
        return listeners

    @field_validator("admin_listen")
    @classmethod
    def _admin_is_private(cls, listeners: tuple[Listener, ...], info: ValidationInfo) -> tuple[Listener, ...]:
        # Here and not in a validator of the model, which runs only once every setting by itself is right.
        if listeners and info.data.get("store_url") == "":
            raise ValueError(f"needs a store; set {PREFIX}STORE_URL")
        on_loopback = bool(info.context and info.context.get(ADMIN_ON_LOOPBACK))
        for listener in listeners:
            if listener.path is None and not (on_loopback and listener.is_local):
                raise ValueError(
                    f"{listener}: without authentication the admin services are served on a Unix socket only"
                    " (and on loopback by `sidegate dev`)"
                )
        return listeners

    @field_validator("issuers")
    @classmethod
    def _issuers_are_distinct(cls, issuers: tuple[IssuerEntry, ...]) -> tuple[IssuerEntry, ...]:
        names = [entry.issuer for entry in issuers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"configured more than once: {', '.join(twice)}")
        if sum(entry.issuer_claim_absent for entry in issuers) > 1:
            raise ValueError("only one entry can have issuer_claim_absent: its tokens do not say whose they are")
        return issuers
