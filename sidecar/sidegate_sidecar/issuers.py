"""From an issuer entry of the settings to what its tokens must be like and where its keys are."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidegate_sidecar.keys import IssuerKeysConfig
from sidegate_sidecar.model import SECOND
from sidegate_sidecar.settings import IssuerEntry, Settings
from sidegate_sidecar.tokens import IssuerPolicy


@dataclass(frozen=True, slots=True)
class Issuer:
    """One trusted issuer: a rule for its tokens, a source of its keys.

    Attributes:
        admin_use: Whether its tokens are good on the admin plane, and there alone.
    """

    policy: IssuerPolicy
    keys: IssuerKeysConfig
    admin_use: bool = False


def issuers_from(settings: Settings) -> Sequence[Issuer]:
    """The trusted issuers, in the order of the settings."""
    return [
        Issuer(
            _policy(entry, settings),
            IssuerKeysConfig(
                entry.issuer,
                entry.key_source(),
                min_refresh=settings.key_min_refresh / SECOND,
                max_refresh=settings.key_max_refresh / SECOND,
                outage_cap=settings.key_outage_cap / SECOND,
                saved_copy_dir=settings.key_cache_dir,
            ),
            entry.admin_use,
        )
        for entry in settings.issuers
    ]


def _policy(entry: IssuerEntry, settings: Settings) -> IssuerPolicy:
    return IssuerPolicy(
        issuer=entry.issuer,
        algorithms=frozenset(entry.algorithms),
        audiences=frozenset(entry.audiences),
        session_claim=entry.session_claim or None,
        user_claim=entry.user_claim,
        tenant_claim=entry.tenant_claim,
        begin_claim=entry.begin_claim,
        anti_csrf_claim=entry.anti_csrf_claim,
        anti_csrf_required=entry.anti_csrf_required,
        token_type=entry.token_type,
        key_id_required=entry.key_id_required,
        issuer_claim_absent=entry.issuer_claim_absent,
        max_token_lifetime=settings.max_token_lifetime,
        leeway=settings.leeway,
        issuer_clock_skew=entry.issuer_clock_skew,
        unknown_sessions_rejected=(entry.unknown_sessions or settings.unknown_sessions) == "reject",
    )
