"""Revoking through another sidecar: what is sent, when it counts as done, and what its failures become."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import structlog
from sidegate import ClientTls, TokenFile
from sidegate.testing import FakeSidecar
from sidegate.v1 import revocation_pb2, session_pb2
from sidegate_sidecar.errors import InvalidRequest, NotSupported, RevisionNotReached, StoreUnavailable
from sidegate_sidecar.model import Attribution, Revision
from sidegate_sidecar.rpc.forwarding import Forwarding

from tests.unit.client.fake_sidecar import Error, Silence
from tests.unit.client.fake_sidecar import FakeSidecar as ScriptedSidecar

ISSUER = "https://issuer.test"
BY = Attribution("self-sign-out", "signed out")


class HeldIndex:
    """The index of this sidecar. Holds each wait until the test lets it go."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Revision] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.stuck = False

    async def read_back(self, written: Revision, timeout: float) -> None:
        self.asked.put_nowait(written)
        await self.go_on.wait()
        if self.stuck:
            raise RevisionNotReached("not in time")


@pytest.fixture
def index() -> HeldIndex:
    """One that takes everything in at once, unless told otherwise."""
    index = HeldIndex()
    index.go_on.set()
    return index


@pytest.fixture
def admin() -> Iterator[FakeSidecar]:
    with FakeSidecar(issuer=ISSUER, unknown_sessions="reject") as sidecar:
        yield sidecar


@pytest.fixture
async def forwarding(admin: FakeSidecar, index: HeldIndex) -> AsyncIterator[Forwarding]:
    forwarding = Forwarding(admin.admin_target, index)
    yield forwarding
    await forwarding.close()


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedSidecar]:
    sidecar = ScriptedSidecar(f"unix://{tmp_path / 's'}", data_plane=False)
    yield sidecar
    sidecar.stop()


@pytest.fixture
async def to_scripted(scripted: ScriptedSidecar, index: HeldIndex) -> AsyncIterator[Forwarding]:
    forwarding = Forwarding(scripted.target, index)
    yield forwarding
    await forwarding.close()


async def test_a_session_is_revoked_over_there(admin: FakeSidecar, forwarding: Forwarding) -> None:
    outcome = await forwarding.revoke_sessions(ISSUER, ["s-1"], BY)

    assert outcome.newly_revoked == ("s-1",)
    assert outcome.revision.sequence == admin.revision.sequence == 1
    assert outcome.revision.store_id == admin.revision.store_id
    assert (await forwarding.revoke_sessions(ISSUER, ["s-1"], BY)).newly_revoked == ()


async def test_a_users_sessions_are_revoked_over_there(admin: FakeSidecar, forwarding: Forwarding) -> None:
    for handle in ("s-1", "s-2", "s-3"):
        admin.issue_token("ada", handle)

    outcome = await forwarding.revoke_user(ISSUER, "ada", BY, tenant_id=None, except_session_handle="s-3")

    assert outcome.revoked_count == 2
    assert outcome.revision.sequence == admin.revision.sequence == 3


async def test_it_is_done_once_this_sidecar_refuses_what_was_revoked(forwarding: Forwarding, index: HeldIndex) -> None:
    index.go_on.clear()

    revoking = asyncio.create_task(forwarding.revoke_sessions(ISSUER, ["s-1"], BY))
    asked = await index.asked.get()

    assert not revoking.done()
    index.go_on.set()
    assert (await revoking).revision == asked


async def test_an_index_that_is_late_is_told(forwarding: Forwarding, index: HeldIndex, admin: FakeSidecar) -> None:
    index.stuck = True

    with pytest.raises(RevisionNotReached):
        await forwarding.revoke_user(ISSUER, "ada", BY, tenant_id=None, except_session_handle=None)
    assert admin.revision.sequence == 1


async def test_a_repeated_attempt_goes_by_the_same_request_id_and_every_revoke_by_its_own(
    scripted: ScriptedSidecar, to_scripted: Forwarding
) -> None:
    done = revocation_pb2.RevokeSessionResponse(
        newly_revoked=True, revision=session_pb2.Revision(store_id="store", sequence=1)
    )
    scripted.script("RevokeSession", Error(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"), done)

    for _ in range(2):
        assert (await to_scripted.revoke_sessions(ISSUER, ["s-1"], BY)).newly_revoked == ("s-1",)

    requests = scripted.requests["RevokeSession"]
    first, again, other = (request.request_id for request in requests)
    assert first == again != other
    assert {(request.issuer, request.reason) for request in requests} == {(ISSUER, "signed out")}


async def test_no_answer_leaves_the_outcome_unknown(scripted: ScriptedSidecar, to_scripted: Forwarding) -> None:
    scripted.script("RevokeUserSessions", Silence())

    with pytest.raises(StoreUnavailable, match="the outcome is unknown"):
        await to_scripted.revoke_user(ISSUER, "ada", BY, tenant_id=None, except_session_handle=None)
    scripted.stop()
    with pytest.raises(StoreUnavailable, match="the outcome is unknown"):
        await to_scripted.revoke_user(ISSUER, "ada", BY, tenant_id=None, except_session_handle=None)


async def test_an_exception_that_is_none_is_told(admin: FakeSidecar, forwarding: Forwarding) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await forwarding.revoke_user(ISSUER, "ada", BY, tenant_id=None, except_session_handle="s-1")

    assert (refused.value.reason, refused.value.metadata) == (
        "NOT_A_SESSION_OF_USER",
        {"field": "except_session_handle"},
    )
    assert admin.revision.sequence == 0


@pytest.mark.parametrize(
    "error",
    [
        Error(grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_ISSUER", {"field": "issuer"}),
        Error(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        Error(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        Error(grpc.StatusCode.UNIMPLEMENTED),
    ],
    ids=lambda error: error.code.name,
)
async def test_what_the_caller_could_not_change_is_not_supported_and_an_operator_is_told(
    scripted: ScriptedSidecar, to_scripted: Forwarding, error: Error
) -> None:
    scripted.script("RevokeSession", error)

    with structlog.testing.capture_logs() as logged, pytest.raises(NotSupported):
        await to_scripted.revoke_sessions(ISSUER, ["s-1"], BY)

    assert logged == [
        {"event": "forwarding_refused", "log_level": "warning", "code": error.code.name, "reason": error.reason}
    ]


async def test_credentials_that_cannot_be_read_leave_the_session_as_it_is_and_an_operator_is_told(
    index: HeldIndex, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    forwarding = Forwarding("127.0.0.1:1", index, tls=ClientTls(), token=TokenFile(token_file))

    with structlog.testing.capture_logs() as logged, pytest.raises(StoreUnavailable, match="cannot prove itself"):
        await forwarding.revoke_sessions(ISSUER, ["s-1"], BY)

    await forwarding.close()
    assert logged == [
        {
            "event": "forwarding_not_possible",
            "log_level": "warning",
            "error": f"the token file {token_file}: No such file or directory",
        }
    ]
