"""The console script `sidegate-injector`: the command line, or the way to get it where the extra is not installed."""

import sys

EX_USAGE = 64  # sysexits.h


def main() -> int:
    """Run the command line. The exit status."""
    try:
        from sidegate_injector.cli import run
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("sidegate_injector"):
            raise  # a fault of ours, not a missing extra
        sys.stderr.write(
            f"sidegate-injector needs the injector extra ({missing.name} is not installed). Install it with:\n"
            "\n"
            "    pip install 'sidegate[injector]'\n"
        )
        return EX_USAGE
    return run()


if __name__ == "__main__":
    sys.exit(main())
