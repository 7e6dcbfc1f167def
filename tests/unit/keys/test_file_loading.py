"""Key files: reloaded when they change, and never worth less than they were."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sidegate_sidecar.keys import JwksFile, PemFile
from sidegate_sidecar.keys.file_loading import FileLoader
from sidegate_sidecar.keys.loading import LoadFailed

from tests.unit.keys.key_material import ed25519_jwk, jwks, real_rsa_key, rsa_jwk


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def long_after() -> float:
    """A clock by which every file has long been settled."""
    return 1e11


def just_now() -> float:
    """A clock by which every file has changed in this very moment."""
    return 0.0


async def key_ids(loader: FileLoader) -> list[str | None]:
    return [key.key_id for key in (await loader.load()).content.keys]


async def test_a_changed_file_is_read_again(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(ed25519_jwk(kid="one")))
    loader = FileLoader(JwksFile(file), executor, now=long_after)
    assert await key_ids(loader) == ["one"]

    file.write_bytes(jwks(ed25519_jwk(kid="one more")))

    assert await key_ids(loader) == ["one more"]


async def test_a_replaced_file_is_read_again_though_its_time_and_size_are_the_same(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    file, other = tmp_path / "keys.json", tmp_path / "other.json"
    file.write_bytes(jwks(ed25519_jwk(kid="one")))
    other.write_bytes(jwks(ed25519_jwk(kid="two")))
    os.utime(file, (1, 1))
    os.utime(other, (1, 1))
    loader = FileLoader(JwksFile(file), executor, now=long_after)
    assert await key_ids(loader) == ["one"]

    other.replace(file)

    assert await key_ids(loader) == ["two"]


async def test_an_unchanged_file_is_not_parsed_again(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(ed25519_jwk()))
    loader = FileLoader(JwksFile(file), executor, now=long_after)

    assert (await loader.load()).content is (await loader.load()).content


async def test_a_file_that_changed_just_now_is_parsed_again_for_it_may_change_within_the_clocks_tick(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(ed25519_jwk()))
    loader = FileLoader(JwksFile(file), executor, now=lambda: file.stat().st_ctime + 1)

    assert (await loader.load()).content is not (await loader.load()).content


BROKEN = {
    "half written": jwks(ed25519_jwk())[:40],
    "empty": b"",
    "no usable key": jwks(rsa_jwk(bits=1024)),
    "too large": b" " * (1024 * 1024 + 1),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("now", [long_after, just_now], ids=["settled", "just changed"])
async def test_a_broken_file_fails_each_time_until_it_is_mended(
    tmp_path: Path, executor: ThreadPoolExecutor, content: bytes, now: Callable[[], float]
) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(content)
    loader = FileLoader(JwksFile(file), executor, now=now)
    for _ in range(2):
        with pytest.raises(LoadFailed, match="key"):
            await loader.load()

    file.write_bytes(jwks(ed25519_jwk(kid="mended")))

    assert await key_ids(loader) == ["mended"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "no such file or directory"),
        ("folder", "is a directory"),
        ("file/below", "not a directory"),
        ("loop", "too many levels of symbolic links"),
        ("pipe", "not a regular file"),
        ("file", "no key set: it is not JSON"),
        ("weak", "the key set holds no usable key"),
    ],
)
async def test_a_file_without_keys_fails_at_once_and_the_error_names_it_in_plain_words(
    tmp_path: Path, executor: ThreadPoolExecutor, name: str, problem: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "weak").write_bytes(jwks(rsa_jwk(bits=1024)))

    with pytest.raises(LoadFailed) as failed:
        await FileLoader(JwksFile(tmp_path / name), executor).load()

    assert str(failed.value) == f"{tmp_path / name}: {problem}"


async def test_a_public_key_in_pem_form_is_one_key(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(real_rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    named = (await FileLoader(PemFile(file, key_id="k", algorithm="PS256"), executor).load()).content.keys
    plain = (await FileLoader(PemFile(file), executor).load()).content.keys

    assert [(key.key_id, key.algorithms) for key in named] == [("k", frozenset({"PS256"}))]
    assert [(key.key_id, len(key.algorithms)) for key in plain] == [(None, 6)]
    assert named[0].public_key == real_rsa_key().public_key()


def pem_of_a_private_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem_of_a_dsa_key() -> bytes:
    numbers = dsa.DSAParameterNumbers((1 << 1023) | 1, (1 << 159) | 1, 2)
    return dsa.DSAPublicNumbers(4, numbers).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


UNFIT_PEM = {
    "private": (pem_of_a_private_key(), None, "private key"),
    "a public and a private one": (
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        + pem_of_a_private_key(),
        None,
        "private key",
    ),
    "DSA": (pem_of_a_dsa_key(), None, "type"),
    "rubbish": (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", None, "PEM"),
    "empty": (b"", None, "PEM"),
    "too large": (b" " * (1024 * 1024 + 1), None, "larger"),
    "an algorithm of another type": (
        ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "RS256",
        "fit",
    ),
}


@pytest.mark.parametrize(("content", "algorithm", "problem"), UNFIT_PEM.values(), ids=UNFIT_PEM.keys())
async def test_a_pem_file_without_a_fit_public_key_fails(
    tmp_path: Path, executor: ThreadPoolExecutor, content: bytes, algorithm: str | None, problem: str
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)

    with pytest.raises(LoadFailed, match=problem):
        await FileLoader(PemFile(file, algorithm=algorithm), executor).load()
