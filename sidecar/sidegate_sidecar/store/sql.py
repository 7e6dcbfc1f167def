"""The SQL of every backend: it stands in files, so that it can be read, linted and explained as what it is."""

import re
from dataclasses import dataclass
from importlib.resources import files

_HERE = files("sidegate_sidecar.store")
_FILE_NAME = re.compile(r"(?P<number>\d{4})_\w+\.sql")
_SAFE_BEFORE = "-- Safe: before the deploy."
_SAFE_AFTER = "-- Safe: after the deploy."


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema.

    Attributes:
        safe_before: It may be applied while the release before is still running, and this release needs it.
            False: only once nothing older runs any more; this release does without.
    """

    number: int
    name: str
    safe_before: bool
    script: str


def query(backend: str, name: str) -> str:
    """The text of `queries/<backend>/<name>.sql`. Read it once, at import."""
    return _HERE.joinpath("queries", backend, f"{name}.sql").read_text(encoding="utf-8")


def migrations(backend: str) -> tuple[Migration, ...]:
    """Those of `migrations/<backend>/`, by number."""
    found: list[Migration] = []
    for file in _HERE.joinpath("migrations", backend).iterdir():
        name = _FILE_NAME.fullmatch(file.name)
        if name is None:
            continue  # an editor's or a packager's
        script = file.read_text(encoding="utf-8")
        header = script.partition("\n")[0]
        if header not in (_SAFE_BEFORE, _SAFE_AFTER):
            raise ValueError(f"{file.name} does not begin by saying when it is safe")
        found.append(
            Migration(
                number=int(name["number"]),
                name=file.name.removesuffix(".sql"),
                safe_before=header == _SAFE_BEFORE,
                script=script,
            )
        )
    return tuple(sorted(found, key=lambda migration: migration.number))
