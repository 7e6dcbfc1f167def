"""A client that has signed a session out accepts it no more, although its near cache knew it. No waiting between."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sidegate import SessionClient, SessionRejected, SignOutScope

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import file_issuer, issuers_setting, running_sidecar
from tests.unit.client.twins import Twins

TIMES = 10  # the feed is quick, so once may be luck


@pytest.fixture(params=["threads", "asyncio"])
def client(request: pytest.FixtureRequest, issuer: FakeIssuer, folder: Path) -> Iterator[SessionClient]:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder))}
    with running_sidecar(folder, **settings) as sidecar, asyncio.Runner() as runner:
        twins = Twins(None if request.param == "threads" else runner)
        with twins.session_client(sidecar.target, timeout=30) as client:
            yield client


def keep(client: SessionClient, token: str) -> None:
    """Return once the near cache answers for it."""
    before = client.near_cache_statistics().hits
    while client.near_cache_statistics().hits == before:
        client.verify(token)


def is_accepted(client: SessionClient, token: str) -> bool:
    try:
        client.verify(token)
    except SessionRejected:
        return False
    return True


@pytest.mark.parametrize(
    ("scope", "accepted"),
    [
        (SignOutScope.THIS_SESSION, [False, False, True]),
        (SignOutScope.ALL_SESSIONS, [False, False, False]),
        (SignOutScope.OTHER_SESSIONS, [True, True, False]),
    ],
    ids=["this session", "all sessions", "other sessions"],
)
def test_what_was_signed_out_is_refused_at_once(
    client: SessionClient, issuer: FakeIssuer, scope: SignOutScope, accepted: list[bool]
) -> None:
    for number in range(TIMES):
        user, session = f"user-{number}", f"session-{number}"
        tokens = [
            issuer.mint(user, session),
            issuer.mint(user, session, jti="of the same session"),
            issuer.mint(user, f"other-{number}"),
        ]
        for token in tokens:
            keep(client, token)
        client.sign_out(tokens[0], scope)
        assert [is_accepted(client, token) for token in tokens] == accepted
