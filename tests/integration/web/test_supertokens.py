"""The names that SuperTokens gave them, for threads and for asyncio."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sidegate import AsyncRevocationClient, RevocationClient
from sidegate.integrations import supertokens, supertokens_asyncio
from sidegate.testing import FakeSidecar

Names = Callable[..., Any]


@pytest.fixture(params=["threads", "asyncio"])
def names(request: pytest.FixtureRequest) -> Iterator[Names]:
    """Call a function by its name, with a client of its kind. On a sidecar of the test's own."""
    with FakeSidecar() as sidecar:
        sidecar.issue_token("ada", "s1", tenant_id="acme")
        sidecar.issue_token("ada", "s2")
        sidecar.issue_token("bob", "s3")

        def in_threads(name: str, *arguments: Any) -> Any:
            with RevocationClient(sidecar.admin_target, timeout=20.0) as client:
                return getattr(supertokens, name)(client, *arguments)

        async def ask(name: str, *arguments: Any) -> Any:
            async with AsyncRevocationClient(sidecar.admin_target, timeout=20.0) as client:
                return await getattr(supertokens_asyncio, name)(client, *arguments)

        def on_a_loop(name: str, *arguments: Any) -> Any:
            return asyncio.run(ask(name, *arguments))

        yield in_threads if request.param == "threads" else on_a_loop


def test_revoke_session_says_whether_it_ended_one(names: Names) -> None:
    assert names("revoke_session", "s1") is True
    assert names("revoke_session", "s1") is False


def test_revoke_multiple_sessions_says_which_it_ended(names: Names) -> None:
    names("revoke_session", "s1")

    assert names("revoke_multiple_sessions", ["s1", "s2"]) == ["s2"]


def test_revoke_all_sessions_for_user_says_how_many_ended(names: Names) -> None:
    assert names("revoke_all_sessions_for_user", "ada", "acme") == 1
    assert names("revoke_all_sessions_for_user", "ada") == 1
    assert names("get_all_session_handles_for_user", "bob") == ["s3"]


def test_get_all_session_handles_for_user_leaves_out_those_that_ended(names: Names) -> None:
    assert names("get_all_session_handles_for_user", "ada") == ["s1", "s2"]
    assert names("get_all_session_handles_for_user", "ada", "acme") == ["s1"]
    names("revoke_session", "s1")
    assert names("get_all_session_handles_for_user", "ada") == ["s2"]


def test_get_session_information_tells_what_is_known(names: Names) -> None:
    assert names("get_session_information", "s3").user_id == "bob"
    assert names("get_session_information", "nobody's") is None
