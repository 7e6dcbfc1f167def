"""The saved copy: a sidecar restarted while the issuer is down goes on."""

import time
from pathlib import Path

import pytest
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys import IssuerKeysConfig, JwksUrl
from sidegate_sidecar.model import SECOND, Micros
from structlog.testing import CapturingLogger

from tests.integration.keys.issuer_server import IssuerServer, respond, silence
from tests.integration.keys.rings import by_url, errors, key_ids, started, until
from tests.unit.keys.key_material import ed25519_jwk

HOUR = 3600 * SECOND
DOWN = respond(b"", status="503 Service Unavailable")


def in_a_while(span: Micros) -> Micros:
    return time.time_ns() // 1000 + span


async def save(issuer: IssuerServer, directory: Path) -> None:
    """Run a ring just long enough for it to see the issuer's keys."""
    issuer.publish(ed25519_jwk(kid="saved"))
    async with started(by_url(issuer, saved_copy_dir=directory)):
        pass
    issuer.requests.clear()


async def test_a_restart_while_the_issuer_is_down_goes_on_with_the_saved_keys(
    issuer: IssuerServer, tmp_path: Path
) -> None:
    await save(issuer, tmp_path)
    issuer.answer = DOWN

    async with started(by_url(issuer, saved_copy_dir=tmp_path)) as ring:
        assert key_ids(ring.key_set("issuer")) == {"saved"}
        assert ring.key_set("issuer").generation == 1
        with pytest.raises(KeysUnavailable):
            await ring.key_set_with("issuer", "new")

        issuer.publish(ed25519_jwk(kid="fresh"))
        await until(lambda: ring.key_set("issuer").generation == 2)
        assert key_ids(ring.key_set("issuer")) == {"fresh"}


async def test_a_restart_does_not_wait_for_a_silent_issuer_whose_keys_are_saved(
    issuer: IssuerServer, tmp_path: Path
) -> None:
    await save(issuer, tmp_path)
    issuer.answer = silence

    async with started(by_url(issuer, saved_copy_dir=tmp_path)) as ring:
        assert errors(ring) == [""]  # else it would have waited until the issuer was given up
        assert key_ids(ring.key_set("issuer")) == {"saved"}


async def test_the_saved_keys_age_from_when_the_issuer_last_confirmed_them(
    issuer: IssuerServer, tmp_path: Path
) -> None:
    await save(issuer, tmp_path)
    issuer.answer = DOWN

    async with started(by_url(issuer, saved_copy_dir=tmp_path), now=lambda: in_a_while(23 * HOUR)) as ring:
        (status,) = ring.status()
        assert status.age is not None
        assert 23 * HOUR <= status.age < 24 * HOUR
        assert key_ids(ring.key_set("issuer")) == {"saved"}


@pytest.mark.parametrize("span", [25 * HOUR, -HOUR], ids=["too old", "from the future"])
async def test_saved_keys_whose_age_is_out_of_bounds_are_not_used(
    issuer: IssuerServer, tmp_path: Path, span: Micros
) -> None:
    await save(issuer, tmp_path)
    issuer.answer = DOWN

    async with started(by_url(issuer, saved_copy_dir=tmp_path), now=lambda: in_a_while(span)) as ring:
        with pytest.raises(KeysUnavailable):
            ring.key_set("issuer")


async def test_a_confirmation_without_a_change_makes_the_copy_younger(issuer: IssuerServer, tmp_path: Path) -> None:
    issuer.publish(ed25519_jwk(kid="saved"))
    begin = time.time_ns() // 1000
    async with started(by_url(issuer, saved_copy_dir=tmp_path), now=lambda: begin):
        pass
    async with started(by_url(issuer, saved_copy_dir=tmp_path), now=lambda: begin + 23 * HOUR) as ring:
        await until(lambda: len(issuer.requests) == 2)
        await ring.key_set_with("issuer", "unknown")  # waits for a confirmation
    issuer.answer = DOWN

    async with started(by_url(issuer, saved_copy_dir=tmp_path), now=lambda: begin + 46 * HOUR) as ring:
        assert key_ids(ring.key_set("issuer")) == {"saved"}


def damage(directory: Path) -> None:
    (file,) = directory.iterdir()
    file.write_bytes(file.read_bytes()[:-1])


async def test_a_damaged_copy_is_ignored_and_logged(issuer: IssuerServer, tmp_path: Path) -> None:
    await save(issuer, tmp_path)
    issuer.answer = DOWN
    damage(tmp_path)
    log = CapturingLogger()

    async with started(by_url(issuer, saved_copy_dir=tmp_path), log=log) as ring:
        with pytest.raises(KeysUnavailable):
            ring.key_set("issuer")

    assert [call.kwargs["error"] for call in log.calls if call.kwargs["event"] == "saved_keys_ignored"] == [
        f"{tmp_path}: its checksum is wrong"
    ]


async def test_keys_saved_from_another_source_are_not_trusted(issuer: IssuerServer, tmp_path: Path) -> None:
    await save(issuer, tmp_path)
    issuer.answer = DOWN
    moved = IssuerKeysConfig("issuer", JwksUrl(issuer.url + "/moved"), saved_copy_dir=tmp_path)

    async with started(moved) as ring:
        with pytest.raises(KeysUnavailable):
            ring.key_set("issuer")


async def test_a_folder_that_cannot_be_written_costs_nothing_but_the_copy(issuer: IssuerServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    issuer.publish(ed25519_jwk(kid="kept"))
    log = CapturingLogger()

    async with started(by_url(issuer, saved_copy_dir=tmp_path / "file" / "below"), log=log) as ring:
        assert key_ids(ring.key_set("issuer")) == {"kept"}

    assert [call.kwargs["error"] for call in log.calls if call.kwargs["event"] == "keys_not_saved"] == [
        f"{tmp_path / 'file' / 'below'}: not a directory"
    ]
