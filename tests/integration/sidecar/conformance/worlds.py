"""A sidecar, fake or real, to ask the same questions of: they must give the same answers."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from sidegate import (
    CallFailed,
    NextAction,
    RejectionReason,
    RevocationClient,
    SessionClient,
    SessionRejected,
)
from sidegate.testing import FakeSidecar

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar

REFRESH, REAUTHENTICATE = NextAction.REFRESH, NextAction.REAUTHENTICATE
AN_HOUR = timedelta(hours=1)
LONG = 10.0  # seconds; only what never comes takes this long

Mint: TypeAlias = Callable[..., str]


@dataclass(frozen=True)
class World:
    """A sidecar, fake or real, its clients, and a way to make tokens for it that nobody has registered.

    Attributes:
        mint: (user, handle, **claims) to a token. A claim that is In is an instant.
        key_id: The `kid` of the key that signs them.
    """

    target: str
    admin_target: str
    client: SessionClient
    admin: RevocationClient
    issuer: str
    key_id: str
    mint: Mint


@dataclass(frozen=True)
class In:
    """So many seconds from the moment at which a token is made, for a question is written long before it is asked."""

    seconds: float


OLD = In(-60)  # long enough ago to be told from any revocation of now


@contextmanager
def fake_world(**options: Any) -> Generator[World, None, None]:
    with FakeSidecar(issuer="https://issuer.example", **options) as sidecar, ExitStack() as clients:

        def mint(user: str, handle: str, **claims: object) -> str:
            return sidecar.issue_token(user, handle, claims=resolved(claims), registered=False)

        yield World(
            sidecar.target,
            sidecar.admin_target,
            clients.enter_context(SessionClient(sidecar.target, timeout=LONG, near_cache=False)),
            clients.enter_context(RevocationClient(sidecar.admin_target, timeout=LONG)),
            sidecar.issuer,
            "sidegate-testing",
            mint,
        )


@contextmanager
def real_world(folder: Path, issuer: FakeIssuer, **entry: Any) -> Generator[World, None, None]:
    entry = {"tenant_claim": "tid", "anti_csrf_claim": "antiCsrfToken", **entry}
    issuers = issuers_setting(file_issuer(issuer, folder, **entry))
    with running_sidecar(folder, issuers=issuers) as sidecar, ExitStack() as clients:

        def mint(user: str, handle: str, **claims: object) -> str:
            return issuer.mint(user, handle, **resolved(claims))

        yield World(
            sidecar.target,
            sidecar.admin_target,
            clients.enter_context(SessionClient(sidecar.target, timeout=LONG, near_cache=False)),
            clients.enter_context(sidecar.administration()),
            issuer.name,
            issuer.key_id("ES256"),
            mint,
        )


def now() -> datetime:
    return datetime.now(UTC)


def resolved(claims: Mapping[str, object]) -> dict[str, Any]:
    """The claims, as seconds since the epoch what is In."""
    return {
        name: int(time.time() + value.seconds) if isinstance(value, In) else value for name, value in claims.items()
    }


def answer(call: Callable[[], object]) -> object:
    """What a call comes to: None, a reason with what to do about it, or an error with all that may be matched on."""
    try:
        call()
    except SessionRejected as refusal:
        return refusal.reason, refusal.next_action
    except CallFailed as failure:
        return type(failure).__name__, failure.code, failure.reason, failure.field
    return None


def refused(reason: RejectionReason) -> tuple[RejectionReason, NextAction]:
    return reason, REFRESH if reason is RejectionReason.EXPIRED else REAUTHENTICATE
