"""Watched sessions: which of them a message of the revocation feed ends, and which have to be asked about again.

Pure, like NearCache: messages, verdicts and clock readings go in, ends and questions come out.
"""

from collections.abc import Iterable, Sequence

from sidegate.digests import SESSION, TENANT, USER, digest_of
from sidegate.errors import SidegateError
from sidegate.fields import revision_message
from sidegate.recent_revocations import RecentRevocations
from sidegate.v1 import feed_pb2
from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import NextAction, Rejection, RejectionReason, Revision, Verdict
from sidegate.watch import Expiries, Watch
from sidegate.watching import SessionEnded, SessionEndReason, WatchEnd

_KINDS = (
    (SESSION, SessionEndReason.SESSION_REVOKED),
    (USER, SessionEndReason.USER_REVOKED),
    (TENANT, SessionEndReason.TENANT_REVOKED),
)


class SessionWatches:
    """All watches of a client, and where its feed stands. For one thread at a time.

    A revoked handle ends its watches. A revoked user or tenant need not: the session may be excepted or begun later. So
    the sidecar is asked again, if there is a token; and also when a watch or a stream begins, for an issuer's keys may
    have changed unseen, and when they change. Without a token what may have ended a session has.
    """

    def __init__(self) -> None:
        self._watches: dict[Watch, None] = {}
        self._by_digest: dict[bytes, dict[Watch, None]] = {}
        self._expiries = Expiries()
        self._suspects: dict[Watch, None] = {}
        self._unanswered: dict[Watch, None] = {}
        self._ends: list[tuple[Watch, WatchEnd]] = []
        self._recent = RecentRevocations()
        self._salt = b""
        self._position: Revision | None = None  # of the open stream
        self._reached: Revision | None = None  # by any stream so far

    def __len__(self) -> int:
        """How many there are that have not been told an end."""
        return len(self._watches) + len(self._ends)

    def add(self, watch: Watch) -> None:
        """Watch from now on."""
        self._watches[watch] = None
        self._expiries.add(watch)
        self._index(watch)
        if self._position is not None:
            self._settle(watch)

    def remove(self, watch: Watch) -> None:
        """Watch no more, and do not tell. Does nothing to one that has ended."""
        self._forget(watch)
        self._ends = [end for end in self._ends if end[0] is not watch]

    def end_all(self, end: WatchEnd) -> None:
        """End all of them in one way."""
        for watch in tuple(self._watches):
            self._end(watch, end)

    # The feed.

    def resume_from(self) -> Revision | None:
        """Where a stream should begin so that nothing is missed. None: anywhere."""
        if not self._watches:
            return None
        if self._reached is not None:
            return self._reached
        seen = [watch.seen for watch in self._watches if watch.seen is not None]
        of_one_store = (each for each in seen if each.store_id == seen[-1].store_id)
        return min(of_one_store, key=lambda each: each.sequence, default=None)

    def take(self, message: feed_pb2.WatchRevocationsResponse) -> None:
        """Take in what the stream delivered, after NearCache has found no fault with it."""
        match message.WhichOneof("event"):
            case "hello":
                self._begin(message.hello)
            case "revocations":
                self._advance(Revision(message.revocations.revision.store_id, message.revocations.revision.sequence))
                self._revoke(message.revocations.revocations)
            case "key_set_change":
                for watch in self._watches:
                    # No revocation: without a token to ask with, the session lives on.
                    if watch.issuer == message.key_set_change.issuer and watch.question is not None:
                        self._suspects[watch] = None
            case "checkpoint":
                self._advance(Revision(message.checkpoint.revision.store_id, message.checkpoint.revision.sequence))
            case _:
                for watch in tuple(self._watches):
                    self._suspect(watch, SessionEndReason.UNVERIFIABLE)  # of a newer sidecar; it may end any session

    def broke(self) -> None:
        """The stream has ended."""
        if self._position is not None:
            for watch in self._watches:
                watch.seen = _later(watch.seen, self._position)
            self._position = None

    # Time.

    def expire(self, wall: float) -> None:
        """End what has expired.

        Args:
            wall: Seconds since the epoch.
        """
        for watch in self._expiries.due(wall):
            if watch.outlives_token:
                self._lose_token(watch)
            else:
                self._end(watch, SessionEnded(SessionEndReason.TOKEN_EXPIRED, NextAction.REFRESH))

    def next_expiry(self) -> float | None:
        """When `expire` has something to do, in seconds since the epoch. None: never."""
        return self._expiries.next()

    # Questions and ends.

    def questions(self, limit: int) -> list[tuple[Watch, VerifyRequest]]:
        """What to ask the sidecar now; each is to be answered by `answer`. Empty while there is no stream: the next one
        raises all questions anew.
        """
        if self._position is None or self._reached is None:
            return []
        asked: list[tuple[Watch, VerifyRequest]] = []
        # Not of the stream's position: a sidecar may be behind the one before it, and would spare what that one told.
        reached = revision_message("at_least_as_fresh", self._reached)
        while self._suspects and len(asked) < limit:
            watch = next(iter(self._suspects))
            del self._suspects[watch]
            if watch.question is not None:
                watch.question.at_least_as_fresh.CopyFrom(reached)
                asked.append((watch, watch.question))
        return asked

    def ask_again(self) -> None:
        """Let `questions` return those too that were asked and not answered."""
        self._suspects.update(self._unanswered)
        self._unanswered.clear()

    def answer(self, watch: Watch, outcome: Verdict | SidegateError) -> None:
        """Take in what the sidecar said. An error is no evidence: the question is to be asked again."""
        if watch not in self._watches:
            return
        if not isinstance(outcome, Verdict):
            self._unanswered[watch] = None
        elif isinstance(outcome.outcome, Rejection):
            self._reject(watch, outcome.outcome)
        elif watch not in self._suspects:  # as it is if something came meanwhile
            watch.doubt = None
            watch.seen = _later(watch.seen, outcome.evidence.revision)

    def ends(self) -> Sequence[tuple[Watch, WatchEnd]]:
        """The watches that have ended since the last time, to be told so."""
        ends, self._ends = self._ends, []
        return ends

    def _begin(self, hello: feed_pb2.FeedHello) -> None:
        self.broke()  # in the middle of a stream it says that continuity was lost
        revision = Revision(hello.revision.store_id, hello.revision.sequence)
        if hello.digest_salt != self._salt:
            self._salt = hello.digest_salt
            self._recent.floor = None
            self._by_digest.clear()
            for watch in self._watches:
                self._index(watch)
        if self._recent.floor is None or not _covers(self._reached, revision):
            self._recent.begin(revision)
        self._position = revision
        self._reached = _later(self._reached, revision)
        for watch in tuple(self._watches):
            self._settle(watch)

    def _advance(self, revision: Revision) -> None:
        self._position = revision
        self._reached = _later(self._reached, revision)

    def _revoke(self, revocations: Iterable[feed_pb2.FeedRevocation]) -> None:
        position = self._position
        if position is None:
            return
        for revocation in revocations:
            match revocation.WhichOneof("subject"):
                case "session_digest":
                    digest = revocation.session_digest
                    for watch in tuple(self._by_digest.get(digest, ())):
                        self._end_revoked(watch)
                case "user_digest":
                    digest = revocation.user_digest
                    self._doubt(self._by_digest.get(digest, ()), SessionEndReason.USER_REVOKED)
                case "tenant_digest":
                    digest = revocation.tenant_digest
                    self._doubt(self._by_digest.get(digest, ()), SessionEndReason.TENANT_REVOKED)
                case subject:
                    # A key's digest is over a thumbprint that no verdict tells. All else only a newer sidecar knows.
                    is_key = subject == "key_digest"
                    reason = SessionEndReason.KEY_REVOKED if is_key else SessionEndReason.UNVERIFIABLE
                    self._doubt(self._watches, reason)
                    self._recent.add_of_any_session(position)
                    continue
            self._recent.add(digest, position)

    def _settle(self, watch: Watch) -> None:
        """Find out what a watch has missed by the time that the stream has come to."""
        missed = self._missed(watch)
        if missed is SessionEndReason.SESSION_REVOKED:
            self._end_revoked(watch)
        elif missed is not None or watch.question is not None:
            self._suspect(watch, missed)

    def _missed(self, watch: Watch) -> SessionEndReason | None:
        """What it would end with if nobody could be asked. None: nothing."""
        if watch.seen is None or not self._recent.reach_back_to(watch.seen):
            return SessionEndReason.UNVERIFIABLE
        for reason, digest in watch.digests:
            if self._recent.has(digest, watch.seen):
                return reason
        return SessionEndReason.UNVERIFIABLE if self._recent.has_any_session(watch.seen) else None

    def _doubt(self, watches: Iterable[Watch], reason: SessionEndReason) -> None:
        for watch in tuple(watches):
            if not _covers(watch.seen, self._position):
                self._suspect(watch, reason)

    def _suspect(self, watch: Watch, doubt: SessionEndReason | None) -> None:
        watch.doubt = watch.doubt or doubt
        self._suspects[watch] = None
        if watch.question is None:
            self._lose_token(watch)

    def _lose_token(self, watch: Watch) -> None:
        """Judge it as one that nobody can be asked about."""
        watch.question = None
        self._suspects.pop(watch, None)
        if watch.doubt is not None:
            self._end(watch, SessionEnded(watch.doubt, NextAction.REFRESH))

    def _reject(self, watch: Watch, rejection: Rejection) -> None:
        if rejection.reason is RejectionReason.EXPIRED:
            if watch.outlives_token:
                self._lose_token(watch)
                return
            reason = SessionEndReason.TOKEN_EXPIRED
        else:
            reason = SessionEndReason.__members__.get(rejection.reason, SessionEndReason.TOKEN_REJECTED)
        self._end(watch, SessionEnded(reason, rejection.next_action, rejection))

    def _end_revoked(self, watch: Watch) -> None:
        self._end(watch, SessionEnded(SessionEndReason.SESSION_REVOKED, NextAction.REAUTHENTICATE))

    def _end(self, watch: Watch, end: WatchEnd) -> None:
        self._forget(watch)
        self._ends.append((watch, end))

    def _forget(self, watch: Watch) -> None:
        self._watches.pop(watch, None)
        self._suspects.pop(watch, None)
        self._unanswered.pop(watch, None)
        self._expiries.remove(watch)
        for _, digest in watch.digests:
            watches = self._by_digest.get(digest, {})
            watches.pop(watch, None)
            if not watches:
                self._by_digest.pop(digest, None)

    def _index(self, watch: Watch) -> None:
        if not self._salt:
            return
        watch.digests = tuple(
            (reason, digest_of(self._salt, kind, watch.issuer, subject))
            for (kind, reason), subject in zip(_KINDS, watch.subjects, strict=True)
            if subject
        )
        for _, digest in watch.digests:
            self._by_digest.setdefault(digest, {})[watch] = None


def _covers(seen: Revision | None, revision: Revision | None) -> bool:
    """Whether who has seen the one has seen the other."""
    return (
        seen is not None
        and revision is not None
        and seen.store_id == revision.store_id
        and seen.sequence >= revision.sequence
    )


def _later(known: Revision | None, other: Revision | None) -> Revision | None:
    """The later of two; if they are of two stores, the other."""
    return known if other is None or _covers(known, other) else other
