"""What the feed told of late, for sessions that were verified before they are watched. Pure."""

from sidegate.verdicts import Revision

MAX_DIGESTS = 10_000  # about 2 MB; more revocations than that between a verification and its watch are unlikely


class RecentRevocations:
    """By digest, the revision at which it was last told. Complete from `floor` on.

    Attributes:
        floor: Of what came after it, all is known. None: nothing is.
    """

    def __init__(self) -> None:
        self.floor: Revision | None = None
        self._sequences: dict[bytes, int] = {}  # oldest first
        self._of_any_session = -1

    def begin(self, revision: Revision) -> None:
        """Know nothing up to there, and all from there on."""
        self.floor = revision
        self._sequences.clear()
        self._of_any_session = -1

    def add(self, digest: bytes, revision: Revision) -> None:
        """Take in a digest that was told by a message that ended there."""
        sequence = max(revision.sequence, self._sequences.pop(digest, -1))  # a resumed feed may repeat itself
        self._sequences[digest] = sequence
        if len(self._sequences) > MAX_DIGESTS:
            oldest = self._sequences.pop(next(iter(self._sequences)))
            # What was repeated is out of order: of what comes after the latest that was let go of, all is known.
            floor = oldest if self.floor is None else max(oldest, self.floor.sequence)
            self.floor = Revision(revision.store_id, floor)

    def add_of_any_session(self, revision: Revision) -> None:
        """Take in what may concern every session, as a key's revocation does."""
        self._of_any_session = max(revision.sequence, self._of_any_session)

    def reach_back_to(self, revision: Revision | None) -> bool:
        """Whether all is known that came after that revision."""
        floor = self.floor
        return (
            floor is not None
            and revision is not None
            and floor.store_id == revision.store_id
            and floor.sequence <= revision.sequence
        )

    def has(self, digest: bytes, since: Revision) -> bool:
        """Whether it was told after that revision."""
        return self._sequences.get(digest, -1) > since.sequence

    def has_any_session(self, since: Revision) -> bool:
        """Whether something was told after that revision that may concern every session."""
        return self._of_any_session > since.sequence
