"""What the process can be told: `SIDEGATE_*` variables and a TOML file, read once, all mistakes reported together.

Built on pydantic itself rather than pydantic-settings, which stops at the first variable that is not the JSON it should
be; whoever configures a pod wants every mistake in one go.
"""

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from sidegate_sidecar.durations import parse_duration
from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.keys import Discovery, JwksFile, JwksUrl, KeySource, PemFile
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import ALGORITHMS, SECOND, Micros
from sidegate_sidecar.tokens import MAX_LEEWAY

PREFIX = "SIDEGATE_"
CLIENT_VARIABLES = frozenset({"SIDEGATE_TARGET", "SIDEGATE_ADMIN_TARGET"})
CONFIG_VARIABLE = "SIDEGATE_CONFIG"
ADMIN_ON_LOOPBACK = "admin_on_loopback"
HOUR = 3600 * SECOND
DAY = 24 * HOUR

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
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a duration")  # noqa: TRY004 - pydantic reports ValueError, and lets TypeError out
    return parse_duration(value)


def _listeners(value: object) -> object:
    parts = _split(value)
    if not isinstance(parts, list):
        return parts
    return [Listener.parse(part) if isinstance(part, str) else part for part in cast("list[object]", parts)]


Duration = Annotated[Micros, BeforeValidator(_duration)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Listeners = Annotated[tuple[Listener, ...], BeforeValidator(_listeners)]
ClaimName = Annotated[str, Field(min_length=1, max_length=256)]


def _known_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(names) - ALGORITHMS)
    if unknown:
        raise ValueError(f"not supported: {', '.join(unknown)}; known are {', '.join(sorted(ALGORITHMS))}")
    return names


class IssuerEntry(BaseModel):
    """One trusted issuer. Exactly one of `jwks_url`, `jwks_file`, `pem_file` and `discovery` says where its keys are.

    An empty `session_claim` waives the session handle; absent, the preset names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    preset: Literal["oidc", "supertokens"] = "oidc"
    jwks_url: str | None = None
    jwks_file: Path | None = None
    pem_file: Path | None = None
    discovery: bool = False
    ca_file: Path | None = None
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
        given = [self.jwks_url, self.jwks_file, self.pem_file, self.discovery or None]
        if sum(source is not None for source in given) != 1:
            raise ValueError("exactly one of jwks_url, jwks_file, pem_file and discovery is needed")
        try:
            self.key_source()
        except ValueError as fault:
            raise ValueError(f"{'issuer' if self.discovery else 'jwks_url'}: {fault}") from None
        if self.anti_csrf_required and self.anti_csrf_claim is None:
            raise ValueError("anti_csrf_required needs anti_csrf_claim")
        return self

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


class Settings(BaseModel):
    """Everything the sidecar can be told. docs/configuration.md explains each setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Annotated[Listeners, Field(min_length=1)] = (Listener(path=Path("/run/sidegate/sidegate.sock")),)
    store_url: str = Field(default="", repr=False)
    admin_listen: Listeners = ()  # after store_url, which its validator looks at
    issuers: Annotated[tuple[IssuerEntry, ...], BeforeValidator(_json), Field(min_length=1)]
    unknown_sessions: Literal["accept", "reject"] = "accept"
    max_token_lifetime: Duration = DAY
    max_session_lifetime: Duration = 30 * DAY
    leeway: Duration = 10 * SECOND
    key_cache_dir: Path | None = None
    remembered_tokens: Annotated[int, Field(ge=0)] = 10_000
    reflection: bool = False
    shutdown_grace: Duration = 5 * SECOND
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

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

    @field_validator("leeway")
    @classmethod
    def _leeway_is_small(cls, leeway: Micros) -> Micros:
        if leeway > MAX_LEEWAY:
            raise ValueError("must not be more than 60s")
        return leeway

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

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if url and not url.startswith("sqlite:///"):
            raise ValueError("must be sqlite:///path, or empty for a stateless sidecar")
        return url

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite store; None for a stateless sidecar."""
        return Path(self.store_url.removeprefix("sqlite://")) if self.store_url else None


class SettingsInvalid(StartupError):
    """The settings cannot be used. `mistakes` holds all of them, each naming its setting as the operator wrote it."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load_settings(
    environ: Mapping[str, str], config: Path | None = None, *, admin_on_loopback: bool = False
) -> Settings:
    """Read the settings: variables win over the file.

    Args:
        environ: Usually os.environ.
        config: A TOML file whose keys are the settings in lower case. Absent: what SIDEGATE_CONFIG names, if anything.
        admin_on_loopback: Whether the admin services may be served on loopback without authentication.

    Raises:
        SettingsInvalid: With every mistake.
    """
    config = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    from_file = {} if config is None else _read_toml(config)
    from_variables = {
        name: environ[PREFIX + name.upper()]
        for name in (*Settings.model_fields, *IssuerEntry.model_fields)
        if PREFIX + name.upper() in environ
    }
    given = {**from_file, **from_variables}
    values = _with_one_issuer(given)
    try:
        return Settings.model_validate(values, context={ADMIN_ON_LOOPBACK: admin_on_loopback})
    except ValidationError as invalid:
        one_issuer = "issuers" in values and "issuers" not in given
        raise SettingsInvalid(
            [_mistake(error, one_issuer, from_variables, config) for error in invalid.errors()]
        ) from None


def misspelt_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that nothing reads but that resemble one that is read; for each, that one.

    Not a mistake in itself: Kubernetes sets SIDEGATE_… variables of its own for a service named sidegate.
    """
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *IssuerEntry.model_fields)}
    known |= {CONFIG_VARIABLE, *CLIENT_VARIABLES}
    suspects = [name for name in environ if name.startswith(PREFIX) and name not in known]
    guesses = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.85) for name in suspects}
    return {name: close[0] for name, close in guesses.items() if close}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise SettingsInvalid([f"{path}: cannot be read: {fault.strerror}"]) from None
    except ValueError as fault:  # bad TOML, bad UTF-8
        raise SettingsInvalid([f"{path}: not TOML: {fault}"]) from None


def _with_one_issuer(values: dict[str, Any]) -> dict[str, Any]:
    """Fold `issuer` and its companions into `issuers`. An issuer alone is asked by OpenID Connect discovery."""
    if "issuer" not in values or "issuers" in values:
        return values
    shared = Settings.model_fields
    entry = {name: values[name] for name in IssuerEntry.model_fields if name in values and name not in shared}
    if not {"jwks_url", "jwks_file", "pem_file", "discovery"} & set(entry):
        entry["discovery"] = True
    return {"issuers": [entry], **{name: value for name, value in values.items() if name not in entry}}


def _mistake(error: ErrorDetails, one_issuer: bool, from_variables: Mapping[str, str], config: Path | None) -> str:
    """One mistake, without the value: it may be a secret. `one_issuer`: the only entry was folded from `issuer`."""
    location = [part for part in error["loc"] if isinstance(part, int) or not part.startswith("function-")]
    problem = error["msg"].removeprefix("Value error, ")
    if not location:
        return problem
    setting, *path = location
    if setting == "issuers" and one_issuer and path:
        setting, path = path[1] if len(path) > 1 else "issuer", path[2:]
    name = PREFIX + str(setting).upper() if str(setting) in from_variables or config is None else str(setting)
    name += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    match error["type"]:
        case "extra_forbidden" if not path and setting in IssuerEntry.model_fields:
            problem = "is for a single issuer, named by issuer, and cannot stand beside issuers or without issuer"
        case "extra_forbidden":
            fields = Settings.model_fields if not path else IssuerEntry.model_fields
            close = difflib.get_close_matches(str(location[-1]), list(fields), n=1)
            problem = "no such setting" + (f"; did you mean {close[0]}?" if close else "")
        case "missing" if setting == "issuers":
            problem = f"no issuer is configured; set {PREFIX}ISSUER, or {PREFIX}ISSUERS to a JSON list of entries"
        case _:
            pass
    return f"{name}: {problem}" + (f" (in {config})" if not name.startswith(PREFIX) and config is not None else "")
