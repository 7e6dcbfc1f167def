"""Two sidecars on one SQLite file, one of which is killed under load."""

from pathlib import Path

from tests.fakes.issuer import FakeIssuer
from tests.integration.faults.scene import Scene


def test_a_sidecar_is_killed_under_load(folder: Path, issuer: FakeIssuer) -> None:
    store_url = f"sqlite://{folder}/sessions.db"
    with Scene(folder, issuer) as scene:
        scene.add_sidecar("a", store_url)
        scene.add_sidecar("b", store_url)
        with scene.load() as load:
            load.wait_for_steps(80)
            with scene.downtime("b"):
                scene.kill_sidecar("b")
                load.wait_for_steps(50)
            scene.recover("a sidecar killed")
            load.wait_for_steps(50)
        scene.check()
