"""The store by way of a pooler in transaction mode."""

from pathlib import Path

from tests.fakes.issuer import FakeIssuer
from tests.fakes.pooler import Pooler
from tests.fakes.postgres import SUPERUSER, Database
from tests.integration.faults.scene import Scene


async def test_sidecars_work_through_a_pooler(folder: Path, issuer: FakeIssuer, database: Database) -> None:
    server = database.server
    with Pooler(server.folder / f".s.PGSQL.{server.port}", user=SUPERUSER, database=database.name) as pooler:
        url = database.url_of(SUPERUSER, "not asked for", port=pooler.port)
        with Scene(folder, issuer, store_transaction_pooler="true", store_poll_interval="50ms") as scene:
            scene.add_sidecar("a", url)
            scene.add_sidecar("b", url)
            with scene.load() as load:
                load.wait_for_steps(100)
                server.restart()
                scene.recover("a database behind a pooler restarted")
                load.wait_for_steps(50)
            scene.check()
        assert pooler.transactions > 100
        assert pooler.leftovers() == []
