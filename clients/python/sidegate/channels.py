"""What every channel of the client has in common: how it reconnects, what it retries."""

import json
import math

from sidegate.calls import MAX_MESSAGE_BYTES

_VERIFICATION = "sidegate.v1.VerificationService"

# gRPC spreads each backoff by a random fifth either way, and the call's deadline holds across all attempts.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": _VERIFICATION}],
            "retryPolicy": {
                "maxAttempts": 3,  # within the default deadline of 1 s there is no room for more
                "initialBackoff": "0.05s",
                "maxBackoff": "0.25s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {
            # No retry: had the first attempt ended the session, the second would say that the token is revoked.
            "name": [{"service": _VERIFICATION, "method": "SignOut"}],
        },
        {
            # Revokes carry a request_id and registering is idempotent, so repeating either is safe.
            "name": [{"service": "sidegate.v1.RevocationService"}, {"service": "sidegate.v1.SessionService"}],
            "retryPolicy": {
                "maxAttempts": 5,  # the most that gRPC allows; together they outlast a restart
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2.5,
                # A gRPC server that shuts down cancels calls that were sent before the client could know (grpc#41785).
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        },
    ]
}

CHANNEL_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),  # a call larger than its buffer (256 KiB) is not retried
    # A sidecar that comes back is found within 2 s (gRPC would wait up to 2 minutes).
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 2000),  # in spite of its name, how long one attempt to connect may take
    # A link that swallows everything is given up after 5 s (the timeout also becomes TCP_USER_TIMEOUT). Pings only
    # while a call is open: servers cut clients that ping idle connections.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Tokens and handles go to the sidecar and nowhere else, whatever http_proxy says.
    ("grpc.enable_http_proxy", 0),
]


def finite_timeout(timeout: float) -> float:
    """The timeout, in seconds. Raises: ValueError unless it is positive and finite: no call may wait for ever."""
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be a positive, finite number of seconds, not {timeout}")
    return timeout
