"""The revocation index: which sessions, users, tenants and keys of one store are revoked, as digests.

Digests keep it small (16 bytes each, in sets and dicts) and are what the feed carries: whoever reads the memory or the
stream can recognise what it already knows and learns nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from sidegate_sidecar.model import Coverage, LogEntry, Micros, Revision, RevocationKind, Subject

DIGEST_BYTES = 16


def digest_of(salt: bytes, kind: RevocationKind, issuer: str, subject: str) -> bytes:
    """The digest that stands for a subject, as feed.proto specifies it for every implementation of the feed.

    The lengths keep ("ab", "c") and ("a", "bc") apart.
    """
    issuer_bytes, subject_bytes = issuer.encode(), subject.encode()
    return blake2b(
        b"".join(
            (
                kind.value.encode(),
                len(issuer_bytes).to_bytes(4, "big"),
                issuer_bytes,
                len(subject_bytes).to_bytes(4, "big"),
                subject_bytes,
            )
        ),
        key=salt,
        digest_size=DIGEST_BYTES,
    ).digest()


@dataclass(frozen=True, slots=True)
class Watermark:
    """Every session begun at or before `revoke_time` is revoked; None of the other two means no limit, no exception."""

    revoke_time: Micros
    tenant_id: str | None
    except_session_handle: str | None

    def makes_superfluous(self, other: "Watermark") -> bool:
        """Whether whatever `other` covers, this one covers too."""
        return (
            self.revoke_time >= other.revoke_time
            and self.tenant_id in (None, other.tenant_id)
            and self.except_session_handle in (None, other.except_session_handle)
        )


class RevocationIndex:
    """One store's revocations up to `sequence`. Look-ups are O(1) and never wait.

    Not for several threads; the event loop that follows the log is the one that asks.

    Args:
        store_id: The store whose log this is a picture of.
        digest_salt: The store's salt, 16 bytes.
    """

    def __init__(self, store_id: str, digest_salt: bytes) -> None:
        self.revision = Revision(store_id, 0)
        self.digest_salt = digest_salt
        self.last_entry_id = b""
        self._sessions: set[bytes] = set()
        self._users: dict[bytes, tuple[Watermark, ...]] = {}
        self._tenants: dict[bytes, Micros] = {}
        self._keys: set[bytes] = set()

    def apply(self, entries: Iterable[LogEntry]) -> None:
        """Take in the entries that follow `revision`, in log order, and move it.

        Raises:
            ValueError: An entry is not the next one; what came before it has been taken in.
        """
        for entry in entries:
            if entry.sequence != self.revision.sequence + 1:
                raise ValueError(f"entry {entry.sequence} does not follow {self.revision.sequence}")
            self._take_in(entry)
            self.revision = Revision(self.revision.store_id, entry.sequence)
            self.last_entry_id = entry.entry_id

    def coverage(self, subject: Subject) -> Coverage:
        """Which of the revocations touch a session."""
        issuer, handle = subject.issuer, subject.session_handle
        return Coverage(
            session_revoked=bool(handle) and self._digest(RevocationKind.SESSION, issuer, handle) in self._sessions,
            key_revoked=(
                bool(self._keys and subject.key_thumbprint)
                and self._digest(RevocationKind.KEY, issuer, subject.key_thumbprint) in self._keys
            ),
            user_watermark=self._user_watermark(subject) if self._users else None,
            tenant_watermark=(
                self._tenants.get(self._digest(RevocationKind.TENANT, issuer, subject.tenant_id))
                if self._tenants and subject.tenant_id
                else None
            ),
        )

    def __len__(self) -> int:
        return len(self._sessions) + len(self._users) + len(self._tenants) + len(self._keys)

    def _digest(self, kind: RevocationKind, issuer: str, subject: str) -> bytes:
        return digest_of(self.digest_salt, kind, issuer, subject)

    def _user_watermark(self, subject: Subject) -> Micros | None:
        watermarks = self._users.get(self._digest(RevocationKind.USER, subject.issuer, subject.user_id), ())
        return max(
            (
                watermark.revoke_time
                for watermark in watermarks
                if watermark.tenant_id in (None, subject.tenant_id)
                and (not subject.session_handle or watermark.except_session_handle != subject.session_handle)
            ),
            default=None,
        )

    def _take_in(self, entry: LogEntry) -> None:
        digest = self._digest(entry.kind, entry.issuer, entry.subject)
        match entry.kind:
            case RevocationKind.SESSION:
                self._sessions.add(digest)
            case RevocationKind.USER:
                new = Watermark(entry.revoke_time, entry.tenant_id, entry.except_session_handle)
                kept = tuple(old for old in self._users.get(digest, ()) if not new.makes_superfluous(old))
                superfluous = any(old.makes_superfluous(new) for old in kept)
                self._users[digest] = kept if superfluous else (*kept, new)
            case RevocationKind.TENANT:
                self._tenants[digest] = max(entry.revoke_time, self._tenants.get(digest, entry.revoke_time))
            case RevocationKind.KEY:
                self._keys.add(digest)
