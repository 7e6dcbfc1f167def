"""`sidegate-health`: asks a sidecar's health once, and says it by the exit status. For exec probes.

It imports grpc alone and speaks grpc.health.v1 in bytes, to start quickly: it runs every few seconds beside every pod.
"""

import os
import sys
from typing import cast

EX_USAGE = 64  # sysexits.h
USAGE = "usage: sidegate-health [--alive] [TARGET]\n"
DEFAULT_TARGET = "unix:///run/sidegate/sidegate.sock"
ANSWER_SECONDS = 4.0  # less than a probe's timeout, so that it ends by itself and says why

_ALIVE = "--alive"
_CHECK = "/grpc.health.v1.Health/Check"
_EVERYTHING = b""  # HealthCheckRequest without a service: the server as a whole
_SERVING = b"\x08\x01"  # HealthCheckResponse with status = SERVING: field 1, varint, 1


def main() -> int:
    """Exit with 0 if the sidecar is ready, 1 if not; with `--alive` already if it answers at all."""
    arguments = sys.argv[1:]
    alive_will_do = _ALIVE in arguments
    targets = [argument for argument in arguments if argument != _ALIVE]
    if len(targets) > 1 or any(target.startswith("-") for target in targets):
        sys.stderr.write(USAGE)
        return EX_USAGE
    return _ask(targets[0] if targets else DEFAULT_TARGET, alive_will_do=alive_will_do)


def _ask(target: str, *, alive_will_do: bool) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else grpc writes lines of its own; it reads this when imported
    import grpc

    with grpc.insecure_channel(target) as channel:
        # Without serializers: bytes in, bytes out.
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
        try:
            answer = check(_EVERYTHING, timeout=ANSWER_SECONDS)
        except grpc.RpcError as failure:
            code = cast("grpc.Call", failure).code()  # which failures of calls are
            sys.stderr.write(f"{code.name}: no answer from {target}\n")
            return 1
    if answer == _SERVING or alive_will_do:
        return 0
    sys.stderr.write("NOT_SERVING\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
