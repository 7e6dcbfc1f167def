"""Which migrations a store needs, and whether this release can work with those it has. Pure: the rule of every backend.

Two releases work on one store while a deploy rolls. What both can work with is applied before the deploy; what only
the newer can work with, after it. The store remembers of each which it was, for a release that does not know it.
"""

from collections.abc import Mapping, Sequence

from sidegate_sidecar.errors import StartupError
from sidegate_sidecar.store.sql import Migration


def to_apply(known: Sequence[Migration], applied: Mapping[int, bool], *, after_deploy: bool) -> list[Migration]:
    """The migrations to apply now, by number.

    Args:
        known: Those of this release, by number.
        applied: The numbers of those that the store has; of each, whether it was safe before its deploy. Empty: the
            store is new. Then all are applied, for no older release works on it.
        after_deploy: Also apply what is safe only once no older release runs any more.

    Raises:
        StartupError: A newer release has migrated the store to what this one cannot work with.
    """
    _check_unknown(known, applied)
    everything = after_deploy or not applied
    return [
        migration for migration in known if migration.number not in applied and (everything or migration.safe_before)
    ]


def check_applied(known: Sequence[Migration], applied: Mapping[int, bool]) -> None:
    """Check that this release can work with the store as it stands.

    Raises:
        StartupError: It lacks a migration that this release needs, or a newer release has migrated it to what this one
            cannot work with.
    """
    _check_unknown(known, applied)
    missing = [migration.name for migration in known if migration.safe_before and migration.number not in applied]
    if missing:
        raise StartupError(
            f"The session store lacks {', '.join(missing)}. Bring it up to date with `sidegate migrate`."
        )


def _check_unknown(known: Sequence[Migration], applied: Mapping[int, bool]) -> None:
    numbers = {migration.number for migration in known}
    if not all(safe_before for number, safe_before in applied.items() if number not in numbers):
        raise StartupError("The session store was migrated by a newer release of sidegate. Run that one, or a later.")
