"""Where a client connects: how it was chosen, whether it can be one at all, and what the failures to reach it say. Pure
but for the environment variables.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sidegate.failures import Failure

SESSION_TARGET_VARIABLE = "SIDEGATE_TARGET"
SESSION_TARGET = "unix:///run/sidegate/sidegate.sock"
ADMIN_TARGET_VARIABLE = "SIDEGATE_ADMIN_TARGET"
ADMIN_TARGET = "unix:///run/sidegate/admin.sock"

NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""The codes that gRPC itself fails with where nobody has said anything."""

# gRPC's name syntax (grpc/grpc, doc/naming.md).
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:")
_HOST_AND_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[^\[\]/\s]+)?\]|[^\[\]:/\s]+):([0-9]{1,5})")

_OTHER_LISTENER: Mapping[str, str] = {
    "sidegate.v1.VerificationService": "is it the admin listener?",
    "sidegate.v1.RevocationService": "is it the listener for verification?",
    "sidegate.v1.SessionService": "is it the listener for verification?",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect.

    Attributes:
        address: As gRPC spells it.
        origin: How it was chosen, in words. Empty: the caller gave it.
    """

    address: str
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.address} ({self.origin})" if self.origin else self.address

    def located(self, failure: Failure, path: str) -> Failure:
        """The failure of a call of `path`, with the target in its message where the target may be what is wrong: nobody
        answers there, or somebody else does. What a sidecar said with a reason of its own stays as it is.
        """
        if failure.reason is not None:
            return failure
        if failure.code in NO_ANSWER:
            return replace(failure, message=f"{self}: {failure.message}")
        if failure.code == "UNIMPLEMENTED":
            service = path.split("/")[1]
            hint = _OTHER_LISTENER.get(service, "is it a sidecar of sidegate?")
            return replace(failure, message=f"{self} serves no {service}; {hint}")
        return failure


def resolve_target(target: str | None, variable: str, default: str) -> Target:
    """Where to connect: as given, else as the environment variable says, else the default.

    Raises:
        TypeError: `target` is no str.
        ValueError: It is empty, or cannot be a target. Where the environment said it, the message names the variable.
    """
    if target is not None:
        if not isinstance(target, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            raise TypeError(f"target must be a str, not {type(target).__name__}")
        return Target(_checked("target", target))
    if from_environment := os.environ.get(variable):
        return Target(_checked(variable, from_environment), f"from {variable}")
    return Target(default, f"the default; {variable} is not set")


def _checked(name: str, address: str) -> str:
    """The address, if it can be one. Not repeated in a refusal: a URL may hold a password."""
    if not address:
        raise ValueError(f"{name} is empty")
    if "://" in address and not address.startswith(_SCHEMES):
        raise ValueError(f"{name} is a URL; write it without the scheme and path, as host:port")
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if path.startswith("//") and not path.startswith("///"):
            raise ValueError(f"{name} has two slashes; a socket's absolute path takes three: unix:///path")
        if not path.strip("/"):
            raise ValueError(f"{name} names no socket; write unix:///path")
        return address
    if address.startswith(_SCHEMES):
        return address
    if address.startswith(("/", "./", "../", "~")) or address.endswith(".sock"):
        raise ValueError(f"{name} is a path; for a socket write unix:///path")
    matched = _HOST_AND_PORT.fullmatch(address)
    if matched is None or not 0 < int(matched[1]) < 65536:
        raise ValueError(f"{name} must be unix:///path or host:port, with a port from 1 to 65535 and IPv6 in brackets")
    return address
