"""The saved copy: public, whole, one's own, or not used."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from sidegate_sidecar.keys import parse_jwks
from sidegate_sidecar.keys.saved_copy import CopyUnusable, SavedCopy, SavedKeys

from tests.unit.keys.key_material import ec_jwk, ed25519_jwk, integer, jwks, rsa_jwk

SAVED = SavedKeys(
    parse_jwks(
        jwks(
            rsa_jwk(kid="r"),
            rsa_jwk(kid="pinned", bits=2056, alg="PS256"),
            ec_jwk("P-256", kid="e"),
            ec_jwk("P-521", kid="\u00e9\n"),
            ed25519_jwk(),
        )
    ).keys,
    1_700_000_000_123_456,
)


@pytest.fixture
def copy(tmp_path: Path) -> SavedCopy:
    return SavedCopy(tmp_path / "made", "issuer", "jwks https://issuer.example")


def file_of(directory: Path) -> Path:
    (file,) = directory.rglob("*.keys")
    return file


def test_what_was_written_is_read(copy: SavedCopy) -> None:
    copy.write(SAVED)

    assert copy.read() == SAVED


def test_without_a_copy_there_is_nothing_to_read(copy: SavedCopy) -> None:
    assert copy.read() is None


def test_the_largest_set_there_can_be_is_read_back(copy: SavedCopy) -> None:
    members = (rsa_jwk(bits=4096, n=integer(1 << 4095 | 2 * n + 1), kid=chr(0x10000 + n) * 256) for n in range(256))
    keys = parse_jwks(json.dumps({"keys": list(members)}, ensure_ascii=False).encode()).keys
    assert len(keys) == 256
    copy.write(SavedKeys(keys, 1))

    assert copy.read() == SavedKeys(keys, 1)


def test_the_file_is_closed_to_others_and_nothing_else_is_left(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)
    copy.write(SAVED)

    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.rglob("*"))] == [0o700, 0o600]


def test_only_public_members_are_written(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)

    body = json.loads(file_of(tmp_path).read_bytes().partition(b"\n")[2])
    assert {name for jwk in body["keys"] for name in jwk} == {"kty", "crv", "x", "y", "n", "e", "kid", "alg"}


def test_any_single_flipped_byte_spoils_it(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)
    file = file_of(tmp_path)
    whole = file.read_bytes()

    for position in range(0, len(whole), 13):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(CopyUnusable):
            copy.read()


@pytest.mark.parametrize("length", [0, 1, 64, 65, 500])
def test_a_truncated_copy_is_not_used(copy: SavedCopy, tmp_path: Path, length: int) -> None:
    copy.write(SAVED)
    os.truncate(file_of(tmp_path), length)

    with pytest.raises(CopyUnusable):
        copy.read()


def test_the_copy_of_another_source_is_not_used(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)

    with pytest.raises(CopyUnusable, match="another"):
        SavedCopy(tmp_path / "made", "issuer", "jwks https://elsewhere.example").read()


def test_the_copy_of_another_issuer_is_not_used_under_ones_own_name(copy: SavedCopy, tmp_path: Path) -> None:
    other = SavedCopy(tmp_path / "other", "../other\x00", "jwks https://issuer.example")
    other.write(SAVED)
    copy.write(SAVED)
    file_of(tmp_path / "other").replace(file_of(tmp_path / "made"))

    with pytest.raises(CopyUnusable, match="another"):
        copy.read()


def test_a_file_that_others_may_write_is_not_used(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)
    file_of(tmp_path).chmod(0o620)

    with pytest.raises(CopyUnusable, match="our own"):
        copy.read()


def test_neither_a_link_nor_a_pipe_is_followed(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)
    file = file_of(tmp_path)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CopyUnusable):
        copy.read()

    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(CopyUnusable):
        copy.read()


@pytest.mark.parametrize(
    "members", [{"keys": []}, {"confirmed_at": 5}, {"confirmed_at": "\u0663"}, {"format": "x"}], ids=str
)
def test_a_copy_without_keys_time_or_format_is_not_used(
    copy: SavedCopy, tmp_path: Path, members: dict[str, object]
) -> None:
    copy.write(SAVED)
    file = file_of(tmp_path)
    body = json.dumps({**json.loads(file.read_bytes().partition(b"\n")[2]), **members}).encode()
    file.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    with pytest.raises(CopyUnusable):
        copy.read()


def test_a_write_that_fails_leaves_the_old_copy(copy: SavedCopy, tmp_path: Path) -> None:
    copy.write(SAVED)
    file = file_of(tmp_path)
    content = file.read_bytes()
    file.unlink()
    file.mkdir()

    with pytest.raises(OSError, match="directory"):
        copy.write(SAVED)

    assert [path.name for path in (tmp_path / "made").iterdir()] == [file.name]
    file.rmdir()
    file.write_bytes(content)
    file.chmod(0o600)
    assert copy.read() == SAVED
