"""Digests of subjects, and many of them in little memory.

A Python set of a million digests takes 100 MB, holds the event loop for 24 ms when it grows, and as long again when it
is dropped. Here they lie side by side in 65,536 byte strings: 20 MB, and no step touches more than one of them.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from sidegate_sidecar.model import RevocationKind

DIGEST_BYTES = 16

_BUCKETS = 1 << 16  # by the digest's first two bytes; 15 digests in each at a million
_SLICE = 32  # buckets: 500 digests at a million


class Digester:
    """Makes the digests that stand for subjects, as feed.proto specifies them for every implementation of the feed.

    Args:
        salt: The store's, 16 bytes.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        # Hashed up to the subject: kinds and issuers are few, and this halves the cost of a digest.
        self._begun: dict[tuple[RevocationKind, str], blake2b] = {}

    def digest(self, kind: RevocationKind, issuer: str, subject: str) -> bytes:
        """The lengths keep ("ab", "c") and ("a", "bc") apart."""
        [digest] = self.digests(kind, issuer, (subject,))
        return digest

    def digests(self, kind: RevocationKind, issuer: str, subjects: Iterable[str]) -> list[bytes]:
        """Those of subjects of one kind and issuer, in order."""
        prefix = self._begun.get((kind, issuer)) or self._begin(kind, issuer)
        found: list[bytes] = []
        for subject in subjects:
            whole = prefix.copy()
            content = subject.encode()
            whole.update(len(content).to_bytes(4, "big") + content)
            found.append(whole.digest())
        return found

    def _begin(self, kind: RevocationKind, issuer: str) -> blake2b:
        content = issuer.encode()
        begun = self._begun[kind, issuer] = blake2b(
            kind.value.encode() + len(content).to_bytes(4, "big") + content, key=self._salt, digest_size=DIGEST_BYTES
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
        self._buckets = [b""] * _BUCKETS
        self._length = 0

    def get(self, digest: bytes) -> int | None:
        """The number kept with a digest. None: it is not there."""
        bucket = self._buckets[digest[0] << 8 | digest[1]]
        position = self._find(bucket, digest)
        return None if position < 0 else self._value_at(bucket, position)

    def add(self, digests: Iterable[bytes]) -> None:
        """Keep digests, in a table without numbers. In half the time that `raise_to` takes: most revocations are of
        sessions, and a million are read when a sidecar starts.
        """
        buckets = self._buckets
        for digest in digests:
            number = digest[0] << 8 | digest[1]
            bucket = buckets[number]
            if digest not in bucket or self._find(bucket, digest) < 0:
                buckets[number] = bucket + digest
                self._length += 1

    def raise_to(self, digest: bytes, value: int) -> None:
        """Keep a digest, and with it the greater of its number so far and this one."""
        number = digest[0] << 8 | digest[1]
        bucket = self._buckets[number]
        position = self._find(bucket, digest)
        if position < 0:
            self._buckets[number] = bucket + digest + value.to_bytes(self._value_bytes, "big")
            self._length += 1
        elif self._value_at(bucket, position) < value:
            before, after = bucket[: position + DIGEST_BYTES], bucket[position + self._record_bytes :]
            self._buckets[number] = before + value.to_bytes(self._value_bytes, "big") + after

    def slices(self) -> Iterator[list[bytes]]:
        """The digests, some at a time. What is added meanwhile may or may not be among them; the rest is, once."""
        for begin in range(0, _BUCKETS if self._length else 0, _SLICE):
            yield [
                bucket[position : position + DIGEST_BYTES]
                for bucket in self._buckets[begin : begin + _SLICE]
                for position in range(0, len(bucket), self._record_bytes)
            ]

    def __contains__(self, digest: bytes) -> bool:
        return self._find(self._buckets[digest[0] << 8 | digest[1]], digest) >= 0

    def __len__(self) -> int:
        return self._length

    def _find(self, bucket: bytes, digest: bytes) -> int:
        position = bucket.find(digest)
        while position > 0 and position % self._record_bytes:  # it straddles two records: no match
            position = bucket.find(digest, position + 1)
        return position

    def _value_at(self, bucket: bytes, position: int) -> int:
        return int.from_bytes(bucket[position + DIGEST_BYTES : position + self._record_bytes], "big")
