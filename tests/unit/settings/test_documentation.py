"""docs/configuration.md and the settings are the same list."""

import re
from pathlib import Path

import pytest
from sidegate_sidecar.settings import PREFIX, IssuerEntry, Settings, load_settings

PAGE = (Path(__file__).resolve().parents[3] / "docs/configuration.md").read_text(encoding="utf-8")
SETTINGS, ENTRY = PAGE.split("## An issuer entry")


def first_cells(page: str) -> list[str]:
    """What the rows of its tables are about, in order."""
    cells = re.findall(r"^\| (`[^|]*`) \|", page, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    # SIDEGATE_ISSUER stands for the fields of an entry, which are no settings of their own.
    assert sorted(first_cells(SETTINGS)) == sorted(
        [*(PREFIX + name.upper() for name in Settings.model_fields), "SIDEGATE_ISSUER"]
    )


def test_every_field_of_an_entry_is_documented_and_every_documented_one_exists() -> None:
    assert sorted(first_cells(ENTRY)) == sorted(IssuerEntry.model_fields)


DEFAULTS = re.findall(r"^\| `(SIDEGATE_\w+)` \| `([^`]*)` \|", SETTINGS, re.MULTILINE)


@pytest.mark.parametrize(("name", "default"), DEFAULTS)
def test_a_setting_has_the_default_that_is_documented(name: str, default: str) -> None:
    issuer = {"SIDEGATE_ISSUER": "https://issuer.example"}

    assert load_settings({**issuer, name: default}) == load_settings(issuer)
