"""Which questions may share a batch: those that take about as long. Pure, and safe for threads.

Nobody in a batch is answered before its slowest question. Two kinds are slow: what may have to be looked up in the
database, and a token of a key that the sidecar lacks, for which it asks the issuer (up to 500 ms). The latter are known
by their headers, which name the key: until the sidecar has accepted a token of that header, they keep to themselves.
So who sends tokens of keys that do not exist holds up nobody but others of that kind.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from sidegate.v1.verification_pb2 import VerifyRequest
from sidegate.verdicts import RejectionReason, Session, Verdict

MAX_HEADERS = 256  # of several keys of several issuers; more are forgotten all at once, and proven again
MAX_HEADER_CHARS = 1024  # usual ones have 100; a longer one is never proven

LaneT = TypeVar("LaneT")


class Lanes(Generic[LaneT]):
    """A lane for each kind.

    Args:
        make: Makes a lane.
    """

    def __init__(self, make: Callable[[], LaneT]) -> None:
        self.prompt = make()
        self.unproven = make()
        self.store = make()
        self._proven: set[str] = set()

    def lane_of(self, question: VerifyRequest) -> LaneT:
        """Where a question travels."""
        if question.check_database or question.HasField("at_least_as_fresh"):  # the sidecar may ask its database
            return self.store
        header = _header_of(question)
        return self.unproven if header and header not in self._proven else self.prompt

    def learn(self, lane: LaneT, question: VerifyRequest, verdict: Verdict) -> None:
        """Take in what became of a question that travelled there."""
        if isinstance(verdict.outcome, Session):
            if lane is self.prompt:
                return  # proven already; the usual case, and it should cost nothing
            header = _header_of(question)
            if header and header not in self._proven and len(header) <= MAX_HEADER_CHARS:
                if len(self._proven) >= MAX_HEADERS:
                    self._proven.clear()
                self._proven.add(header)
        elif verdict.outcome.reason is RejectionReason.UNKNOWN_KEY:
            self._proven.discard(_header_of(question))  # the issuer has withdrawn it


def _header_of(question: VerifyRequest) -> str:
    """The first part of a JWS (RFC 7515 section 7.1). Empty: it is none, and the sidecar says so at once."""
    token = question.access_token
    return token[: max(token.find("."), 0)]
