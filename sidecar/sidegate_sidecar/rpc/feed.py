"""RevocationFeedService: not yet."""

from collections.abc import AsyncIterator

from sidegate.v1 import feed_pb2 as v1
from sidegate.v1 import feed_pb2_grpc

from sidegate_sidecar.errors import NotSupported
from sidegate_sidecar.rpc.boundary import Context


class RevocationFeedService(feed_pb2_grpc.RevocationFeedServiceServicer):
    """Served all the same, for the error of a method that nobody serves would carry no ErrorInfo."""

    def WatchRevocations(
        self, request: v1.WatchRevocationsRequest, context: Context
    ) -> AsyncIterator[v1.WatchRevocationsResponse]:
        """As feed.proto says."""
        raise NotSupported("this release has no feed yet")
