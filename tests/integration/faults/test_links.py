"""The link between a sidecar and its database breaks; the database itself is well."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.issuer import FakeIssuer
from tests.fakes.postgres import SUPERUSER, Database
from tests.fakes.proxy import LostNotifications, Proxy
from tests.integration.faults.scene import Scene


@pytest.fixture
def scene(folder: Path, issuer: FakeIssuer) -> Iterator[Scene]:
    with Scene(folder, issuer) as running:
        yield running


def behind(proxy: Proxy, database: Database) -> str:
    """The store's URL by way of a proxy."""
    return database.url_of(SUPERUSER, database.server.password, port=proxy.port)


async def test_connections_are_killed_again_and_again(scene: Scene, database: Database) -> None:
    scene.add_sidecar("a", database.url)
    scene.add_sidecar("b", database.url)
    with scene.load() as load:
        load.wait_for_steps(50)
        for _ in range(5):
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            load.wait_for_steps(20)
        scene.recover("connections killed")
        load.wait_for_steps(50)
    scene.check()


async def test_a_link_is_black_holed_and_heals(scene: Scene, database: Database) -> None:
    with Proxy(database.server.port) as proxy:
        scene.add_sidecar("a", database.url)
        scene.add_sidecar("b", behind(proxy, database))
        with scene.load() as load:
            load.wait_for_steps(50)
            proxy.black_hole()
            with scene.outage("b"):
                load.wait_for_steps(80)
            proxy.heal()
            scene.recover("link black-holed")
            load.wait_for_steps(50)
        scene.check()
        scene.close()


@pytest.mark.parametrize("fault", ["cut", "refused"])
async def test_a_link_is_reset(scene: Scene, database: Database, fault: str) -> None:
    with Proxy(database.server.port) as proxy:
        scene.add_sidecar("a", database.url)
        scene.add_sidecar("b", behind(proxy, database))
        with scene.load() as load:
            load.wait_for_steps(50)
            if fault == "cut":
                for _ in range(5):
                    proxy.cut()
                    load.wait_for_steps(20)
            else:
                proxy.refuse()
                with scene.outage("b"):
                    load.wait_for_steps(60)
                proxy.heal()
            scene.recover(f"link {fault}")
            load.wait_for_steps(50)
        scene.check()
        scene.close()


@pytest.mark.parametrize("share", [0.3, 1.0], ids=["30 % of them", "all"])
async def test_lost_notifications_lose_no_revocation(scene: Scene, database: Database, share: float) -> None:
    loss = LostNotifications(share)
    with Proxy(database.server.port, is_lost=loss) as proxy:
        scene.add_sidecar("a", database.url)
        scene.add_sidecar("b", behind(proxy, database))
        with scene.load() as load:
            load.wait_for_steps(120)
        for _ in range(2):
            scene.recover(f"with {share:.0%} of the notifications lost")
        scene.check()
        scene.close()
    assert loss.lost
    assert (loss.delivered > 0) == (share < 1)
