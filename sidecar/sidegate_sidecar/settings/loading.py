"""Reading the settings: variables win over the file, and an issuer alone becomes the list of issuers."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidegate_sidecar.settings.issuer_entry import KEY_SOURCES, IssuerEntry
from sidegate_sidecar.settings.mistakes import SettingsInvalid, Sources, explain
from sidegate_sidecar.settings.schema import ADMIN_ON_LOOPBACK, Settings, StoreSettings
from sidegate_sidecar.settings.values import PREFIX

CLIENT_VARIABLES = frozenset(
    {
        "SIDEGATE_TARGET",
        "SIDEGATE_ADMIN_TARGET",
        "SIDEGATE_ADMIN_CA",
        "SIDEGATE_ADMIN_CERT",
        "SIDEGATE_ADMIN_KEY",
        "SIDEGATE_ADMIN_TOKEN_FILE",
    }
)
CONFIG_VARIABLE = "SIDEGATE_CONFIG"

_NAMES = tuple(dict.fromkeys([*Settings.model_fields, *IssuerEntry.model_fields]))
_EMPTY_SAYS_SOMETHING = frozenset({"session_claim"})  # it waives the session handle


def load_settings(
    environ: Mapping[str, str], config: Path | None = None, *, admin_on_loopback: bool = False
) -> Settings:
    """Read the settings.

    Args:
        environ: Usually os.environ. An empty variable counts as absent, as compose files leave them, but for
            SIDEGATE_SESSION_CLAIM.
        config: A TOML file whose keys are the settings in lower case. Absent: what SIDEGATE_CONFIG names, if anything.
        admin_on_loopback: Whether the admin services may be served on loopback without authentication.

    Raises:
        SettingsInvalid: With every mistake.
    """
    given, sources = _read(environ, config)
    values = _with_one_issuer(given)
    try:
        return Settings.model_validate(values, context={ADMIN_ON_LOOPBACK: admin_on_loopback})
    except ValidationError as invalid:
        one_issuer = "issuers" in values and "issuers" not in given
        sources = Sources(
            sources.from_variables,
            sources.config,
            one_issuer=one_issuer,
            discovery_assumed=one_issuer and given.keys().isdisjoint(KEY_SOURCES),
        )
        raise SettingsInvalid([explain(error, sources) for error in invalid.errors()]) from None


def load_store_settings(environ: Mapping[str, str], config: Path | None = None) -> StoreSettings:
    """Read what concerns the store from the settings that `load_settings` reads; the others need not be right.

    Raises:
        SettingsInvalid: With every mistake. A setting that does not exist is one: it may be a limit, misspelt.
    """
    given, sources = _read(environ, config)
    others = set(_NAMES) - StoreSettings.model_fields.keys()
    try:
        return StoreSettings.model_validate({name: value for name, value in given.items() if name not in others})
    except ValidationError as invalid:
        raise SettingsInvalid([explain(error, sources) for error in invalid.errors()]) from None


def misspelt_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that nothing reads but that resemble one that is read; for each, that one.

    Not a mistake in itself: Kubernetes sets SIDEGATE_… variables of its own for a service named sidegate.
    """
    known = {PREFIX + name.upper() for name in _NAMES} | {CONFIG_VARIABLE, *CLIENT_VARIABLES}
    suspects = [name for name in environ if name.startswith(PREFIX) and name not in known]
    guesses = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.85) for name in suspects}
    return {name: close[0] for name, close in guesses.items() if close}


def _read(environ: Mapping[str, str], config: Path | None) -> tuple[dict[str, Any], Sources]:
    """What the file and the variables say, and which of them says it."""
    config = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    from_file = {} if config is None else _read_toml(config)
    from_variables: dict[str, Any] = {}
    for name in _NAMES:
        written = environ.get(PREFIX + name.upper())
        if written or (written is not None and name in _EMPTY_SAYS_SOMETHING):
            from_variables[name] = written
    return {**from_file, **from_variables}, Sources(frozenset(from_variables), config)


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
    if entry.keys().isdisjoint(KEY_SOURCES):
        entry["discovery"] = True
    return {"issuers": [entry], **{name: value for name, value in values.items() if name not in entry}}
