"""Generate the client's stubs from the protos, and check that what is committed still fits.

Runs in the generator's own environment (requirements/proto.lock), which is older than the runtime on purpose: what it
generates runs on protobuf 5.29 and everything since.
"""

import argparse
import difflib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("sidegate/v1")
GENERATED = "*_pb2*.py*"
BASELINE = "baseline.binpb"
DIFF_LINES = 40  # enough to see what changed; the whole of it is one `make proto` away


class CheckFailed(Exception):
    """The protos or what was made of them are not as they must be. The message is for the terminal."""


def protoc(protos: Path, *arguments: str) -> None:
    """Run the protocol compiler over our protos. Raises: CheckFailed."""
    # google/rpc/status.proto is not ours: googleapis-common-protos ships it beside its Python code.
    includes = ["-I", str(protos), "-I", sysconfig.get_path("purelib")]
    sources = sorted(str(source) for source in (protos / PACKAGE).glob("*.proto"))
    run(sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments, *sources)


def run(*command: str) -> None:
    """Run a command and keep quiet about it unless it fails. Raises: CheckFailed with what it printed."""
    outcome = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if outcome.returncode != 0:
        raise CheckFailed(outcome.stdout.strip() or f"{command[0]} exited with {outcome.returncode}")


def generate(protos: Path, out: Path) -> None:
    """Put the Python code and its type stubs below `out`, in place of all generated before. Raises: CheckFailed.

    What was there stays if the protos do not compile.
    """
    scripts = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        protoc(
            protos,
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            *(f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
        )
        package = out / PACKAGE
        package.mkdir(parents=True, exist_ok=True)
        for stale in package.glob(GENERATED):
            stale.unlink()
        served = {source.stem for source in (protos / PACKAGE).glob("*.proto") if has_service(source)}
        for fresh in (Path(folder) / PACKAGE).glob(GENERATED):
            stem, _, plugin = fresh.stem.partition("_pb2")
            # The gRPC plugins write a file even where there is no service to put into it.
            if plugin != "_grpc" or stem in served:
                shutil.copyfile(fresh, package / fresh.name)


def has_service(source: Path) -> bool:
    """Whether a proto file defines one."""
    return any(line.startswith("service ") for line in source.read_text().splitlines())


def build_image(protos: Path, image: Path, *, comments: bool) -> None:
    """Compile the protos and all they import into one descriptor set. `comments`: what buf's lint rules look at."""
    source_info = ["--include_source_info"] if comments else []
    protoc(protos, "--include_imports", *source_info, "-o", str(image))


def check_generated(protos: Path, out: Path) -> None:
    """The committed code is what the protos generate. Raises: CheckFailed with the beginning of the difference."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(protos, fresh)
        differences: list[str] = []
        names = {path.name for tree in (fresh, out) for path in (tree / PACKAGE).glob(GENERATED)}
        for name in sorted(names):
            committed, generated = (lines_of(tree / PACKAGE / name) for tree in (out, fresh))
            differences += difflib.unified_diff(committed, generated, f"committed/{name}", f"generated/{name}", "", "")
    if differences:
        raise CheckFailed(
            "the generated code is not what the protos say; run `make proto`\n"
            + "\n".join(line.rstrip("\n") for line in differences[:DIFF_LINES])
        )


def lines_of(path: Path) -> list[str]:
    """The lines of a file; none if it is not there."""
    return path.read_text().splitlines() if path.exists() else []


def check(protos: Path, out: Path, buf: Path) -> int:
    """Run every check, report every failure. The exit status.

    buf lints and compares a compiled image: by itself it would look for google/rpc/status.proto in the protos folder
    or on the network.
    """
    config = ("--config", str(protos / "buf.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        build_image(protos, image, comments=True)
        steps = {
            "formatted": partial(run, str(buf), "format", str(protos), "--diff", "--exit-code"),
            "clean": partial(run, str(buf), "lint", str(image), *config),
            "compatible": partial(run, str(buf), "breaking", str(image), "--against", str(protos / BASELINE), *config),
            "generated": partial(check_generated, protos, out),
        }
        failed = 0
        for state, step in steps.items():
            try:
                step()
            except CheckFailed as failure:
                failed = 1
                print(f"The protos are not {state}:\n{failure}\n", file=sys.stderr)
    return failed


def main() -> int:
    """Parse the command line and do as it says. The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["generate", "check", "baseline"])
    parser.add_argument("--protos", type=Path, default=ROOT / "protos")
    parser.add_argument("--out", type=Path, default=ROOT / "clients" / "python")
    parser.add_argument("--buf", type=Path, default=ROOT / ".venv" / "bin" / "buf")
    options = parser.parse_args()
    try:
        match options.action:
            case "generate":
                generate(options.protos, options.out)
            case "baseline":
                build_image(options.protos, options.protos / BASELINE, comments=False)
            case _:
                return check(options.protos, options.out, options.buf)
    except CheckFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
