"""What the process can be told: `SIDEGATE_*` variables and a TOML file, read once, all mistakes reported together.

Built on pydantic itself rather than pydantic-settings, which stops at the first variable that is not the JSON it should
be; whoever configures a pod wants every mistake in one go.
"""

from sidegate_sidecar.settings.admin_access import GrantEntry
from sidegate_sidecar.settings.issuer_entry import IssuerEntry
from sidegate_sidecar.settings.loading import load_settings, load_store_settings, misspelt_variables
from sidegate_sidecar.settings.mistakes import SettingsInvalid
from sidegate_sidecar.settings.schema import Settings, StoreSettings
from sidegate_sidecar.settings.values import PREFIX

__all__ = [
    "PREFIX",
    "GrantEntry",
    "IssuerEntry",
    "Settings",
    "SettingsInvalid",
    "StoreSettings",
    "load_settings",
    "load_store_settings",
    "misspelt_variables",
]
