"""A program: become a container's process, as a container runtime does. For `unshare --mount`, as root.

Its argument is JSON: `root` (an empty directory), `binds` (read-only paths of the host that stand in for the image),
`mounts` (objects of `source`, `target`, `read_only`), `user`, `group`, `groups`, `env`, `command`.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h: what allowPrivilegeEscalation: false comes to


def mount(*arguments: str | Path) -> None:
    """Run mount(8)."""
    subprocess.run(["/usr/bin/mount", *arguments], check=True)


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    """Have a directory appear a second time."""
    target.mkdir(parents=True, exist_ok=True)
    mount("--bind", source, target)
    if read_only:
        mount("-o", "remount,bind,ro", target)


def below(root: Path, path: str) -> Path:
    """Where a path of the container is on the host."""
    return root / path.lstrip("/")


def main() -> None:
    """Build the root, go there, drop every privilege, and become the command."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    root = Path(told["root"])
    os.umask(0o022)
    mount("-t", "tmpfs", "-o", "mode=0755", "root", root)
    binds = [(path, path, True) for path in map(Path, told["binds"])]
    binds += [(path, path, False) for path in (Path("/proc"), Path("/dev"))]
    binds += [(Path(entry["source"]), Path(entry["target"]), entry["read_only"]) for entry in told["mounts"]]
    # The outer before the inner: a pod's volume at /tmp is not to hide a checkout that lies below the host's.
    for source, target, read_only in sorted(binds, key=lambda each: len(each[1].parts)):
        if source.is_symlink():
            below(root, str(target)).symlink_to(source.readlink())
        else:
            bind(source, below(root, str(target)), read_only=read_only)
    mount("-o", "remount,ro", root)
    os.chroot(root)
    os.chdir("/")
    os.setgroups(told["groups"])
    os.setresgid(*[told["group"]] * 3)
    os.setresuid(*[told["user"]] * 3)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execvpe(told["command"][0], told["command"], told["env"])  # noqa: S606 - a runtime needs no shell either


if __name__ == "__main__":
    main()
