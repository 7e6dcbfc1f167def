"""The whole sidecar on PostgreSQL: as the user of either role, and while the database is not there yet."""

import os
from pathlib import Path

import grpc
import pytest
from sidegate import EvidenceSource, SessionRejected, StoreState, VerificationUnavailable

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database, PostgresServer
from tests.integration.sidecar.processes import (
    ROOT,
    eventually,
    file_issuer,
    health,
    issuers_setting,
    run_sidegate,
    running_sidecar,
    starting_sidecar,
)

PASSWORD = "not-secret"
MAKE_USERS = f"""
DO $$
BEGIN
    IF to_regrole('test_sidecar_pods') IS NULL THEN
        CREATE USER test_sidecar_pods PASSWORD '{PASSWORD}';
        CREATE USER test_sidecar_admins PASSWORD '{PASSWORD}';
    END IF;
END
$$;
{(ROOT / "docs/postgresql-roles.sql").read_text(encoding="utf-8")};
GRANT sidegate_verifier TO test_sidecar_pods;
GRANT sidegate_admin TO test_sidecar_admins
"""


def verifying(issuer: FakeIssuer, folder: Path, url: str) -> dict[str, str]:
    """Settings of a sidecar beside a service: it has no admin listener."""
    return {"store_url": url, "admin_listen": "", "issuers": issuers_setting(file_issuer(issuer, folder))}


async def test_a_revocation_by_an_admin_reaches_a_sidecar_that_may_only_verify(
    database: Database, issuer: FakeIssuer, folder: Path
) -> None:
    await database.execute(MAKE_USERS)
    (folder / "admin").mkdir()
    admin_settings = {
        "store_url": database.url_of("test_sidecar_admins", PASSWORD),
        "issuers": issuers_setting(file_issuer(issuer, folder)),
    }
    url = database.url_of("test_sidecar_pods", PASSWORD)
    with (
        running_sidecar(folder / "admin", **admin_settings) as admin,
        admin.administration() as administration,
        running_sidecar(folder, **verifying(issuer, folder, url)) as sidecar,
        sidecar.verification() as client,
    ):
        token = issuer.mint("ada", "s1")
        assert client.verify(token).evidence.source is EvidenceSource.LOCAL
        assert client.verify(token, check_database=True).evidence.source is EvidenceSource.DATABASE

        revision = administration.revoke_session("s1").revision

        with pytest.raises(SessionRejected, match="revoked"):
            client.verify(token, check_database=True)
        with pytest.raises(SessionRejected, match="revoked"):
            client.verify(token, at_least_as_fresh=revision)
        assert client.serving_status().store_state is StoreState.AVAILABLE


def test_a_sidecar_starts_without_its_database_and_serves_once_it_is_there(
    postgres_server: PostgresServer, issuer: FakeIssuer, folder: Path
) -> None:
    url = f"postgresql://postgres:{postgres_server.password}@127.0.0.1:{postgres_server.port}/postgres"
    migrated = run_sidegate("migrate", folder=folder, SIDEGATE_STORE_URL=url)
    assert migrated.returncode == 0, migrated.stderr
    postgres_server.stop()
    try:
        with (
            starting_sidecar(folder, **verifying(issuer, folder, url)) as sidecar,
            sidecar.verification() as client,
        ):
            assert "cannot be reached" in sidecar.wait_for_event("store_not_reached")["error"]
            assert client.serving_status().store_state is StoreState.UNAVAILABLE
            with pytest.raises(VerificationUnavailable):
                client.verify(issuer.mint())

            postgres_server.start()

            sidecar.wait_for_event("store_reached")
            sidecar.wait_until_serving()
            assert client.verify(issuer.mint(), check_database=True)
            assert postgres_server.password not in sidecar.log
    finally:
        if not postgres_server.is_running:
            postgres_server.start()


async def test_a_missing_schema_and_a_wrong_password_are_told_and_waited_for(
    postgres_server: PostgresServer, issuer: FakeIssuer, folder: Path
) -> None:
    async with postgres_server.database(migrated=False) as empty:
        await empty.execute("DROP USER IF EXISTS test_late; CREATE USER test_late SUPERUSER PASSWORD 'another'")
        url = empty.url_of("test_late", PASSWORD)
        with starting_sidecar(folder, **verifying(issuer, folder, url)) as sidecar:
            assert "the user or the password" in sidecar.wait_for_event("store_not_reached")["error"]
            await empty.execute(f"ALTER USER test_late PASSWORD '{PASSWORD}'")
            eventually(lambda: True if "sidegate migrate" in sidecar.log else None, "nothing of the schema")

            assert run_sidegate("migrate", folder=folder, SIDEGATE_STORE_URL=url).returncode == 0

            sidecar.wait_until_serving()
            assert sidecar.log.count("store_not_reached") == 2
            assert PASSWORD not in sidecar.log
        await empty.execute("DROP OWNED BY test_late CASCADE; DROP USER test_late")


async def test_a_sidecar_above_the_limits_refuses_to_run_at_once(
    database: Database, issuer: FakeIssuer, folder: Path
) -> None:
    settings = verifying(issuer, folder, database.url) | {"max_token_lifetime": "48h", "listen": "127.0.0.1:0"}
    variables = {f"SIDEGATE_{name.upper()}": value for name, value in settings.items()}

    outcome = run_sidegate("run", folder=folder, **variables)

    assert outcome.returncode == os.EX_UNAVAILABLE
    assert "max_token_lifetime is 2d, above the 24h of the store" in outcome.stderr
    assert database.server.password not in outcome.stderr


async def test_a_sidecar_above_the_limits_refuses_to_run_once_it_knows(
    postgres_server: PostgresServer, issuer: FakeIssuer, folder: Path
) -> None:
    async with postgres_server.database(migrated=False) as empty:
        settings = verifying(issuer, folder, empty.url) | {"max_token_lifetime": "48h"}
        with starting_sidecar(folder, **settings) as sidecar:
            sidecar.wait_for_event("store_not_reached")
            assert run_sidegate("migrate", folder=folder, SIDEGATE_STORE_URL=empty.url).returncode == 0

            assert sidecar.process.wait(30) == os.EX_UNAVAILABLE
            assert "above the 24h of the store" in sidecar.log


async def test_migrate_says_what_is_in_its_way_without_the_url(database: Database, folder: Path) -> None:
    outcome = run_sidegate("migrate", folder=folder, SIDEGATE_STORE_URL=database.url_of("postgres", "hidden"))

    assert outcome.returncode == os.EX_UNAVAILABLE
    assert "refuses the user or the password of store_url" in outcome.stderr
    assert "hidden" not in outcome.stderr


def test_health_is_not_serving_while_the_database_was_never_reached(issuer: FakeIssuer, folder: Path) -> None:
    url = "postgresql://u:p@127.0.0.1:1/d"
    with (
        starting_sidecar(folder, **verifying(issuer, folder, url)) as sidecar,
        grpc.insecure_channel(sidecar.target) as channel,
    ):
        assert health(channel, "") == "NOT_SERVING"
