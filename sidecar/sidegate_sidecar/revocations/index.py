"""The revocation index: which sessions, users, tenants and keys of one store are revoked, as digests.

Digests keep it small and are what the feed carries: whoever reads the memory or the stream can recognise what it
already knows and learns nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from sidegate_sidecar.model import Coverage, LogEntry, Micros, Revision, RevocationKind, Subject
from sidegate_sidecar.revocations.digests import Digester, DigestTable

INSTANT_BYTES = 8

_KIND_AND_ISSUER = attrgetter("kind", "issuer")


@dataclass(frozen=True, slots=True)
class SparingWatermark:
    """Every session of a user begun at or before `revoke_time` is revoked, but for one. None: but for none."""

    revoke_time: Micros
    except_session_handle: str | None


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
        # The others, by the tenant that they are limited to: never more than two, however often a user logs out all
        # other devices.
        self._limited: dict[bytes, dict[str | None, tuple[SparingWatermark, ...]]] = {}
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
        digests: list[bytes] = []
        for (kind, issuer), some in groupby(entries, key=_KIND_AND_ISSUER):
            digests += self._take_in(kind, issuer, list(some))
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
        limited = self._limited.get(digest)
        if limited is None:
            return newest
        handle = subject.session_handle
        for watermark in (*limited.get(None, ()), *limited.get(subject.tenant_id, ())):
            if (newest is None or watermark.revoke_time > newest) and (
                not handle or watermark.except_session_handle != handle
            ):
                newest = watermark.revoke_time
        return newest

    def _take_in(self, kind: RevocationKind, issuer: str, entries: Sequence[LogEntry]) -> list[bytes]:
        """Entries of one kind and issuer. Together, for most of a long log is of one kind."""
        digests = self._digester.digests(kind, issuer, [entry.subject for entry in entries])
        if kind is RevocationKind.SESSION:
            self._sessions.add(digests)
        elif kind is RevocationKind.KEY:
            self._keys.add(digests)
        else:
            for entry, digest in zip(entries, digests, strict=True):
                if kind is RevocationKind.TENANT:
                    self._tenants.raise_to(digest, entry.revoke_time)
                else:
                    self._take_in_watermark(digest, entry)
        return digests

    def _take_in_watermark(self, digest: bytes, entry: LogEntry) -> None:
        newest, limited = self._users.get(digest), self._limited.get(digest, {})
        if entry.tenant_id is None and entry.except_session_handle is None:
            self._users.raise_to(digest, entry.revoke_time)
            if newer := {
                tenant_id: kept
                for tenant_id, watermarks in limited.items()
                if (kept := tuple(each for each in watermarks if each.revoke_time > entry.revoke_time))
            }:
                self._limited[digest] = newer
            else:
                self._limited.pop(digest, None)
        elif newest is None or newest < entry.revoke_time:
            new = SparingWatermark(entry.revoke_time, entry.except_session_handle)
            limited[entry.tenant_id] = _newest_two(*limited.get(entry.tenant_id, ()), new)
            self._limited[digest] = limited


def _newest_two(*watermarks: SparingWatermark) -> tuple[SparingWatermark, ...]:
    """The newest, and the newest that spares another session: together they cover what all of them do."""
    first = max(watermarks, key=lambda watermark: watermark.revoke_time)
    others = [each for each in watermarks if each.except_session_handle != first.except_session_handle]
    return first, *sorted(others, key=lambda watermark: -watermark.revoke_time)[:1]
