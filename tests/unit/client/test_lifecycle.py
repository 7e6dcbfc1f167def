import asyncio
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sidegate import (
    AsyncRevocationClient,
    AsyncSessionClient,
    ClientClosed,
    ClientTls,
    RevocationClient,
    RevocationUnavailable,
    SessionClient,
    SessionRevoked,
    VerificationUnavailable,
)

from tests.fakes.certificate_authority import CertificateAuthority
from tests.unit.client.answers import ACCEPTED, SESSION, TOKEN
from tests.unit.client.fake_sidecar import FakeSidecar, Silence
from tests.unit.client.twins import Twins


def test_the_environment_leads_to_the_sidecar(
    twins: Twins, sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar.script("Verify", ACCEPTED)
    monkeypatch.setenv("SIDEGATE_TARGET", sidecar.target)
    with twins.session_client() as client:
        assert client.verify(TOKEN) == SESSION


def test_a_sidecar_on_loopback_is_reached_whatever_the_proxy(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # the discard port: nothing listens
    for variable in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)
    sidecar = FakeSidecar("127.0.0.1:0")
    try:
        sidecar.script("Verify", ACCEPTED)
        with twins.session_client(sidecar.target) as client:
            assert client.verify(TOKEN) == SESSION
    finally:
        sidecar.stop()


@pytest.mark.parametrize(
    ("kind", "method", "arguments"),
    [
        ("session_client", "verify", (TOKEN,)),
        ("session_client", "check", (TOKEN,)),
        ("session_client", "sign_out", (TOKEN,)),
        ("session_client", "serving_status", ()),
        ("session_client", "wait_until_ready", ()),
        ("revocation_client", "revoke_session", ("s-1",)),
        ("revocation_client", "wait_until_ready", ()),
    ],
)
@pytest.mark.parametrize("used_before", [False, True])
def test_a_closed_client_says_so(
    twins: Twins, sidecar: FakeSidecar, kind: str, method: str, arguments: tuple[Any, ...], used_before: bool
) -> None:
    client = getattr(twins, kind)(sidecar.target)
    if used_before:
        client.wait_until_ready()
    client.close()
    client.close()
    sidecar.requests.clear()
    with pytest.raises(ClientClosed):
        getattr(client, method)(*arguments)
    assert sidecar.requests == {}


def test_leaving_the_context_closes(twins: Twins, sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    with twins.session_client(sidecar.target) as client:
        client.verify(TOKEN)
    with pytest.raises(ClientClosed):
        client.verify(TOKEN)


def test_closing_ends_a_call_of_another_thread(sidecar: FakeSidecar) -> None:
    silence = Silence()
    sidecar.script("Verify", silence)
    client = SessionClient(sidecar.target, timeout=60)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.verify, TOKEN)
        assert silence.reached.wait(20)
        client.close()
        with pytest.raises(ClientClosed):
            call.result(20)


def test_closing_between_looking_a_method_up_and_calling_it(sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    client = SessionClient(sidecar.target)
    client.verify(TOKEN)
    methods: dict[str, Any] = vars(client)["_methods"]
    looked_up = dict(methods)
    client.close()
    methods.update(looked_up)
    with pytest.raises(ClientClosed):
        client.verify(TOKEN)


class HeldMethods(dict[str, Any]):
    """The methods of a client: a thread looks one up just before a fork lets go of them, and calls it after."""

    def __init__(self, methods: dict[str, Any], begin: threading.Thread) -> None:
        super().__init__(methods)
        self.begin = begin
        self.looked_up = threading.Event()
        self.forked = threading.Event()

    def get(self, path: str, default: Any = None) -> Any:
        method = super().get(path, default)
        self.looked_up.set()
        assert self.forked.wait(30)
        return method

    def clear(self) -> None:
        if not self.looked_up.is_set():
            self.begin.start()
            assert self.looked_up.wait(30)
        super().clear()


def test_forking_between_looking_a_method_up_and_calling_it(sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client.verify(TOKEN)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test judges it
            failures.append(failure)

    with SessionClient(sidecar.target, near_cache=False) as client:
        client.verify(TOKEN)
        thread = threading.Thread(target=ask)
        methods = vars(client)["_methods"] = HeldMethods(vars(client)["_methods"], thread)
        client.before_fork()
        client.after_fork(in_child=False)
        methods.forked.set()
        thread.join(30)
        (failure,) = failures
        assert isinstance(failure, VerificationUnavailable)
        assert failure.code == "UNAVAILABLE"
        assert client.verify(TOKEN) == SESSION


async def test_closing_ends_a_call_of_another_task(sidecar: FakeSidecar) -> None:
    silence = Silence()
    sidecar.script("Verify", silence)
    client = AsyncSessionClient(sidecar.target, timeout=60)
    call = asyncio.create_task(client.verify(TOKEN))
    assert await asyncio.to_thread(silence.reached.wait, 20)
    await client.close()
    with pytest.raises(ClientClosed):
        await call


async def test_a_cancelled_task_cancels_its_call(sidecar: FakeSidecar) -> None:
    silence = Silence()
    sidecar.script("Verify", silence)
    async with AsyncSessionClient(sidecar.target, timeout=60) as client:
        call = asyncio.create_task(client.verify(TOKEN))
        assert await asyncio.to_thread(silence.reached.wait, 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(silence.ended.wait, 20)


async def test_a_task_that_is_cancelled_while_the_client_closes_stays_cancelled(sidecar: FakeSidecar) -> None:
    silence = Silence()
    sidecar.script("Verify", silence)
    client = AsyncSessionClient(sidecar.target, timeout=60)
    call = asyncio.create_task(client.verify(TOKEN))
    assert await asyncio.to_thread(silence.reached.wait, 20)
    call.cancel()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_threads_share_a_client(sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    together = threading.Barrier(8)
    with SessionClient(sidecar.target, timeout=20, batching=False) as client, ThreadPoolExecutor(8) as pool:

        def verify() -> bool:
            together.wait(20)
            return client.verify(TOKEN) == SESSION

        assert all(call.result(20) for call in [pool.submit(verify) for _ in range(8)])
    assert sidecar.calls("Verify") == 8


def test_a_sidecar_that_starts_late_is_waited_for(twins: Twins, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'late'}"
    with twins.session_client(address, timeout=20) as client, ThreadPoolExecutor(1) as pool:
        # On the client's side the call comes first or second; either way it returns once there is a sidecar.
        started = pool.submit(FakeSidecar, address)
        client.wait_until_ready(20)
        sidecar = started.result()
        sidecar.script("Verify", ACCEPTED)
        assert client.verify(TOKEN) == SESSION
    sidecar.stop()


def test_a_sidecar_that_comes_back_is_found_again(twins: Twins, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 's'}"
    sidecar = FakeSidecar(address)
    sidecar.script("Verify", ACCEPTED)
    with twins.session_client(address, timeout=20) as client:
        assert client.verify(TOKEN) == SESSION
        sidecar.stop()
        with pytest.raises(VerificationUnavailable) as caught:
            client.verify(TOKEN)
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", None)
        sidecar = FakeSidecar(address)
        sidecar.script("Verify", ACCEPTED)
        client.wait_until_ready(20)
        assert client.verify(TOKEN) == SESSION
        sidecar.stop()


def test_one_loop_after_another_may_use_an_asyncio_client(sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    client = AsyncSessionClient(sidecar.target, timeout=20)
    assert asyncio.run(client.verify(TOKEN)) == SESSION
    assert asyncio.run(client.verify(TOKEN)) == SESSION
    asyncio.run(client.close())
    with pytest.raises(ClientClosed):
        asyncio.run(client.verify(TOKEN))


def test_a_loop_that_was_closed_holds_up_nobody_with_what_it_had_yet_to_do(tmp_path: Path) -> None:
    """Such as to end the channel of certificates that were renewed, on which a call is under way."""
    (certificate := tmp_path / "ca.pem").write_bytes(CertificateAuthority().bundle)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = AsyncRevocationClient(
            f"127.0.0.1:{silent.getsockname()[1]}", tls=ClientTls(ca_file=certificate), timeout=20.0
        )

        async def renew() -> asyncio.Task[SessionRevoked]:
            under_way = asyncio.create_task(client.revoke_session("s-1"))
            await asyncio.sleep(0)
            os.utime(certificate, (1, 1))
            with pytest.raises(RevocationUnavailable):
                await client.revoke_session("s-1", timeout=0.05)
            return under_way

        loop = asyncio.new_event_loop()
        under_way = loop.run_until_complete(renew())
        assert not under_way.done()
        loop.close()
        asyncio.run(client.close())
        with pytest.raises(ClientClosed):
            asyncio.run(client.revoke_session("s-1"))


def test_closing_ends_a_call_on_the_channel_of_a_certificate_since_renewed(tmp_path: Path) -> None:
    authority = CertificateAuthority()
    (certificate := tmp_path / "ca.pem").write_bytes(authority.bundle)
    silence = Silence()
    sidecar = FakeSidecar("127.0.0.1:0", pair=authority.issue_for_loopback())
    sidecar.script("RevokeSession", silence)
    client = RevocationClient(sidecar.target, tls=ClientTls(ca_file=certificate), timeout=300.0)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.revoke_session, "s-1")
        assert silence.reached.wait(20)
        os.utime(certificate, (1, 1))
        client.wait_until_ready()
        assert not call.done()
        client.close()
        with pytest.raises(ClientClosed):
            call.result(20)
    sidecar.stop()


def test_two_loops_at_a_time_may_not(sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    client = AsyncSessionClient(sidecar.target, timeout=20)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(client.verify(TOKEN)) == SESSION
        with pytest.raises(RuntimeError, match="AsyncSessionClient belongs to another event loop"):
            second.run(client.verify(TOKEN))
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            second.run(client.close())
        assert first.run(client.verify(TOKEN)) == SESSION
        first.run(client.close())


async def test_closing_what_was_never_used(sidecar: FakeSidecar) -> None:
    for client in (AsyncSessionClient(sidecar.target), AsyncRevocationClient(sidecar.target)):
        await client.close()
        with pytest.raises(ClientClosed):
            await client.wait_until_ready()


async def test_closing_while_waiting_for_the_sidecar(tmp_path: Path) -> None:
    client = AsyncSessionClient(f"unix://{tmp_path / 'never'}")
    waiting = asyncio.create_task(client.wait_until_ready(60))
    await asyncio.sleep(0)  # the task runs up to its first wait
    await client.close()
    with pytest.raises(ClientClosed):
        await waiting


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_constructing_a_client_starts_nothing_that_a_fork_would_break(sidecar: FakeSidecar) -> None:
    sidecar.script("Verify", ACCEPTED)
    script = """
import asyncio, os, sys, threading
from sidegate import AsyncSessionClient, SessionClient

client, asynchronous = SessionClient(sys.argv[1], timeout=20), AsyncSessionClient(sys.argv[1], timeout=20)
assert threading.active_count() == 1
child = os.fork()
assert client.verify("token").user_id == "anna"
assert asyncio.run(asynchronous.verify("token")).user_id == "anna"
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ended = run_script(script, sidecar.target)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert sidecar.calls("Verify") == 4


def test_a_missing_sidecar_leaves_standard_error_alone(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        script = """
import asyncio, sys
from sidegate import AsyncSessionClient, SessionClient, VerificationUnavailable

async def verify(target):
    async with AsyncSessionClient(target) as client:
        await client.verify("token")

for target in sys.argv[1:]:
    for ask in (lambda: SessionClient(target).verify("token"), lambda: asyncio.run(verify(target))):
        try:
            ask()
        except VerificationUnavailable as error:
            print(error.code)
"""
        ended = run_script(script, f"unix://{tmp_path / 'never'}", f"127.0.0.1:{free.getsockname()[1]}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "UNAVAILABLE\n" * 4, "")


def test_importing_the_client_loads_nothing_of_the_sidecar() -> None:
    script = """
import sidegate, sys
print([name for name in sys.modules if name.startswith(("sidegate_", "grpc_status"))])
"""
    ended = run_script(script)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
