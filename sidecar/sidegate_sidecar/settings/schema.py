"""What can be set: the settings, and what each must be like by itself and beside the others."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from sidegate_sidecar.durations import DAY, format_duration
from sidegate_sidecar.listener import Listener
from sidegate_sidecar.model import SECOND, Micros
from sidegate_sidecar.revocations.follower import POLL_SECONDS
from sidegate_sidecar.settings.admin_access import GrantEntry, check_grants
from sidegate_sidecar.settings.admin_target import check_admin_target
from sidegate_sidecar.settings.issuer_entry import WAIVED_AND_REJECTED, IssuerEntry
from sidegate_sidecar.settings.values import (
    PREFIX,
    Count,
    Duration,
    FilePath,
    Listeners,
    PositiveDuration,
    Target,
    parse_json,
)
from sidegate_sidecar.tokens import MAX_LEEWAY

ADMIN_ON_LOOPBACK = "admin_on_loopback"
MAX_SHUTDOWN_GRACE = 10 * SECOND  # orchestrators are promised an end within it; Kubernetes kills after 30 s
MIN_KEY_REFRESH = SECOND  # more often is no use: an unknown key is asked for at once anyway

MIN_REVOCATION_LAG = round(2 * POLL_SECONDS * SECOND)  # between two polls that find nothing the index ages by one
MIN_POLL_INTERVAL = SECOND // 100
MAX_POLL_INTERVAL = round(POLL_SECONDS * SECOND)  # the log is read that often anyway, or the index would seem late

_POSTGRES_SCHEMES = ("postgresql", "postgres")


class StoreSettings(BaseModel):
    """The store, and what its retention rests on: all that `sidegate migrate` needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_url: str = Field(default="", repr=False)
    store_transaction_pooler: bool = False
    store_poll_interval: Duration = SECOND
    max_token_lifetime: PositiveDuration = DAY
    max_session_lifetime: PositiveDuration = 30 * DAY
    leeway: Duration = 2 * SECOND

    @field_validator("leeway")
    @classmethod
    def _leeway_is_small(cls, leeway: Micros) -> Micros:
        if leeway > MAX_LEEWAY:
            raise ValueError("must not be more than 60s")
        return leeway

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        is_file = scheme == "sqlite" and rest.startswith("/") and rest.strip("/")
        if url and not (is_file or (scheme in _POSTGRES_SCHEMES and rest.strip("/"))):
            raise ValueError(
                "must be sqlite:///path or postgresql://user:password@host/database, or empty for a stateless sidecar"
            )
        return url

    @field_validator("store_poll_interval")
    @classmethod
    def _the_store_is_polled_in_time_but_not_without_end(cls, interval: Micros) -> Micros:
        if interval < MIN_POLL_INTERVAL:
            raise ValueError(f"must be at least {format_duration(MIN_POLL_INTERVAL)}")
        if interval > MAX_POLL_INTERVAL:
            raise ValueError(f"must not be more than {format_duration(MAX_POLL_INTERVAL)}")
        return interval

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite store, from the root; None for one of another kind, and for a stateless sidecar."""
        scheme, _, path = self.store_url.partition("://")
        return Path("/", path.lstrip("/")) if scheme == "sqlite" else None


class Settings(StoreSettings):
    """Everything the sidecar can be told. docs/configuration.md explains each setting."""

    listen: Annotated[Listeners, Field(min_length=1)] = (Listener(path=Path("/run/sidegate/sidegate.sock")),)
    issuers: Annotated[tuple[IssuerEntry, ...], BeforeValidator(parse_json), Field(min_length=1)]
    # Each after those that its validator looks at.
    admin_tls_cert: FilePath | None = None
    admin_tls_key: FilePath | None = Field(default=None, validate_default=True)
    admin_tls_client_ca: FilePath | None = None
    admin_listen: Listeners = ()
    health_listen: Listeners = ()
    metrics_listen: Target | None = None
    admin_grants: Annotated[tuple[GrantEntry, ...], BeforeValidator(parse_json)] = Field(
        default=(), validate_default=True
    )
    admin_ca: FilePath | None = None
    admin_cert: FilePath | None = None
    admin_key: FilePath | None = Field(default=None, validate_default=True)
    admin_token_file: FilePath | None = None
    admin_target: Target | None = None
    unknown_sessions: Literal["accept", "reject"] = "accept"  # after issuers, which its validator looks at
    max_revocation_lag: Duration | None = None
    compaction_interval: PositiveDuration = 60 * SECOND
    key_cache_dir: FilePath | None = None
    key_min_refresh: Duration = 60 * SECOND
    # Each after the one that its validator looks at, which may be out of bounds for the default too.
    key_max_refresh: Duration = Field(default="1h", validate_default=True)
    key_outage_cap: Duration = Field(default="24h", validate_default=True)
    remembered_tokens: Count = 10_000
    reflection: bool = False
    shutdown_grace: Duration = 5 * SECOND
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @field_validator("listen", "admin_listen", "health_listen")
    @classmethod
    def _listeners_are_distinct(cls, listeners: tuple[Listener, ...], info: ValidationInfo) -> tuple[Listener, ...]:
        data_plane: tuple[Listener, ...] = info.data.get("listen", ())
        admin_plane: tuple[Listener, ...] = info.data.get("admin_listen", ())
        for position, listener in enumerate(listeners):
            if any(listener.clashes_with(other) for other in data_plane):
                raise ValueError(f"{listener}: the data plane listens there already")
            if any(listener.clashes_with(other) for other in admin_plane):
                raise ValueError(f"{listener}: the admin plane listens there already")
            if any(listener.clashes_with(other) for other in listeners[:position]):
                raise ValueError(f"{listener}: given more than once")
        return listeners

    @field_validator("admin_tls_key")
    @classmethod
    def _a_certificate_has_its_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "admin_tls_cert" in info.data and (key is None) != (info.data["admin_tls_cert"] is None):
            raise ValueError("admin_tls_cert and admin_tls_key are needed together")
        return key

    @field_validator("admin_tls_client_ca")
    @classmethod
    def _client_certificates_need_tls(cls, bundle: Path | None, info: ValidationInfo) -> Path | None:
        if bundle is not None and "admin_tls_cert" in info.data and info.data["admin_tls_cert"] is None:
            raise ValueError(f"needs {PREFIX}ADMIN_TLS_CERT and {PREFIX}ADMIN_TLS_KEY")
        return bundle

    @field_validator("admin_listen")
    @classmethod
    def _admin_is_private(cls, listeners: tuple[Listener, ...], info: ValidationInfo) -> tuple[Listener, ...]:
        # Here and not in a validator of the model, which runs only once every setting by itself is right.
        if listeners and info.data.get("store_url") == "":
            raise ValueError(f"needs a store; set {PREFIX}STORE_URL")
        on_loopback = bool(info.context and info.context.get(ADMIN_ON_LOOPBACK))
        for listener in listeners:
            if listener.path is None and not (on_loopback and listener.is_local):
                _check_authentication(listener, info)
        return listeners

    @field_validator("health_listen")
    @classmethod
    def _health_alone_is_for_addresses(cls, listeners: tuple[Listener, ...]) -> tuple[Listener, ...]:
        for listener in listeners:
            if listener.path is not None:  # the other listeners have health too: who reaches a socket can ask there
                raise ValueError(f"{listener}: write host:port")
        return listeners

    @field_validator("metrics_listen")
    @classmethod
    def _metrics_have_an_address_of_their_own(cls, listener: Listener | None, info: ValidationInfo) -> Listener | None:
        if listener is None:
            return None
        if listener.path is not None:
            raise ValueError(f"{listener}: write host:port")
        for setting, taken in (
            ("listen", "the data plane listens"),
            ("admin_listen", "the admin plane listens"),
            ("health_listen", "health is served"),
        ):
            if any(listener.clashes_with(other) for other in info.data.get(setting, ())):
                raise ValueError(f"{listener}: {taken} there already")
        return listener

    @field_validator("admin_grants")
    @classmethod
    def _grants_make_sense(cls, grants: tuple[GrantEntry, ...], info: ValidationInfo) -> tuple[GrantEntry, ...]:
        if (
            not grants
            and info.data.get("admin_tls_cert")
            and any(at.path is None for at in info.data.get("admin_listen", ()))
        ):
            raise ValueError("needed with an admin listener that authenticates: without grants nobody may do anything")
        if "issuers" in info.data:
            check_grants(grants, info.data["issuers"])
        return grants

    @field_validator("admin_key")
    @classmethod
    def _a_client_certificate_has_its_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "admin_cert" in info.data and (key is None) != (info.data["admin_cert"] is None):
            raise ValueError("admin_cert and admin_key are needed together")
        return key

    @field_validator("admin_target")
    @classmethod
    def _the_admin_target_is_reached_safely(cls, target: Listener | None, info: ValidationInfo) -> Listener | None:
        if target is not None:
            check_admin_target(target, info.data)
        return target

    @field_validator("unknown_sessions")
    @classmethod
    def _known_sessions_have_handles(cls, unknown: str, info: ValidationInfo) -> str:
        entries: tuple[IssuerEntry, ...] = info.data.get("issuers", ())
        waived = [
            entry.issuer
            for entry in entries
            if not (entry.session_claim or entry.admin_use) and entry.unknown_sessions is None
        ]
        if unknown == "reject" and waived:
            raise ValueError(f"{WAIVED_AND_REJECTED}, as session_claim does for {', '.join(waived)}")
        return unknown

    @field_validator("max_revocation_lag")
    @classmethod
    def _an_index_that_is_current_will_do(cls, span: Micros | None, info: ValidationInfo) -> Micros | None:
        if span is not None and info.data.get("store_url") == "":
            raise ValueError(f"needs a store; set {PREFIX}STORE_URL")
        if span is not None and span <= MIN_REVOCATION_LAG:
            raise ValueError(f"must be more than {format_duration(MIN_REVOCATION_LAG)}")
        return span

    @field_validator("key_min_refresh")
    @classmethod
    def _keys_are_not_asked_for_without_end(cls, span: Micros) -> Micros:
        if span < MIN_KEY_REFRESH:
            raise ValueError(f"must be at least {format_duration(MIN_KEY_REFRESH)}")
        return span

    @field_validator("key_max_refresh")
    @classmethod
    def _refreshes_are_in_order(cls, span: Micros, info: ValidationInfo) -> Micros:
        least: Micros = info.data.get("key_min_refresh", 0)
        if span < least:
            raise ValueError(f"must be at least key_min_refresh, which is {format_duration(least)}")
        return span

    @field_validator("key_outage_cap")
    @classmethod
    def _keys_outlive_a_refresh(cls, span: Micros, info: ValidationInfo) -> Micros:
        least: Micros | None = info.data.get("key_max_refresh")
        if least is not None and span <= least:  # keys would lapse although their issuer answers
            raise ValueError(f"must be more than key_max_refresh, which is {format_duration(least)}")
        return span

    @field_validator("shutdown_grace")
    @classmethod
    def _an_end_is_soon(cls, grace: Micros) -> Micros:
        if grace > MAX_SHUTDOWN_GRACE:
            raise ValueError(f"must not be more than {format_duration(MAX_SHUTDOWN_GRACE)}")
        return grace

    @field_validator("issuers")
    @classmethod
    def _issuers_are_distinct(cls, issuers: tuple[IssuerEntry, ...]) -> tuple[IssuerEntry, ...]:
        names = [entry.issuer for entry in issuers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"configured more than once: {', '.join(twice)}")
        if sum(entry.issuer_claim_absent for entry in issuers) > 1:
            raise ValueError("only one entry can have issuer_claim_absent: its tokens do not say whose they are")
        if issuers and all(entry.admin_use for entry in issuers):
            raise ValueError("every entry has admin_use: no issuer is left whose sessions there could be")
        return issuers


def _check_authentication(listener: Listener, info: ValidationInfo) -> None:
    """Refuse an admin listener that strangers can reach and that would not know who calls. Raises ValueError."""
    if {"admin_tls_cert", "admin_tls_key", "admin_tls_client_ca", "issuers"} - info.data.keys():
        return  # one of them is wrong in itself, and said to be
    if info.data["admin_tls_cert"] is None:
        raise ValueError(
            f"{listener}: without authentication the admin services are served on a Unix socket only"
            f" (and on loopback by `sidegate dev`); set {PREFIX}ADMIN_TLS_CERT and {PREFIX}ADMIN_TLS_KEY"
        )
    if info.data["admin_tls_client_ca"] is None and not any(entry.admin_use for entry in info.data["issuers"]):
        raise ValueError(
            f"{listener}: nobody could be authenticated; set {PREFIX}ADMIN_TLS_CLIENT_CA,"
            " or admin_use for an issuer of admin tokens"
        )
