"""The feed of real sidecars: two processes on one SQLite file, watched over their sockets, killed and drained."""

import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from sidegate.v1 import feed_pb2, feed_pb2_grpc, session_pb2, verification_pb2, verification_pb2_grpc
from sidegate_sidecar.model import RevocationKind
from sidegate_sidecar.revocations.digests import Digester

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import (
    EXIT_SECONDS,
    Sidecar,
    file_issuer,
    issuers_setting,
    running_sidecar,
    starting_sidecar,
)

TIMES = 100
PATIENCE_SECONDS = 60
ACCEPTED = None
REVOKED = session_pb2.REJECTION_REASON_SESSION_REVOKED

Message = feed_pb2.WatchRevocationsResponse


@pytest.fixture(scope="module")
def sidecar(issuer: FakeIssuer, module_folder: Path) -> Iterator[Sidecar]:
    with running_sidecar(module_folder, issuers=issuers_setting(file_issuer(issuer, module_folder))) as running:
        yield running


@pytest.fixture(scope="module")
def neighbour(sidecar: Sidecar, module_folder: Path) -> Iterator[Sidecar]:
    """Another process on the same file."""
    folder = module_folder / "neighbour"
    folder.mkdir()
    settings = {name: sidecar.variables[f"SIDEGATE_{name.upper()}"] for name in ("store_url", "issuers")}
    with running_sidecar(folder, **settings) as running:
        yield running


@contextmanager
def watching(
    target: str, after: session_pb2.Revision | None = None, *, with_snapshot: bool = False
) -> Generator[Iterator[Message]]:
    with grpc.insecure_channel(target) as channel:
        request = feed_pb2.WatchRevocationsRequest(after=after, with_snapshot=with_snapshot)
        yield iter(feed_pb2_grpc.RevocationFeedServiceStub(channel).WatchRevocations(request, timeout=PATIENCE_SECONDS))


def first(watch: Iterator[Message], event: str) -> Message:
    return next(message for message in watch if message.WhichOneof("event") == event)


@contextmanager
def asking(sidecar: Sidecar) -> Generator[Callable[..., int | None]]:
    """Verify as the wire has it, without what a client may keep: the reason of a rejection, or that there is none."""
    with grpc.insecure_channel(sidecar.target) as channel:
        stub = verification_pb2_grpc.VerificationServiceStub(channel)

        def ask(token: str, at_least_as_fresh: session_pb2.Revision | None = None) -> int | None:
            request = verification_pb2.VerifyRequest(access_token=token, at_least_as_fresh=at_least_as_fresh)
            response = stub.Verify(request, timeout=10)
            return response.rejection.reason if response.HasField("rejection") else ACCEPTED

        yield ask


def digest(salt: bytes, issuer: FakeIssuer, handle: str) -> bytes:
    return Digester(salt).digest(RevocationKind.SESSION, issuer.name, handle)


def digests_until(watch: Iterator[Message], sequence: int) -> list[bytes]:
    """The sessions revoked, up to that sequence."""
    found: list[bytes] = []
    while True:
        told = first(watch, "revocations").revocations
        found.extend(each.session_digest for each in told.revocations)
        if told.revision.sequence >= sequence:
            return found


def test_what_one_sidecar_revokes_the_watchers_of_both_are_told_in_order(
    sidecar: Sidecar, neighbour: Sidecar, issuer: FakeIssuer
) -> None:
    handles = [f"told-{number}" for number in range(TIMES)]
    with watching(sidecar.target) as here, watching(neighbour.target) as there, sidecar.administration() as admin:
        salts = [first(watch, "hello").hello.digest_salt for watch in (here, there)]
        last = [admin.revoke_session(handle).revision for handle in handles][-1]

        for watch, salt in zip((here, there), salts, strict=True):
            assert digests_until(watch, last.sequence) == [digest(salt, issuer, handle) for handle in handles]


def test_who_asks_again_after_the_event_is_refused(sidecar: Sidecar, neighbour: Sidecar, issuer: FakeIssuer) -> None:
    """By the very sidecar that told of it, without a look at the database."""
    with watching(neighbour.target) as watch, sidecar.administration() as admin, asking(neighbour) as ask:
        first(watch, "hello")
        for number in range(TIMES):
            token = issuer.mint("alice", f"again-{number}")
            assert ask(token) == ACCEPTED
            digests_until(watch, admin.revoke_session(f"again-{number}").revision.sequence)
            assert ask(token) == REVOKED


def test_a_revocation_is_read_through_any_sidecar_by_its_revision(
    sidecar: Sidecar, neighbour: Sidecar, issuer: FakeIssuer
) -> None:
    with sidecar.administration() as admin, asking(neighbour) as ask:
        for number in range(TIMES):
            token = issuer.mint("alice", f"read-{number}")
            assert ask(token) == ACCEPTED
            revision = admin.revoke_session(f"read-{number}").revision
            known = session_pb2.Revision(store_id=revision.store_id, sequence=revision.sequence)
            assert ask(token, at_least_as_fresh=known) == REVOKED


def test_a_watch_goes_on_at_another_sidecar_without_loss(
    sidecar: Sidecar, neighbour: Sidecar, issuer: FakeIssuer
) -> None:
    with sidecar.administration() as admin:
        with watching(sidecar.target) as watch:
            hello = first(watch, "hello").hello
            told = first(watch, "checkpoint").checkpoint.revision
        missed = [admin.revoke_session(f"elsewhere-{number}").revision for number in range(5)]
        with watching(neighbour.target, after=told) as watch:
            again = first(watch, "hello").hello
            assert (again.revision, again.digest_salt) == (told, hello.digest_salt)
            assert digests_until(watch, missed[-1].sequence) == [
                digest(hello.digest_salt, issuer, f"elsewhere-{number}") for number in range(5)
            ]


def test_the_admin_plane_tells_all_that_can_match(sidecar: Sidecar, issuer: FakeIssuer) -> None:
    with sidecar.administration() as admin:
        admin.revoke_session("before-the-snapshot")
    with watching(sidecar.admin_target, with_snapshot=True) as watch:
        salt = first(watch, "hello").hello.digest_salt
        snapshot: set[bytes] = set()
        while (message := next(watch)).WhichOneof("event") == "snapshot_chunk":
            snapshot.update(each.session_digest for each in message.snapshot_chunk.revocations)
        assert message.WhichOneof("event") == "checkpoint"
        assert digest(salt, issuer, "before-the-snapshot") in snapshot
        assert digest(salt, issuer, "nobody-revoked-it") not in snapshot


def test_the_data_plane_has_no_snapshots(sidecar: Sidecar) -> None:
    with watching(sidecar.target, with_snapshot=True) as watch, pytest.raises(grpc.RpcError) as refused:
        next(watch)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_change_of_keys_is_told(folder: Path) -> None:
    issuer = FakeIssuer()
    entry = file_issuer(issuer, folder)
    with running_sidecar(folder, issuers=issuers_setting(entry)) as sidecar, watching(sidecar.target) as watch:
        first(watch, "hello")
        Path(str(entry["jwks_file"])).write_bytes(FakeIssuer().jwks())
        change = first(watch, "key_set_change").key_set_change

    assert (change.issuer, change.generation) == (issuer.name, 2)


def test_a_sidecar_without_a_store_has_no_feed(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "store_url": "", "admin_listen": ""}
    with starting_sidecar(folder, **settings) as sidecar, watching(sidecar.target) as watch:
        with pytest.raises(grpc.RpcError) as refused:
            next(watch)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("plane", ["target", "admin_target"])
def test_a_signal_ends_watches_at_once(folder: Path, issuer: FakeIssuer, plane: str) -> None:
    """The grace is as long as a stop may take at all: one that waited for the watches would take as long."""
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder)), "shutdown_grace": "10s"}
    with running_sidecar(folder, **settings) as sidecar, watching(getattr(sidecar, plane)) as watch:
        first(watch, "checkpoint")
        sidecar.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as ended:
            first(watch, "nothing")
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert sidecar.process.wait(EXIT_SECONDS / 2) == 0


def test_after_kill_9_a_watch_begins_anew_at_the_one_that_takes_its_place(folder: Path, issuer: FakeIssuer) -> None:
    settings = {"issuers": issuers_setting(file_issuer(issuer, folder))}
    with running_sidecar(folder, **settings) as killed:
        with killed.administration() as admin, watching(killed.target) as watch:
            told = first(watch, "checkpoint").checkpoint.revision
            killed_after = admin.revoke_session("killed").revision
        killed.kill()
        with running_sidecar(folder, **settings) as successor, watching(successor.target, after=told) as watch:
            # The successor's journal begins with its index, beyond what the watcher knows: it is told so.
            hello = first(watch, "hello").hello
            assert (hello.revision.store_id, hello.revision.sequence) == (told.store_id, killed_after.sequence)
