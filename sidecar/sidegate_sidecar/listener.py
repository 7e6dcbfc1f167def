"""Where to listen: a Unix socket or an address, as gRPC spells them."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MAX_PORT = 65_535
MAX_SOCKET_PATH_BYTES = 107  # unix(7): sun_path has 108, the last of them NUL


def check_socket_path(path: Path) -> None:
    """Refuse a path that no Unix socket can have. Raises ValueError, without the path."""
    if (length := len(os.fsencode(path))) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"a Unix socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes, and this one has {length}")


@dataclass(frozen=True, slots=True)
class Listener:
    """A Unix socket (`path`), or an address (`host`, `port`; port 0 lets the system choose)."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `unix:///path` or `host:port`. Raises ValueError."""
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if not path.startswith("/"):
                raise ValueError(f"{text!r}: a Unix socket is written unix:///absolute/path")
            try:
                check_socket_path(Path(path))
            except ValueError as fault:
                raise ValueError(f"{text!r}: {fault}") from None
            return cls(path=Path(path))
        host, _, port = text.rpartition(":")
        if not (host and port.isascii() and port.isdecimal()):
            raise ValueError(f"{text!r}: write unix:///path or host:port")
        if len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:  # int() has words of its own for 5,000 digits
            raise ValueError(f"{text!r}: a port is at most {MAX_PORT}")
        return cls(host=host.strip("[]"), port=int(port))

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name: who knows where it leads
            return False

    def clashes_with(self, other: Self) -> bool:
        """Whether both cannot be had at once, as far as their spelling tells. Port 0 is a new port each time."""
        return self == other and (self.path is not None or self.port != 0)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
