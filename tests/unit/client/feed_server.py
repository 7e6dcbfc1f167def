"""A sidecar that verifies and has a feed: real servers, whose feed says what a test tells it to, on as many streams as
there are.
"""

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from sidegate.digests import SESSION, USER, digest_of
from sidegate.v1 import feed_pb2, feed_pb2_grpc, session_pb2, verification_pb2, verification_pb2_grpc
from sidegate.v1.feed_pb2 import WatchRevocationsResponse as Response

from tests.unit.client.answers import rejected
from tests.unit.client.fake_sidecar import Unscripted

SALT = b"sixteen bytes ok"
ISSUER = "https://login.example"
PATIENCE_SECONDS = 30.0


@dataclass
class Stream:
    """One watch, from the revision `after`, if it has one. None in `events` ends it."""

    after: session_pb2.Revision
    events: "queue.SimpleQueue[Response | None]" = field(default_factory=queue.SimpleQueue[Response | None])
    ended: threading.Event = field(default_factory=threading.Event)


class FeedServer(feed_pb2_grpc.RevocationFeedServiceServicer):
    """Every token is the good session of the handle that it is, until that is revoked.

    Attributes:
        verified: The tokens that were asked about.
        streams: All that were opened.
        beating: Whether streams get a checkpoint when they begin, and each quarter of a second.
        resuming: Whether a stream begins where it was asked to. What it missed is for the test to send.
        lifetime: Of tokens, in seconds.
        refusal: The status that watches are refused with. None: they are not.
        held: While cleared, Verify waits after it has decided.
    """

    def __init__(self, address: str) -> None:
        self.sequence = 0
        self.revoked: set[str] = set()
        self.verified: list[str] = []
        self.streams: list[Stream] = []
        self.beating = True
        self.resuming = False
        self.lifetime = 3600
        self.refusal: grpc.StatusCode | None = None
        self.watches = 0
        self.held = threading.Event()
        self.held.set()
        self.decided = threading.Event()
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(32, thread_name_prefix="feed-server"))
        feed_pb2_grpc.add_RevocationFeedServiceServicer_to_server(self, self._server)
        verification: Any = Unscripted()  # of all but these
        verification.Verify = self._verify
        verification.BatchVerify = self._batch_verify
        verification.SignOut = self._sign_out
        verification_pb2_grpc.add_VerificationServiceServicer_to_server(verification, self._server)
        self._server.add_insecure_port(address)
        self.target = address
        self._server.start()

    def revision(self) -> session_pb2.Revision:
        return session_pb2.Revision(store_id="store", sequence=self.sequence)

    def checkpoint(self) -> Response:
        sent = Timestamp()
        sent.FromNanoseconds(time.time_ns())
        checkpoint = feed_pb2.FeedCheckpoint(revision=self.revision(), sent_time=sent)
        checkpoint.last_read_age.FromMilliseconds(1)
        return Response(checkpoint=checkpoint)

    def revoke(self, handle: str, *, telling: bool = True) -> None:
        """Refuse it from now on, and tell the feed."""
        with self._changed:  # to the end: a checkpoint in between would say that it was delivered
            self.revoked.add(handle)
            self.sequence += 1
            if telling:
                self.tell(handle)

    def revoke_user(self) -> None:
        """Tell the feed that sessions of the one user were revoked. Which of them, only `revoked` says."""
        with self._changed:
            self.sequence += 1
            revocation = feed_pb2.FeedRevocation(user_digest=digest_of(SALT, USER, ISSUER, "anna"))
            told = feed_pb2.FeedRevocations(revision=self.revision(), revocations=[revocation])
            self.send(Response(revocations=told))

    def tell(self, handle: str) -> None:
        revocation = feed_pb2.FeedRevocation(session_digest=digest_of(SALT, SESSION, ISSUER, handle))
        self.send(Response(revocations=feed_pb2.FeedRevocations(revision=self.revision(), revocations=[revocation])))

    def send(self, message: Response | None) -> None:
        """Send it on every open stream. None: end them."""
        with self._changed:
            for stream in self.streams:
                stream.events.put(message)

    def wait_for_stream(self, number: int) -> Stream:
        """The stream of that number, the first being 1."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.streams) >= number, PATIENCE_SECONDS)
            return self.streams[number - 1]

    def wait_for_watches(self, count: int) -> None:
        """Return once so many watches were tried, refused ones included."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.watches >= count, PATIENCE_SECONDS)

    def WatchRevocations(  # noqa: N802 - the name of the RPC
        self, request: feed_pb2.WatchRevocationsRequest, context: grpc.ServicerContext
    ) -> Iterator[Response]:
        stream = Stream(request.after)
        with self._changed:
            self.watches += 1
            self._changed.notify_all()
            if self.refusal is not None:
                context.abort(self.refusal, "so it was scripted")
            self.streams.append(stream)
            self._changed.notify_all()
            beginning = request.after if self.resuming and request.HasField("after") else self.revision()
            hello = Response(hello=feed_pb2.FeedHello(revision=beginning, digest_salt=SALT))
            first = self.checkpoint()

        def end() -> None:
            stream.ended.set()
            stream.events.put(None)

        if not context.add_callback(end):
            return
        yield hello
        if self.beating:
            yield first
        while True:
            try:
                event = stream.events.get(timeout=0.25)
            except queue.Empty:
                with self._changed:
                    beat = self.checkpoint() if self.beating and stream.events.empty() else None
                if beat is not None:
                    yield beat
                continue
            if event is None:
                return
            yield event

    def _verify(
        self, request: verification_pb2.VerifyRequest, context: grpc.ServicerContext
    ) -> verification_pb2.VerifyResponse:
        with self._changed:
            self.verified.append(request.access_token)
            answer = self._decide(request.access_token)
        self.decided.set()
        self.held.wait(PATIENCE_SECONDS)
        return answer

    def _batch_verify(
        self, request: verification_pb2.BatchVerifyRequest, context: grpc.ServicerContext
    ) -> verification_pb2.BatchVerifyResponse:
        results = [
            verification_pb2.BatchVerifyResult(response=self._verify(question, context))
            for question in request.requests
        ]
        return verification_pb2.BatchVerifyResponse(results=results)

    def _sign_out(
        self, request: verification_pb2.SignOutRequest, context: grpc.ServicerContext
    ) -> verification_pb2.SignOutResponse:
        """The feed is for the test to tell."""
        self.revoke(request.access_token, telling=False)
        return verification_pb2.SignOutResponse(revoked_count=1, revision=self.revision())

    def _decide(self, handle: str) -> verification_pb2.VerifyResponse:
        if handle in self.revoked:
            return rejected(session_pb2.REJECTION_REASON_SESSION_REVOKED)
        session = session_pb2.Session(issuer=ISSUER, session_handle=handle, user_id="anna", claims_json='{"a": [1]}')
        session.token_expire_time.FromSeconds(int(time.time()) + self.lifetime)
        return verification_pb2.VerifyResponse(
            session=session,
            evidence=session_pb2.Evidence(source=session_pb2.EVIDENCE_SOURCE_LOCAL, revision=self.revision()),
        )

    def stop(self) -> None:
        """End everything and free the address."""
        self.held.set()
        self._server.stop(None).wait(PATIENCE_SECONDS)
