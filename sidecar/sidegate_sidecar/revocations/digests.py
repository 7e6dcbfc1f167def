"""Digests of subjects, and many of them in little memory.

A Python set of a million digests takes 100 MB, holds the event loop for 24 ms when it grows, and as long again when it
is dropped. Here they lie side by side in up to 65,536 byte strings: 25 MB, and no step touches more than one of them.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from sidegate_sidecar.model import RevocationKind

DIGEST_BYTES = 16

_SHELVES = 256  # by the digest's first byte; on each as many buckets, by the second: 15 digests in each at a million
_SLICE = 32  # buckets: 500 digests at a million


class Digester:
    """Makes the digests that stand for subjects, as feed.proto specifies them for every implementation of the feed.

    Args:
        salt: The store's, 16 bytes.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        # Hashed up to the subject, its length included: kinds, issuers and lengths are few, and a digest so costs half.
        self._begun: dict[tuple[RevocationKind, str], dict[int, blake2b]] = {}

    def digest(self, kind: RevocationKind, issuer: str, subject: str) -> bytes:
        """The lengths keep ("ab", "c") and ("a", "bc") apart."""
        [digest] = self.digests(kind, issuer, (subject,))
        return digest

    def digests(self, kind: RevocationKind, issuer: str, subjects: Iterable[str]) -> list[bytes]:
        """Those of subjects of one kind and issuer, in order."""
        begun = self._begun.setdefault((kind, issuer), {})
        found: list[bytes] = []
        for subject in subjects:
            content = subject.encode()
            prefix = begun.get(len(content)) or self._begin(kind, issuer, len(content))
            whole = prefix.copy()
            whole.update(content)
            found.append(whole.digest())
        return found

    def _begin(self, kind: RevocationKind, issuer: str, length: int) -> blake2b:
        content = issuer.encode()
        begun = self._begun[kind, issuer][length] = blake2b(
            kind.value.encode() + len(content).to_bytes(4, "big") + content + length.to_bytes(4, "big"),
            key=self._salt,
            digest_size=DIGEST_BYTES,
        )
        return begun


class DigestTable:
    """A set of digests, or a map from digests to numbers of a fixed size. Never shrinks; is dropped as a whole.

    Args:
        value_bytes: The size of a number, 0 to 8 bytes. 0: there are none, and each counts as 0.
    """

    def __init__(self, value_bytes: int = 0) -> None:
        self._value_bytes = value_bytes
        self._record_bytes = DIGEST_BYTES + value_bytes
        # By the first byte, then by the second. Not one list: the garbage collector would go through it, for 2 to 8 ms,
        # each time that it goes through all. Dictionaries of numbers and bytes it leaves alone.
        self._shelves: list[dict[int, bytes]] = [{} for _ in range(_SHELVES)]
        self._length = 0

    def get(self, digest: bytes) -> int | None:
        """The number kept with a digest. None: it is not there."""
        bucket = self._bucket_of(digest)
        position = self._find(bucket, digest)
        return None if position < 0 else self._value_at(bucket, position)

    def add(self, digests: Iterable[bytes]) -> None:
        """Keep digests, in a table without numbers. In half the time that `raise_to` takes: most revocations are of
        sessions, and a million are read when a sidecar starts.
        """
        shelves, length = self._shelves, self._length
        for digest in digests:
            shelf, number = shelves[digest[0]], digest[1]
            bucket = shelf.get(number, b"")
            if digest not in bucket or self._find(bucket, digest) < 0:
                shelf[number] = bucket + digest
                length += 1
        self._length = length

    def raise_to(self, digest: bytes, value: int) -> None:
        """Keep a digest, and with it the greater of its number so far and this one."""
        shelf, number = self._shelves[digest[0]], digest[1]
        bucket = shelf.get(number, b"")
        position = self._find(bucket, digest)
        if position < 0:
            shelf[number] = bucket + digest + value.to_bytes(self._value_bytes, "big")
            self._length += 1
        elif self._value_at(bucket, position) < value:
            before, after = bucket[: position + DIGEST_BYTES], bucket[position + self._record_bytes :]
            shelf[number] = before + value.to_bytes(self._value_bytes, "big") + after

    def slices(self) -> Iterator[list[bytes]]:
        """The digests, some at a time. What is added meanwhile may or may not be among them; the rest is, once."""
        for shelf in self._shelves if self._length else ():
            for begin in range(0, _SHELVES, _SLICE):
                yield [
                    bucket[position : position + DIGEST_BYTES]
                    for bucket in (shelf.get(number, b"") for number in range(begin, begin + _SLICE))
                    for position in range(0, len(bucket), self._record_bytes)
                ]

    def __contains__(self, digest: bytes) -> bool:
        return self._find(self._bucket_of(digest), digest) >= 0

    def __len__(self) -> int:
        return self._length

    def _bucket_of(self, digest: bytes) -> bytes:
        return self._shelves[digest[0]].get(digest[1], b"")

    def _find(self, bucket: bytes, digest: bytes) -> int:
        position = bucket.find(digest)
        while position > 0 and position % self._record_bytes:  # it straddles two records: no match
            position = bucket.find(digest, position + 1)
        return position

    def _value_at(self, bucket: bytes, position: int) -> int:
        return int.from_bytes(bucket[position + DIGEST_BYTES : position + self._record_bytes], "big")
