"""One issuer's public keys on disk, so that a sidecar restarted while the issuer is down can go on."""

import hashlib
import json
import os
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sidegate_sidecar.keys.jwks import MAX_DOCUMENT_BYTES, NotAKeySet, parse_jwks
from sidegate_sidecar.keys.public_keys import jwk_of
from sidegate_sidecar.keys.strict_json import NotStrictJson, parse_strict_json
from sidegate_sidecar.keys.wording import in_words, shown_path
from sidegate_sidecar.model import Micros, VerificationKey

_FORMAT = "sidegate-keys-1"
# 256 keys of 4096 bits, each with a kid of 256 characters of four bytes, take half of it.
_MAX_COPY_BYTES = MAX_DOCUMENT_BYTES
_TIME = re.compile(r"[0-9]{1,20}")


class CopyUnusable(Exception):
    """There is a copy, and it must not be used. The message says why."""


@dataclass(frozen=True, slots=True)
class SavedKeys:
    """What a copy holds. `confirmed_at`: when the issuer last confirmed these keys, by the wall clock."""

    keys: tuple[VerificationKey, ...]
    confirmed_at: Micros


class SavedCopy:
    """The file of one issuer. Blocks; for a thread.

    The file is a line with the SHA-256 of all after it, then a JSON object. The checksum finds damage, not malice: who
    can write here can add keys, so the file must belong to us and be closed to others.

    Args:
        directory: Made if it is missing, for nobody else.
        issuer: Named by its hash in the file's name, for it may hold anything.
        source: Where the keys come from. Those that came from elsewhere are another's.
    """

    def __init__(self, directory: Path, issuer: str, source: str) -> None:
        self._directory = directory
        self._path = directory / f"{_digest(issuer.encode())[:32]}.keys"
        self._owner = {"format": _FORMAT, "issuer": issuer, "source": _digest(source.encode())}

    @property
    def shown_directory(self) -> str:
        """Where the copy is kept, for an operator."""
        return shown_path(self._directory)

    def read(self) -> SavedKeys | None:
        """The keys last written. None: there is no copy.

        Raises:
            CopyUnusable: It is damaged, another's, open to others, or unreadable.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CopyUnusable(f"it cannot be opened: {in_words(error)}") from None
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_mode & 0o022 or facts.st_uid not in {0, os.geteuid()}:
                raise CopyUnusable("it is not a file of our own that nobody else can write")
            try:
                content = file.read(_MAX_COPY_BYTES + 1)
            except OSError as error:
                raise CopyUnusable(f"it cannot be read: {in_words(error)}") from None
        return self._parsed(content)

    def write(self, saved: SavedKeys) -> None:
        """Replace the copy. Whoever reads finds the old one or the new one, whatever is killed when.

        Raises:
            OSError: It could not be written; the old one stays.
        """
        members = {
            **self._owner,
            # Text, because the reader of this file reads no numbers.
            "confirmed_at": str(saved.confirmed_at),
            "keys": [jwk_of(key) for key in saved.keys],
        }
        body = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=".keys-")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_digest(body).encode() + b"\n" + body)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(self._path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # the rename, too
        finally:
            os.close(directory)

    def _parsed(self, content: bytes) -> SavedKeys:
        checksum, _, body = content.partition(b"\n")
        if checksum != _digest(body).encode():
            raise CopyUnusable("its checksum is wrong")
        try:
            members = parse_strict_json(body)
            keys = parse_jwks(body).keys
        except (NotStrictJson, NotAKeySet) as error:
            raise CopyUnusable(str(error)) from None
        if not isinstance(members, dict) or any(members.get(name) != value for name, value in self._owner.items()):
            raise CopyUnusable("it is of another issuer, source or format")
        confirmed_at = members.get("confirmed_at")
        if not isinstance(confirmed_at, str) or not _TIME.fullmatch(confirmed_at) or not keys:
            raise CopyUnusable("it holds no keys, or no time")
        return SavedKeys(keys, int(confirmed_at))


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()
