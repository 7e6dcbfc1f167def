"""The console script `sidegate`: the command line where the extra is installed, the way to get it where it is not."""

import os
import sys

EX_USAGE = 64  # sysexits.h
EX_IOERR = 74
OURS = ("sidegate", "sidegate_sidecar")


def main() -> int:
    """Run the command line. The exit status."""
    # grpc's core writes lines of its own ("E1123 … Failed to bind") beside the one with which a command ends. It reads
    # this when it is first imported; whoever sets it otherwise has asked for them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from sidegate_sidecar.cli.main import run
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in OURS:
            raise  # a fault of ours, not a missing extra
        sys.stderr.write(
            f"The sidegate command line needs the sidecar extra ({missing.name} is not installed). Install it with:\n"
            "\n"
            "    pip install 'sidegate[sidecar]'\n"
        )
        return EX_USAGE
    status = run()
    try:
        if sys.stdout is not None:  # as it is where the process was given no standard output
            sys.stdout.flush()
    except OSError:  # nobody reads it any more, or there is no room
        status = status or EX_IOERR
    # At once: the interpreter would wait for gRPC's threads, and they wait for as long as a client floods them.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
