"""The revocation index: which sessions, users, tenants and keys of one store are revoked, as digests.

Digests keep it small and are what the feed carries: whoever reads the memory or the stream can recognise what it
already knows and learns nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sidegate_sidecar.model import Coverage, LogEntry, Micros, Revision, RevocationKind, Subject
from sidegate_sidecar.revocations.digests import Digester, DigestTable

INSTANT_BYTES = 8


@dataclass(frozen=True, slots=True)
class LimitedWatermark:
    """Every session of a user begun at or before `revoke_time` is revoked, but only in one tenant, or but for one
    session, or both. None: no limit, no exception.
    """

    revoke_time: Micros
    tenant_id: str | None
    except_session_handle: str | None

    def makes_superfluous(self, other: "LimitedWatermark") -> bool:
        """Whether whatever `other` covers, this one covers too."""
        return (
            self.revoke_time >= other.revoke_time
            and self.tenant_id in (None, other.tenant_id)
            and self.except_session_handle in (None, other.except_session_handle)
        )


class RevocationIndex:
    """One store's revocations up to `revision`. Look-ups are O(1) and never wait.

    Not for several threads; the event loop that follows the log is the one that asks.

    Args:
        store_id: The store whose log this is a picture of.
        digest_salt: The store's salt, 16 bytes.
    """

    def __init__(self, store_id: str, digest_salt: bytes) -> None:
        self.revision = Revision(store_id, 0)
        self.digest_salt = digest_salt
        self.last_entry_id = b""
        self._digester = Digester(digest_salt)
        self._sessions = DigestTable()
        self._users = DigestTable(INSTANT_BYTES)  # the newest watermark without limit or exception
        self._limited: dict[bytes, tuple[LimitedWatermark, ...]] = {}
        self._tenants = DigestTable(INSTANT_BYTES)
        self._keys = DigestTable()

    def apply(self, entries: Sequence[LogEntry], horizon: int = 0) -> list[bytes]:
        """Take in the entries that follow `revision`, in log order, and move it.

        Args:
            horizon: Sequences up to here may be missing.

        Returns:
            The digest of each, in their order.

        Raises:
            ValueError: An entry is not the next one; none has been taken in.
        """
        last = self.revision.sequence
        for entry in entries:
            if entry.sequence != last + 1 and not last < entry.sequence <= horizon + 1:
                raise ValueError(f"entry {entry.sequence} does not follow {last}")
            last = entry.sequence
        digests = [self._take_in(entry) for entry in entries]
        if entries:
            self.revision = Revision(self.revision.store_id, last)
            self.last_entry_id = entries[-1].entry_id
        return digests

    def coverage(self, subject: Subject) -> Coverage:
        """Which of the revocations touch a session."""
        issuer, handle = subject.issuer, subject.session_handle
        digest = self._digester.digest
        return Coverage(
            session_revoked=bool(handle) and digest(RevocationKind.SESSION, issuer, handle) in self._sessions,
            key_revoked=(
                bool(self._keys and subject.key_thumbprint)
                and digest(RevocationKind.KEY, issuer, subject.key_thumbprint) in self._keys
            ),
            user_watermark=self._user_watermark(subject) if self._users or self._limited else None,
            tenant_watermark=(
                self._tenants.get(digest(RevocationKind.TENANT, issuer, subject.tenant_id))
                if self._tenants and subject.tenant_id
                else None
            ),
        )

    def digests(self) -> Iterator[tuple[RevocationKind, list[bytes]]]:
        """All that is revoked, some at a time, in no order. A user may come twice.

        The index may grow meanwhile: what it gains may or may not be among them.
        """
        for kind, table in (
            (RevocationKind.SESSION, self._sessions),
            (RevocationKind.USER, self._users),
            (RevocationKind.TENANT, self._tenants),
            (RevocationKind.KEY, self._keys),
        ):
            for some in table.slices():
                yield kind, some
        yield RevocationKind.USER, list(self._limited)  # at once, for a dictionary that grows cannot be gone through

    def __len__(self) -> int:
        return len(self._sessions) + len(self._users) + len(self._limited) + len(self._tenants) + len(self._keys)

    def _user_watermark(self, subject: Subject) -> Micros | None:
        digest = self._digester.digest(RevocationKind.USER, subject.issuer, subject.user_id)
        newest = self._users.get(digest)
        for limited in self._limited.get(digest, ()):
            if (
                (newest is None or limited.revoke_time > newest)
                and limited.tenant_id in (None, subject.tenant_id)
                and (not subject.session_handle or limited.except_session_handle != subject.session_handle)
            ):
                newest = limited.revoke_time
        return newest

    def _take_in(self, entry: LogEntry) -> bytes:
        kind = entry.kind
        digest = self._digester.digest(kind, entry.issuer, entry.subject)
        if kind is RevocationKind.SESSION:
            self._sessions.raise_to(digest)
        elif kind is RevocationKind.USER:
            self._take_in_watermark(
                digest, LimitedWatermark(entry.revoke_time, entry.tenant_id, entry.except_session_handle)
            )
        elif kind is RevocationKind.TENANT:
            self._tenants.raise_to(digest, entry.revoke_time)
        else:
            self._keys.raise_to(digest)
        return digest

    def _take_in_watermark(self, digest: bytes, new: LimitedWatermark) -> None:
        kept = tuple(old for old in self._limited.get(digest, ()) if not new.makes_superfluous(old))
        newest = self._users.get(digest)
        if new.tenant_id is None and new.except_session_handle is None:
            self._users.raise_to(digest, new.revoke_time)
        elif (newest is None or newest < new.revoke_time) and not any(old.makes_superfluous(new) for old in kept):
            kept = (*kept, new)
        if kept:
            self._limited[digest] = kept
        else:
            self._limited.pop(digest, None)
