"""The attacker: a process of its own, with as many connections as an attack takes, that ends by itself."""

import asyncio
import json
import resource
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from tests.integration.floods.attacks import ATTACKS, Attack

ROOT = Path(__file__).resolve().parents[3]
CONNECTING_SECONDS = 60.0
EXIT_SECONDS = 20.0
BREATH_SECONDS = 0.01  # before a connection is made anew, or the attacker is busy with itself
CHUNK_BYTES = 64 * 1024
BEGUN = "begun"


@dataclass(frozen=True, slots=True)
class Prey:
    """Where to attack. `path` or `port`, and a CA where TLS is spoken."""

    port: int = 0
    path: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """What the attacker did: connections that came about, chunks and bytes that left."""

    connections: int
    chunks: int
    bytes: int


class _Attacker:
    def __init__(self, attack: Attack, prey: Prey, token: str) -> None:
        self._attack = attack
        self._prey = prey
        self._token = token
        self._context = None
        if prey.ca_file and attack.speaks_tls:
            self._context = ssl.create_default_context(cafile=prey.ca_file)
            self._context.set_alpn_protocols(["h2"])
        self._all_connected = asyncio.Event()
        self._ended = False
        self.connections = self.chunks = self.bytes = 0

    async def attack(self, seconds: float) -> None:
        """On all connections at once, for so long from when there are as many as there are to be."""
        tasks = [asyncio.create_task(self._connect_again_and_again()) for _ in range(self._attack.connections)]
        async with asyncio.timeout(CONNECTING_SECONDS):
            await self._all_connected.wait()
        sys.stdout.write(f"{BEGUN}\n")
        sys.stdout.flush()
        await asyncio.sleep(seconds)
        self._ended = True  # a TaskGroup that fails as it is cancelled forgets that it was
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect_again_and_again(self) -> None:
        while not self._ended:
            with suppress(OSError):  # ssl.SSLError is one
                await self._use_one_connection()
            await asyncio.sleep(BREATH_SECONDS)

    async def _use_one_connection(self) -> None:
        if self._prey.path:
            reader, writer = await asyncio.open_unix_connection(self._prey.path)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._prey.port, ssl=self._context)
        self.connections += 1
        if self.connections == self._attack.connections:
            self._all_connected.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(_read(reader) if self._attack.reads else _never())
                for chunk in self._attack.chunks(self._token):
                    writer.write(chunk)
                    await writer.drain()
                    self.chunks += 1
                    self.bytes += len(chunk)
                    await asyncio.sleep(0)  # drain does not wait where there is room
                await reading
        except* OSError:
            pass  # the server has had enough
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> None:
    """Take in what comes. Raises ConnectionResetError at its end."""
    while await reader.read(CHUNK_BYTES):
        pass
    raise ConnectionResetError


async def _never() -> None:
    await asyncio.Event().wait()


@contextmanager
def attacking(
    name: str, prey: Prey, token: str, seconds: float, *, connections: int | None = None
) -> Generator["Attacker", None, None]:
    """An attack of so many seconds, once all its connections are there. Ended at the latest with the block."""
    told = json.dumps(
        {
            "name": name,
            "prey": asdict(prey),
            "token": token,
            "seconds": seconds,
            "connections": connections or ATTACKS[name].connections,
        }
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.floods.attacker"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(told)
        process.stdin.close()
        assert process.stdout.readline() == f"{BEGUN}\n"
        yield Attacker(process, process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Attacker:
    """An attack that is under way."""

    def __init__(self, process: subprocess.Popen[str], output: IO[str]) -> None:
        self._process = process
        self._output = output

    def damage(self) -> Damage:
        """What it did, once it has ended."""
        told = self._output.read()
        assert self._process.wait(EXIT_SECONDS) == 0
        return Damage(**json.loads(told))


def main() -> None:
    """Attack as standard input says, and tell what was done."""
    told = json.load(sys.stdin)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    attack = replace(ATTACKS[told["name"]], connections=told["connections"])
    attacker = _Attacker(attack, Prey(**told["prey"]), told["token"])
    asyncio.run(attacker.attack(told["seconds"]))
    json.dump(asdict(Damage(attacker.connections, attacker.chunks, attacker.bytes)), sys.stdout)


if __name__ == "__main__":
    main()
