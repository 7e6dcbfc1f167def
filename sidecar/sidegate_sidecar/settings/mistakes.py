"""What an operator is told of a setting that cannot be used: its name as they wrote it, and what to write instead."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import ErrorDetails

from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.settings.admin_access import GrantEntry
from sidegate_sidecar.settings.issuer_entry import FIELD_ERROR, IssuerEntry
from sidegate_sidecar.settings.schema import Settings
from sidegate_sidecar.settings.values import PREFIX

_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
    "dict_type": "must be a JSON object, in TOML a table",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of a size that makes sense",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "path_type": "must be a path",
    "literal_error": "must be {expected}",
}
"""pydantic's types of errors in plain words. Its own speak of inputs, tuples and instances."""


class SettingsInvalid(StartupError):
    """The settings cannot be used. `mistakes` holds all of them, each naming its setting as the operator wrote it."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the settings came from.

    Args:
        from_variables: The settings that variables gave.
        config: The file that was read, if any.
        one_issuer: Whether the only entry was folded from `issuer` and its companions.
        discovery_assumed: Whether that one named no key source.
    """

    from_variables: frozenset[str]
    config: Path | None
    one_issuer: bool = False
    discovery_assumed: bool = False


def explain(error: ErrorDetails, sources: Sources) -> str:
    """One mistake, without the value: it may be a secret."""
    setting, *path = error["loc"]
    if setting == "issuers" and sources.one_issuer and path:
        setting, path = path[1] if len(path) > 1 else "issuer", path[2:]
    by_variable = sources.config is None or setting in sources.from_variables
    name = PREFIX + str(setting).upper() if by_variable else str(setting)
    name += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    problem = _problem(error, str(setting), path)
    if error["type"] == FIELD_ERROR and setting == "issuer" and sources.discovery_assumed:
        problem += "; discovery there was assumed, for want of a key source: jwks_url, jwks_file or pem_file would do"
    return f"{name}: {problem}" + ("" if by_variable else f" (in {sources.config})")


def _problem(error: ErrorDetails, setting: str, path: list[int | str]) -> str:
    match error["type"]:
        case "extra_forbidden":
            entry = GrantEntry if setting == "admin_grants" else IssuerEntry
            return _unknown(str(path[-1]), entry) if path else _unknown_at_the_top(setting)
        case "missing" if setting == "issuers" and not path:
            return f"no issuer is configured; set {PREFIX}ISSUER, or {PREFIX}ISSUERS to a JSON list of entries"
        case "tuple_type" if setting in ("issuers", "admin_grants") and not path:
            return f"must be a list of entries; in TOML write [[{setting}]]"
        case "model_type":
            return f"must be an entry: a JSON object, in TOML [[{setting}]]"
        case known if known in _WORDS:
            return _WORDS[known].format_map(error.get("ctx", {}))
        case _:
            return error["msg"].removeprefix("Value error, ")


def _unknown(field: str, entry: type[IssuerEntry | GrantEntry]) -> str:
    close = difflib.get_close_matches(field, list(entry.model_fields), n=1)
    return "no such setting" + (f"; did you mean {close[0]}?" if close else "")


def _unknown_at_the_top(setting: str) -> str:
    if setting in IssuerEntry.model_fields:
        return "is for a single issuer, named by issuer, and cannot stand beside issuers or without issuer"
    known = {**Settings.model_fields, **IssuerEntry.model_fields}
    plain = setting.upper().removeprefix(PREFIX).lower()
    if plain in known:
        return f"no such setting; in a file write it in lower case, without {PREFIX}: {plain}"
    close = difflib.get_close_matches(setting, list(known), n=1)
    return "no such setting" + (f"; did you mean {close[0]}?" if close else "")
