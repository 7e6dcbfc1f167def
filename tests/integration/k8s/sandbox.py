"""A pod without a cluster: each container in a root, with mounts, ids and environment of its own, as its manifest says.

What stands in for the image is this checkout and its environment, read-only. Linux, and root: who else may make
namespaces and be another user?
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.sidecar.processes import BIN, PATIENCE_SECONDS, ROOT

UNSHARE, NSENTER, MOUNT = "/usr/bin/unshare", "/usr/bin/nsenter", "/usr/bin/mount"  # util-linux

POD_ADDRESS = "10.244.0.7"
PAUSE = f"""
import fcntl, socket, struct, sys
with socket.socket() as any_socket:  # netdevice(7): bring the loopback interface up, and give the pod an address
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
    address = socket.inet_aton("{POD_ADDRESS}")
    fcntl.ioctl(any_socket, 0x8916, struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, address))
print("ready", flush=True)
sys.stdin.read()
"""

# What kubelet does for a gRPC probe: one Check, in the clear, by a connection of its own. For each line that names a
# target, a timeout and a service it prints the status, or the code of the failure.
KUBELET = """
import sys, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
for line in sys.stdin:
    target, timeout, service = line.rstrip().split("|")
    with grpc.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=float(timeout))
        except grpc.RpcError as failure:
            print(failure.code().name, flush=True)
        else:
            print(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)
"""

# Listens on a port of the pod's loopback for something on the host that has a Unix socket: those have no network.
RELAY = """
import asyncio, sys
port, path = sys.argv[1:]

async def forward(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def serve(reader, writer):
    far_reader, far_writer = await asyncio.open_unix_connection(path)
    await asyncio.gather(forward(reader, far_writer), forward(far_reader, writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(port))
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

Texts = Mapping[str, Mapping[str, str]]
"""The contents of ConfigMaps or Secrets: text by key, by name."""


def missing() -> str:
    """Why there can be no such pods here. Empty: there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux may start processes as other users in namespaces of their own"
    if absent := [program for program in (UNSHARE, NSENTER, MOUNT) if not Path(program).exists()]:
        return f"not installed: {', '.join(absent)}"
    tried = subprocess.run([UNSHARE, "--mount", "--net", "true"], capture_output=True, check=False, timeout=60)
    return "" if tried.returncode == 0 else "this machine lets nobody make namespaces"


class Sandbox:
    """A pod's volumes and its network. Its containers are started by name.

    Args:
        folder: Where its volumes and roots lie. The path must be short.
        spec: The pod's.
        config_maps: What it mounts or reads.
        secrets: Likewise.
    """

    def __init__(self, folder: Path, spec: Mapping[str, Any], config_maps: Texts, secrets: Texts) -> None:
        self.folder = folder
        self.spec = spec
        self._secrets = secrets
        self._volumes = {
            volume["name"]: self._make_volume(volume, config_maps, secrets) for volume in spec.get("volumes", ())
        }
        self._pause = subprocess.Popen(
            [UNSHARE, "--net", sys.executable, "-I", "-c", PAUSE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._pause.stdout is not None
        assert self._pause.stdout.readline() == b"ready\n"
        self._network = f"--net=/proc/{self._pause.pid}/ns/net"
        self._kubelet = subprocess.Popen(
            [NSENTER, self._network, sys.executable, "-I", "-c", KUBELET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: list[subprocess.Popen[bytes]] = []

    def container(self, name: str) -> Mapping[str, Any]:
        """Its part of the manifest."""
        everyone = [*self.spec.get("initContainers", ()), *self.spec["containers"]]
        (found,) = [container for container in everyone if container["name"] == name]
        return dict(found)

    def volume(self, name: str) -> Path:
        """The directory that a volume is."""
        return self._volumes[name]

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a container as its manifest says. It logs to `NAME.log`. Ended with the pod."""
        container = self.container(name)
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self._command(container, [*container["command"], *container.get("args", ())]),
                env={},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process

    def log(self, name: str) -> str:
        """What a container has written."""
        return (self.folder / f"{name}.log").read_text()

    def execute(self, name: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as `kubectl exec` does."""
        return subprocess.run(
            self._command(self.container(name), command),
            env={},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def probe(self, name: str, probe: str) -> str:
        """Probe a container as its manifest says and kubelet does, at the pod's address. `SERVING` is a success."""
        said = self.container(name)[probe]
        action = said["grpc"]
        assert self._kubelet.stdin is not None
        assert self._kubelet.stdout is not None
        self._kubelet.stdin.write(
            f"{POD_ADDRESS}:{action['port']}|{said['timeoutSeconds']}|{action.get('service', '')}\n"
        )
        self._kubelet.stdin.flush()
        answer = self._kubelet.stdout.readline()
        assert answer, "whoever probes has ended"
        return answer.strip()

    def relay(self, port: int, path: Path) -> None:
        """Let the pod's containers reach a server on the host by a port of their loopback."""
        process = subprocess.Popen(
            [NSENTER, self._network, sys.executable, "-I", "-c", RELAY, str(port), path], stdout=subprocess.PIPE
        )
        self._started.append(process)
        assert process.stdout is not None
        with process.stdout as told:
            assert told.readline() == b"ready\n"

    def close(self) -> None:
        """End every process of it."""
        for process in self._started:
            process.kill()
            process.wait()
        for process in (self._kubelet, self._pause):
            process.kill()
            process.communicate()

    def _make_volume(self, volume: Mapping[str, Any], config_maps: Texts, secrets: Texts) -> Path:
        path = self.folder / "volumes" / volume["name"]
        path.mkdir(parents=True)
        if "emptyDir" in volume:
            # As kubelet makes them: for everybody, and with an fsGroup of that group for good.
            group = self.spec.get("securityContext", {}).get("fsGroup")
            if group is not None:
                os.chown(path, 0, group)
            path.chmod(0o777 if group is None else 0o2777)
            return path
        if "configMap" in volume:
            texts = config_maps[volume["configMap"]["name"]]
        else:
            texts = secrets[volume["secret"]["secretName"]]
        for key, text in texts.items():
            (path / key).write_text(text)
        return path

    def _command(self, container: Mapping[str, Any], command: Sequence[str]) -> list[str | Path]:
        pod: Mapping[str, Any] = self.spec.get("securityContext", {})
        security: Mapping[str, Any] = {**pod, **container["securityContext"]}
        groups = [*pod.get("supplementalGroups", ()), *([pod["fsGroup"]] if "fsGroup" in pod else ())]
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        told = {
            "root": str(root),
            "binds": _image(),
            "mounts": [
                {
                    "source": str(self._volumes[mount["name"]]),
                    "target": mount["mountPath"],
                    "read_only": mount.get("readOnly", False),
                }
                for mount in container.get("volumeMounts", ())
            ],
            "user": security["runAsUser"],
            "group": security.get("runAsGroup", 0),  # the runtime's default
            "groups": groups,
            "env": {"PATH": str(BIN), **dict(self._variable(entry) for entry in container.get("env", ()))},
            "command": list(command),
        }
        runtime = Path(__file__).with_name("container_root.py")
        unshare = [UNSHARE, "--mount", "--propagation", "private"]
        return [NSENTER, self._network, *unshare, sys.executable, "-I", runtime, json.dumps(told)]

    def _variable(self, entry: Mapping[str, Any]) -> tuple[str, str]:
        if "value" in entry:
            return entry["name"], entry["value"]
        reference = entry["valueFrom"]["secretKeyRef"]
        return entry["name"], self._secrets[reference["name"]][reference["key"]]


@contextmanager
def sandboxed(folder: Path, spec: Mapping[str, Any], config_maps: Texts, secrets: Texts) -> Generator[Sandbox]:
    """A pod. Its processes end with the block; no log of theirs may hold a token or a traceback."""
    sandbox = Sandbox(folder, spec, config_maps, secrets)
    try:
        yield sandbox
        for log in folder.glob("*.log"):
            assert not re.search(r"Traceback|eyJ[\w-]{8,}\.", log.read_text()), log.read_text()
    finally:
        sandbox.close()


def drain(process: subprocess.Popen[bytes]) -> int:
    """End a container as kubelet does. Its exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


def _image() -> list[str]:
    """What of the host stands in for the image: Python, the checkout with its environment, the system's libraries."""
    system = [Path("/", name) for name in ("usr", "bin", "lib", "lib32", "lib64")]
    return [str(path) for path in (*system, Path(sys.base_prefix), ROOT) if path.is_symlink() or path.exists()]
