"""Sessions kept by the question that they answer: bounded, and dropped by what the feed names. Pure; knows no time."""

import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeAlias

from sidegate.digests import SESSION, TENANT, USER, digest_of
from sidegate.verdicts import Session

Question: TypeAlias = tuple[bytes, tuple[str, ...], str | None, str | None]
"""What was asked: the token's SHA-256, the accepted audiences, the tenant, the anti-CSRF token. No other question is
answered by the same verdict, not even the same audiences in another order."""

ENTRY_BYTES = 1600
"""What one entry takes beside its strings and audiences: objects, and its places in four dictionaries. Measured on
CPython 3.11."""


class KeptSession:
    """One entry. `size` is in bytes, `expires` in seconds since the epoch."""

    __slots__ = ("digests", "expires", "session", "size")

    def __init__(self, question: Question, session: Session, salt: bytes) -> None:
        # A copy, for the caller's own grows when its claims are parsed.
        self.session = session.copy()
        self.expires = session.token_expire_time.timestamp()
        self.digests = tuple(
            digest_of(salt, kind, session.issuer, subject)
            for kind, subject in (
                (SESSION, session.session_handle),
                (USER, session.user_id),
                (TENANT, session.tenant_id),
            )
            if subject
        )
        _, audiences, tenant_id, anti_csrf_token = question
        evidence = session.evidence
        parts: Iterable[object] = (
            session.claims_json,
            session.issuer,
            session.session_handle,
            session.user_id,
            session.tenant_id,
            tenant_id,
            anti_csrf_token,
            evidence.key_id,
            evidence.revision and evidence.revision.store_id,
            audiences,
            *audiences,
        )
        self.size = ENTRY_BYTES + sum(map(sys.getsizeof, parts))


class KeptSessions:
    """The entries. The one used longest ago makes room for a new one.

    Args:
        max_entries: How many there may be.
        max_bytes: How much memory they may take, by a careful estimate.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Question, KeptSession] = OrderedDict()
        self._by_digest: dict[bytes, set[Question]] = {}
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, question: Question) -> KeptSession | None:
        """The entry that answers this question; it counts as used."""
        entry = self._entries.get(question)
        if entry is not None:
            self._entries.move_to_end(question)
        return entry

    def keep(self, question: Question, entry: KeptSession) -> bool:
        """Take the entry in, in place of an older one. False: it is larger than all may be together."""
        self.drop(question)
        if entry.size > self._max_bytes:
            return False
        self._entries[question] = entry
        self.bytes += entry.size
        for digest in entry.digests:
            self._by_digest.setdefault(digest, set()).add(question)
        while len(self._entries) > self._max_entries or self.bytes > self._max_bytes:
            self.drop(next(iter(self._entries)))
            self.evictions += 1
        return True

    def drop(self, question: Question) -> None:
        """Forget one entry, if there is one."""
        entry = self._entries.pop(question, None)
        if entry is None:
            return
        self.bytes -= entry.size
        for digest in entry.digests:
            questions = self._by_digest[digest]
            questions.discard(question)
            if not questions:
                del self._by_digest[digest]

    def drop_digest(self, digest: bytes) -> int:
        """Forget all entries of a session, user or tenant. How many there were."""
        questions = tuple(self._by_digest.get(digest, ()))
        for question in questions:
            self.drop(question)
        return len(questions)

    def drop_issuer(self, issuer: str) -> None:
        """Forget all entries of an issuer. Looks at every entry; keys change rarely."""
        for question in [question for question, entry in self._entries.items() if entry.session.issuer == issuer]:
            self.drop(question)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._by_digest.clear()
        self.bytes = 0
