"""What an entry and the settings say reaches the issuer's keys."""

from sidegate_sidecar.issuers import issuers_from
from sidegate_sidecar.settings import load_settings

ONE = {"SIDEGATE_ISSUER": "https://issuer.example"}


def test_the_settings_for_refreshing_keys_reach_the_keys() -> None:
    (issuer,) = issuers_from(
        load_settings(
            ONE
            | {
                "SIDEGATE_KEY_MIN_REFRESH": "90s",
                "SIDEGATE_KEY_MAX_REFRESH": "10m",
                "SIDEGATE_KEY_OUTAGE_CAP": "2h",
            }
        )
    )

    assert (issuer.keys.min_refresh, issuer.keys.max_refresh, issuer.keys.outage_cap) == (90.0, 600.0, 7200.0)


def test_keys_are_refreshed_once_a_minute_to_once_an_hour_and_kept_for_a_day_unless_told_otherwise() -> None:
    (issuer,) = issuers_from(load_settings(ONE))

    assert (issuer.keys.min_refresh, issuer.keys.max_refresh, issuer.keys.outage_cap) == (60.0, 3600.0, 86_400.0)
