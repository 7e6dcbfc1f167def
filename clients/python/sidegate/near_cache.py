"""The near cache: verdicts kept in this process for as long as the revocation feed vouches for them.

Pure, like h11: messages and clock readings go in, what happened comes out. No gRPC, no threads, no clock of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sidegate.kept_sessions import KeptSession, KeptSessions, Question
from sidegate.lateness import Lateness
from sidegate.v1 import feed_pb2, session_pb2
from sidegate.verdicts import Revision, Session, Verdict

LATE_SECONDS = 3.0  # the most by which a revocation may be late: as long as a healed partition takes to be noticed
OLD_SECONDS = 1.5  # for a checkpoint that arrives: past half the limit hits would stop until the next one
STALLED_SECONDS = 5.0  # without a message; checkpoints come every second


@dataclass(frozen=True, slots=True)
class NearCacheStatistics:
    """What the near cache did since the client was made, or since the process was forked.

    Attributes:
        hits: Calls answered without asking the sidecar.
        misses: Calls that it might have answered, had it known the token.
        bypassed_for_database: Calls with `check_database` or `at_least_as_fresh`, which are always asked.
        bypassed_without_feed: Calls while there was no feed, or none yet.
        bypassed_late: Calls while the feed, or the sidecar's own picture of the revocations, was more than 3 s old, or
            the feed had not come yet to this client's own sign-out, or to what an earlier stream had delivered.
        stored: Verdicts that were kept.
        not_stored: Good verdicts that were not, e.g. because a revocation arrived that they may not have seen, or
            because one alone takes more memory than all may.
        dropped_by_revocation: Kept verdicts that a revocation ended.
        evicted: Kept verdicts that made room for others.
        entries: How many are kept now.
        bytes: How much memory they take, by a careful estimate.
    """

    hits: int = 0
    misses: int = 0
    bypassed_for_database: int = 0
    bypassed_without_feed: int = 0
    bypassed_late: int = 0
    stored: int = 0
    not_stored: int = 0
    dropped_by_revocation: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0


class NearCache:
    """Kept verdicts and the state of the feed that vouches for them. For one thread at a time.

    A verdict is kept if it has taken in all that the feed has delivered: its revision is not below the feed's. What
    came later the feed will still deliver, and that drops it. Two things have no revision: a change of an issuer's keys
    and the beginning or end of a stream. So `epoch` counts them, and a call that began in another epoch is not kept.

    A new stream may stand behind an earlier one: another sidecar serves it, or the same has been restarted. What that
    one has delivered its sidecar would still accept, and so nothing is kept or handed out until the stream has come as
    far. One that never does is late before long; or the log has lost its end unnoticed, and every call is asked.

    Answers of a database (`check_database`) are kept too, for the sidecar decides all else as for any other question,
    its revocation index included: whoever asks less would have been told the same.

    Every method takes readings of two clocks, in seconds: `steady` never steps and runs through suspension, `wall` is
    the time since the epoch.

    Args:
        max_entries: How many verdicts may be kept.
        max_bytes: How much memory they may take.
        reached: What `reached` begins with.

    Attributes:
        epoch: See above.
        reached: By store, the sequence up to which any stream has delivered, or a sign-out of this client's returned. A
            store is another only after a backup was restored, so there are few.
    """

    def __init__(self, max_entries: int, max_bytes: int, reached: Mapping[str, int]) -> None:
        self.epoch = 0
        self.reached = dict(reached)
        self._kept = KeptSessions(max_entries, max_bytes)
        self._lateness: Lateness | None = None  # of the open stream
        self._last_arrival = 0.0  # of any message, or the opening
        self._last_checkpoint = 0.0  # its arrival, or the opening
        self._position: Revision | None = None  # all up to here was delivered
        self._is_behind = False  # of what was reached
        self._salt = b""
        # Hits are allowed until then. The wall clock's limit is for a machine whose steady clock stops in suspension.
        self._usable_until = -math.inf
        self._usable_until_wall = -math.inf
        self._hits = self._misses = self._strict = self._unfed = self._late = 0
        self._stored = self._not_stored = self._revoked = 0

    # The calls.

    def find(self, question: Question, steady: float, wall: float) -> Session | None:
        """The session of a token that is certainly good still. None: ask the sidecar."""
        if steady >= self._usable_until or wall >= self._usable_until_wall or self._is_behind:
            if self._position is None:
                self._unfed += 1
            else:
                self._late += 1
            return None
        entry = self._kept.find(question)
        if entry is None:
            self._misses += 1
            return None
        if wall >= entry.expires:  # RFC 7519 section 4.1.4: `exp` is exclusive
            self._kept.drop(question)
            self._misses += 1
            return None
        self._hits += 1
        return entry.session.copy()

    def count_strict(self) -> None:
        """Count a question that is always asked."""
        self._strict += 1

    def keep(self, question: Question, verdict: Verdict, epoch: int, steady: float, wall: float) -> None:
        """Keep a good verdict, if the feed will say when it ends. Any other ends the one that was kept.

        Args:
            epoch: `epoch` as it was before the question was asked.
        """
        if not isinstance(verdict.outcome, Session):
            # The feed may not have come yet to what the sidecar has, or what a stricter question has found.
            self._kept.drop(question)
            return
        revision, position = verdict.evidence.revision, self._position
        if (
            epoch != self.epoch
            or position is None
            or revision is None
            or revision.store_id != position.store_id
            or revision.sequence < self.reached[position.store_id]
            or steady >= self._usable_until
            or wall >= self._usable_until_wall
        ):
            self._not_stored += 1
            return
        if self._kept.keep(question, KeptSession(question, verdict.outcome, self._salt)):
            self._stored += 1
        else:
            self._not_stored += 1

    def signed_out(self, revision: Revision) -> None:
        """Allow no hit before the feed has come to that revision: this client's own sign-out has returned it.

        The token need not be kept for that, and the session may have others that are.
        """
        self._reach(revision)
        if self._position is None or self._position.store_id != revision.store_id:
            self._empty()  # of a store that the feed does not know yet; it will begin anew

    # The feed.

    def opened(self, steady: float, wall: float) -> None:
        """A stream is about to be opened."""
        self._forget()
        self._lateness = Lateness(steady, wall)
        self._last_arrival = self._last_checkpoint = steady

    def take(self, message: feed_pb2.WatchRevocationsResponse, steady: float, wall: float) -> bool:
        """Take in what the stream delivered. False: the stream is of no use any more; end it and open another."""
        self._last_arrival = steady
        match message.WhichOneof("event"):
            case "hello":
                return self._begin(message.hello)
            case "revocations":
                return self._advance(message.revocations.revision) and self._revoke(message.revocations)
            case "key_set_change":
                # A verdict does not say which generation it rests on. What is asked from now on rests on the new one.
                self.epoch += 1
                self._kept.drop_issuer(message.key_set_change.issuer)
            case "checkpoint":
                return self._advance(message.checkpoint.revision) and self._vouch(message.checkpoint, steady, wall)
            case _:
                self._empty()  # of a newer sidecar; it may end whatever is kept
        return self._position is not None

    def broke(self) -> None:
        """The stream has ended, whoever ended it."""
        self._lateness = None
        self._forget()

    def is_stalled(self, steady: float) -> bool:
        """Whether the open stream has been silent for so long that a new one is worth trying."""
        return self._lateness is not None and steady - self._last_arrival > STALLED_SECONDS

    def statistics(self) -> NearCacheStatistics:
        """What happened so far."""
        return NearCacheStatistics(
            hits=self._hits,
            misses=self._misses,
            bypassed_for_database=self._strict,
            bypassed_without_feed=self._unfed,
            bypassed_late=self._late,
            stored=self._stored,
            not_stored=self._not_stored,
            dropped_by_revocation=self._revoked,
            evicted=self._kept.evictions,
            entries=len(self._kept),
            bytes=self._kept.bytes,
        )

    def _begin(self, hello: feed_pb2.FeedHello) -> bool:
        """Start at a position, with nothing. Not usable before the next checkpoint: a hello does not say when it was
        sent.
        """
        self._forget()
        if not 0 < len(hello.digest_salt) <= 64:  # RFC 7693 section 2.1: BLAKE2b takes a key of up to 64 bytes
            return False
        self._salt = hello.digest_salt
        self._move_to(Revision(hello.revision.store_id, hello.revision.sequence))
        return True

    def _advance(self, revision: session_pb2.Revision) -> bool:
        """Move on to a position. False: it is not ahead, so this is no stream to rely on."""
        position = self._position
        if position is None or revision.store_id != position.store_id or revision.sequence < position.sequence:
            return False
        self._move_to(Revision(position.store_id, revision.sequence))
        return True

    def _move_to(self, position: Revision) -> None:
        self._position = position
        self._reach(position)

    def _reach(self, revision: Revision) -> None:
        known = self.reached.get(revision.store_id, revision.sequence)
        self.reached[revision.store_id] = max(known, revision.sequence)
        position = self._position
        self._is_behind = position is not None and position.sequence < self.reached[position.store_id]

    def _revoke(self, revocations: feed_pb2.FeedRevocations) -> bool:
        for revocation in revocations.revocations:
            match revocation.WhichOneof("subject"):
                case "session_digest":
                    self._revoked += self._kept.drop_digest(revocation.session_digest)
                case "user_digest":
                    self._revoked += self._kept.drop_digest(revocation.user_digest)
                case "tenant_digest":
                    self._revoked += self._kept.drop_digest(revocation.tenant_digest)
                case _:
                    # A key, or what only a newer sidecar knows. A key's digest is over a thumbprint that no verdict
                    # tells, so it could be any verdict's.
                    self._revoked += len(self._kept)
                    self._empty()
        return True

    def _vouch(self, checkpoint: feed_pb2.FeedCheckpoint, steady: float, wall: float) -> bool:
        """Allow hits for as long as neither this checkpoint nor the sidecar's own picture is late."""
        if self._lateness is None or not checkpoint.HasField("sent_time"):
            return False
        sent = checkpoint.sent_time.seconds + checkpoint.sent_time.nanos / 1e9
        age = self._lateness.age(sent, steady, wall)
        silence = steady - self._last_checkpoint
        self._last_checkpoint = steady
        # What comes after a long silence may have lain in a buffer all the while. That, a slow link and a clock that
        # was set cannot be told apart; a new stream measures anew.
        if age is None or age > OLD_SECONDS or silence > LATE_SECONDS:
            return False
        if not checkpoint.HasField("last_read_age"):
            self._stop_hits()
            return True
        # What was not read when it was sent is later by that much.
        read_age = max(0.0, checkpoint.last_read_age.seconds + checkpoint.last_read_age.nanos / 1e9)
        left = LATE_SECONDS - age - read_age
        self._usable_until, self._usable_until_wall = steady + left, wall + left
        return True

    def _forget(self) -> None:
        """Between two positions."""
        self._empty()
        self._position = None
        self._stop_hits()

    def _empty(self) -> None:
        self.epoch += 1
        self._kept.clear()

    def _stop_hits(self) -> None:
        self._usable_until = self._usable_until_wall = -math.inf
