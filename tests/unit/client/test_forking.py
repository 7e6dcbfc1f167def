"""Processes that fork with clients in them. Each runs by itself, with every wait bounded: what fails, hangs."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.client.feed_server import FeedServer
from tests.unit.client.forks import FORKS, PRELUDE, environment_with, run, supports


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FeedServer]:
    server = FeedServer(f"unix://{tmp_path / 's'}")
    yield server
    server.stop()


@supports
def test_a_client_for_threads_is_used_on_both_sides_of_a_fork(server: FeedServer, support: str | None) -> None:
    script = """
use()
for _ in range(FORKS):
    print(in_child(use))
    use()
"""
    # Where gRPC does nothing for forks, the child is told: it would hang.
    assert run(script, server, support).split() == ["3" if support == "0" else "0"] * FORKS


@supports
def test_an_asyncio_client_whose_loop_was_closed_is_used_on_both_sides(server: FeedServer, support: str | None) -> None:
    script = """
asyncio.run(use_on_a_loop())
for _ in range(FORKS):
    print(in_child(lambda: asyncio.run(use_on_a_loop())))
    asyncio.run(use_on_a_loop())
"""
    assert run(script, server, support).split() == ["3" if support == "0" else "0"] * FORKS


@supports
def test_a_fork_within_the_loop_tells_the_child_and_the_parent_goes_on(server: FeedServer, support: str | None) -> None:
    script = """
async def main():
    await use_on_a_loop()
    for _ in range(FORKS):
        print(in_child(lambda: asyncio.run(use_on_a_loop())), in_child(use))
        await use_on_a_loop()
    await asynchronous.close()

asyncio.run(main())
"""
    outcomes = run(script, server, support, forks=5).split()
    assert len(outcomes) == 10
    # gRPC's own fork handlers crash one child in ten there, even one that does nothing. None hangs, or gets an answer.
    assert set(outcomes) <= ({"3"} if support == "0" else {"3", f"{-signal.SIGSEGV}", f"{-signal.SIGABRT}"})


@supports
def test_a_child_that_was_told_can_exit(server: FeedServer, support: str | None) -> None:
    script = """
async def main():
    await use_on_a_loop()
    child = os.fork()
    if not child:
        signal.alarm(30)
        code = outcome(use)
        raise SystemExit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

asyncio.run(main())
"""
    assert run(script, server, support).split() in ([["3"]] if support == "0" else [["3"], [f"{-signal.SIGSEGV}"]])


@supports
def test_clients_that_were_not_used_before_need_nothing(server: FeedServer, support: str | None) -> None:
    script = """
for _ in range(FORKS):
    print(in_child(use), in_child(lambda: asyncio.run(use_on_a_loop())))
"""
    assert run(script, server, support, forks=5).split() == ["0"] * 10


@supports
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(server: FeedServer, support: str | None, method: str, tmp_path: Path) -> None:
    module = tmp_path / "application.py"
    script = f"""
def work(number):
    signal.alarm(30)
    return outcome(use)

if __name__ == "__main__":
    for _ in range(FORKS):
        use()
        with multiprocessing.get_context("{method}").Pool(3) as pool:
            print(*pool.map(work, range(6), chunksize=1))
        use()
"""
    module.write_text(PRELUDE + script)
    ended = subprocess.run(
        [sys.executable, module, server.target, str(FORKS)],
        env=environment_with(support),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["3" if (method, support) == ("fork", "0") else "0"] * 6 * FORKS


@supports
def test_a_client_of_the_admin_plane_is_used_on_both_sides_of_a_fork(server: FeedServer, support: str | None) -> None:
    script = """
from sidegate import NotSupported
admin = RevocationClient(TARGET, timeout=20)

def revoke():
    try:
        admin.revoke_session("s-1")
    except NotSupported:  # by this fake; so it was reached
        return
    raise AssertionError

revoke()
for _ in range(FORKS):
    print(in_child(revoke))
    revoke()
"""
    assert run(script, server, support, forks=5).split() == ["3" if support == "0" else "0"] * 5


@supports
def test_a_client_that_nobody_closed_or_has_any_more_hangs_no_child(server: FeedServer, support: str | None) -> None:
    script = """
from sidegate import feed_thread

starting, feeds = feed_thread._thread.start_new_thread, []

def forget():
    global client
    use()
    feeds[:] = [thread for thread in threading.enumerate() if thread.name == "sidegate-feed"]
    # As on a machine that is so busy that the thread which is to stop the feed has not had its turn at the fork.
    feed_thread._thread.start_new_thread = lambda *_: None
    client = SessionClient(TARGET, timeout=20)
    feed_thread._thread.start_new_thread = starting

for _ in range(FORKS):
    forget()
    print(in_child(use), len(feeds), feeds[0].is_alive())
"""
    refused = "3" if support == "0" else "0"
    assert run(script, server, support).split() == [refused, "1", "False"] * FORKS


@supports
def test_calls_of_other_threads_end_cleanly_when_the_process_forks(server: FeedServer, support: str | None) -> None:
    script = """
over, failures = threading.Event(), []
eager = SessionClient(TARGET, timeout=20, near_cache=False)

def ask():
    while not over.is_set():
        try:
            eager.verify("s-2")
        except VerificationUnavailable as unavailable:
            if unavailable.code != "UNAVAILABLE":
                failures.append(repr(unavailable))
        except Exception as error:
            failures.append(repr(error))

threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(FORKS):
    use()
    print(in_child(use))
over.set()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
assert not failures, failures
"""
    assert run(script, server, support).split() == ["3" if support == "0" else "0"] * FORKS


def test_a_process_ends_although_nobody_closed_its_clients(server: FeedServer) -> None:
    assert run("use()\nasyncio.run(use_on_a_loop())\nprint('done')", server, None) == "done\n"
    for stream in server.streams:
        assert stream.ended.wait(20)
