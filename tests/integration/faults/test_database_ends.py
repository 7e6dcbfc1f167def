"""The database itself goes away under load, and comes back."""

from pathlib import Path

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import Database
from tests.integration.faults.scene import Scene


async def test_the_database_is_stopped_and_started(folder: Path, issuer: FakeIssuer, database: Database) -> None:
    with Scene(folder, issuer) as scene:
        scene.add_sidecar("a", database.url)
        scene.add_sidecar("b", database.url)
        with scene.load() as load:
            load.wait_for_steps(60)
            database.server.stop()
            try:
                with scene.outage():
                    load.wait_for_steps(60)
            finally:
                database.server.start()
            scene.recover("database stopped")
            load.wait_for_steps(50)
        scene.check()


async def test_the_database_is_killed(folder: Path, issuer: FakeIssuer, database: Database) -> None:
    """kill -9: what was acknowledged is in its log when it comes back, which `check` looks at."""
    with Scene(folder, issuer) as scene:
        scene.add_sidecar("a", database.url)
        scene.add_sidecar("b", database.url)
        with scene.load() as load:
            for _ in range(2):
                load.wait_for_steps(60)
                database.server.kill()
                try:
                    with scene.outage():
                        load.wait_for_steps(20)
                finally:
                    database.server.start()
                scene.recover("database killed")
        scene.check()
