"""An issuer entry: what each of its fields must be like, by itself and beside the others."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from sidegate_sidecar.keys import Discovery, JwksFile, JwksUrl, KeySource, PemFile, check_headers
from sidegate_sidecar.model import ALGORITHMS, SECOND
from sidegate_sidecar.settings.values import PREFIX, ClaimName, Duration, FilePath, Names, parse_json

KEY_SOURCES = ("jwks_url", "jwks_file", "pem_file", "discovery")
FIELD_ERROR = "field"  # the type of a mistake that shows only beside other fields
WAIVED_AND_REJECTED = "reject would refuse every check_database of an issuer whose session handle is waived"

_PRESETS: Mapping[str, Mapping[str, str]] = {
    "oidc": {"session_claim": "sid"},
    "supertokens": {"session_claim": "sessionHandle", "tenant_claim": "tId", "anti_csrf_claim": "antiCsrfToken"},
}


def _known_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("must not be empty: no token could be verified")
    unknown = sorted(set(names) - ALGORITHMS)
    if unknown:
        raise ValueError(f"not supported: {', '.join(unknown)}; known are {', '.join(sorted(ALGORITHMS))}")
    return names


class IssuerEntry(BaseModel):
    """One trusted issuer. Exactly one of `jwks_url`, `jwks_file`, `pem_file` and `discovery` says where its keys are.

    An empty `session_claim` waives the session handle; absent, the preset names it, but for an issuer of admin tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(min_length=1, max_length=512)]
    preset: Literal["oidc", "supertokens"] = "oidc"
    jwks_url: Annotated[str, Field(min_length=1)] | None = None
    jwks_file: FilePath | None = None
    pem_file: FilePath | None = None
    discovery: bool = False
    ca_file: FilePath | None = None
    request_headers: Annotated[dict[str, str], BeforeValidator(parse_json)] = Field(default_factory=dict, repr=False)
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
    admin_use: bool = False

    @model_validator(mode="before")
    @classmethod
    def _preset_names(cls, values: Any) -> Any:
        """The preset's claim names stand where the entry gives none of its own."""
        if not isinstance(values, Mapping):
            return values
        given = cast("Mapping[str, object]", values)
        preset = dict(_PRESETS.get(str(given.get("preset", "oidc")), {}))
        if given.get("admin_use") is True:  # machines have tokens, and no sessions
            preset["session_claim"] = ""
        return {**preset, **given}

    @model_validator(mode="wrap")
    @classmethod
    def _all_mistakes_at_once(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """The fields that are right by themselves are checked beside each other even where other fields are wrong."""
        try:
            entry, wrong, unusable = handler(values), [], frozenset[str]()
        except ValidationError as invalid:
            if not isinstance(values, Mapping):
                raise
            wrong = [_again(error) for error in invalid.errors()]
            unusable = frozenset(str(error["loc"][0]) for error in invalid.errors() if error["loc"])
            given = cast("Mapping[str, object]", values)
            # The issuer alone has no default. What stands in for it is looked at by nobody.
            rest = {"issuer": "unusable"} | {name: value for name, value in given.items() if name not in unusable}
            entry = handler(rest)
        wrong += _mistakes_between(entry, unusable)
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return entry

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


def _mistakes_between(entry: IssuerEntry, unusable: frozenset[str]) -> Iterator[InitErrorDetails]:
    """What is wrong between fields, as far as it does not hang on one that is unusable by itself."""
    yield from _mistakes_in_key_source(entry, unusable)
    if (
        entry.anti_csrf_required
        and entry.anti_csrf_claim is None
        and unusable.isdisjoint(("anti_csrf_claim", "preset"))
    ):
        yield _mistake("needs anti_csrf_claim", "anti_csrf_required")
    if entry.unknown_sessions == "reject" and not entry.session_claim:
        yield _mistake(f"{WAIVED_AND_REJECTED}: session_claim is empty", "unknown_sessions")
    if entry.admin_use:
        yield from _mistakes_in_admin_use(entry, unusable)


def _mistakes_in_admin_use(entry: IssuerEntry, unusable: frozenset[str]) -> Iterator[InitErrorDetails]:
    if not entry.audiences and "audiences" not in unusable:
        yield _mistake("needs audiences: a token of the issuer for anything else would do", "admin_use")
    if entry.issuer_claim_absent:
        yield _mistake("cannot stand beside issuer_claim_absent: whose token it is must be certain", "admin_use")
    if "#" in entry.issuer:
        yield _mistake("must hold no # with admin_use: it ends the issuer in the subject of a grant", "issuer")


def _mistakes_in_key_source(entry: IssuerEntry, unusable: frozenset[str]) -> Iterator[InitErrorDetails]:
    found = [name for name in KEY_SOURCES if getattr(entry, name)]
    unclear = not unusable.isdisjoint(KEY_SOURCES)
    if len(found) > 1 or not (found or unclear):
        which = f"{', '.join(KEY_SOURCES[:-1])} and {KEY_SOURCES[-1]}"
        yield _mistake(f"exactly one of {which} is needed; found {' and '.join(found) or 'none'}")
    if len(found) != 1 or unclear or found[0] not in ("jwks_url", "discovery"):
        return
    try:
        check_headers(entry.request_headers)
    except ValueError as fault:
        yield _mistake(str(fault), "request_headers")
    named_by = "issuer" if entry.discovery else "jwks_url"
    if unusable.isdisjoint(("allow_http", named_by)):
        yield from _mistakes_in_url(entry, named_by)


def _mistakes_in_url(entry: IssuerEntry, named_by: str) -> Iterator[InitErrorDetails]:
    harmless = entry.model_copy(update={"request_headers": {}})
    try:
        harmless.key_source()
    except ValueError as fault:
        problem = str(fault)
    else:
        return
    try:
        harmless.model_copy(update={"allow_http": True}).key_source()
    except ValueError:
        pass  # allowing http would not help: the problem stands as it is
    else:
        problem = (
            "must be an https URL; http only to loopback, or with allow_http"
            f" ({PREFIX}ALLOW_HTTP for a single issuer) elsewhere"
        )
    yield _mistake(problem, named_by)


def _mistake(problem: str, *field: str) -> InitErrorDetails:
    """A mistake in that field, or in the entry as a whole."""
    return {"type": PydanticCustomError(FIELD_ERROR, "{problem}", {"problem": problem}), "loc": field, "input": None}


def _again(error: ErrorDetails) -> InitErrorDetails:
    """A mistake that pydantic found, to be raised together with others. Custom, for some of its own types are."""
    kind: Any = error["type"]  # to the checkers it is no literal
    again = PydanticCustomError(kind, "{message}", {**error.get("ctx", {}), "message": error["msg"]})
    return {"type": again, "loc": error["loc"], "input": None}
