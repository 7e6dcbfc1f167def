"""Start libFuzzer from inputs that get past the door: without them it spends its time on what is not even JSON."""

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def fuzz(target: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Fuzz the target from the seeds until libFuzzer ends the process. Its arguments are the command line's."""
    # By name: atheris is in the fuzzers' own environment alone, where no type checker looks.
    atheris = importlib.import_module("atheris")
    corpus = Path(tempfile.mkdtemp(prefix="sidegate-fuzz-"))
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([*sys.argv, str(corpus)], target)
    atheris.Fuzz()
