"""Inputs that are nearly right, which get further than noise does. All of it follows from the source of randomness."""

import random
from collections.abc import Callable, Sequence

from sidegate.v1 import feed_pb2, revocation_pb2, verification_pb2

from tests.fakes import wire
from tests.integration.access.scene import REVOCATION, SESSIONS

VERIFICATION = "/sidegate.v1.VerificationService"
WATCH = "/sidegate.v1.RevocationFeedService/WatchRevocations"
MARK = "\x1b]0;pwned\x07\r\n{"  # what nobody may find in a log as it stands
MAX_MUTATIONS = 4
ISSUER, USER = "https://issuer.example", "mallory"


def requests(token: str) -> dict[str, dict[str, bytes]]:
    """Good requests, by the plane that serves them and by method."""
    verify = verification_pb2.VerifyRequest(
        access_token=token, accepted_audiences=["a", MARK], tenant_id="t", check_database=True
    )
    verify.at_least_as_fresh.store_id = MARK
    register = revocation_pb2.RegisterSessionRequest(issuer=ISSUER, user_id=USER, session_handle=MARK, tenant_id="t")
    register.session_expire_time.seconds = 4_102_444_800
    data = {
        f"{VERIFICATION}/Verify": verify,
        f"{VERIFICATION}/BatchVerify": verification_pb2.BatchVerifyRequest(requests=[verify] * 3),
        f"{VERIFICATION}/SignOut": verification_pb2.SignOutRequest(access_token=token + MARK),
        f"{VERIFICATION}/GetServingStatus": verification_pb2.GetServingStatusRequest(),
        WATCH: feed_pb2.WatchRevocationsRequest(with_snapshot=True),
    }
    admin = {
        f"{REVOCATION}/RevokeSession": revocation_pb2.RevokeSessionRequest(session_handle=MARK, reason=MARK),
        f"{REVOCATION}/BatchRevokeSessions": revocation_pb2.BatchRevokeSessionsRequest(session_handles=["a", MARK]),
        f"{REVOCATION}/RevokeUserSessions": revocation_pb2.RevokeUserSessionsRequest(issuer=ISSUER, user_id=USER),
        f"{REVOCATION}/RevokeSigningKey": revocation_pb2.RevokeSigningKeyRequest(key_thumbprint="A" * 43),
        f"{REVOCATION}/ListRevocations": revocation_pb2.ListRevocationsRequest(page_size=3, page_token=MARK),
        f"{SESSIONS}/RegisterSession": register,
        f"{SESSIONS}/BatchRegisterSessions": revocation_pb2.BatchRegisterSessionsRequest(requests=[register] * 2),
        f"{SESSIONS}/GetSession": revocation_pb2.GetSessionRequest(session_handle=MARK),
        f"{SESSIONS}/ListSessions": revocation_pb2.ListSessionsRequest(issuer=ISSUER, user_id=USER, page_size=2),
        WATCH: feed_pb2.WatchRevocationsRequest(with_snapshot=True),
    }
    return {
        "tcp": {method: message.SerializeToString() for method, message in data.items()},
        "tls": {method: message.SerializeToString() for method, message in admin.items()},
    }


def frames(token: str) -> list[bytes]:
    """What a client of good will sends, frame by frame, and a path that none would."""
    asked = wire.message(verification_pb2.VerifyRequest(access_token=token).SerializeToString())
    return [
        wire.hello(),
        wire.settings(),
        wire.headers(1, wire.header_block(), "END_HEADERS"),
        wire.data(1, asked, "END_STREAM"),
        wire.window_update(0, 65_535),
        wire.ping(),
        wire.headers(3, wire.header_block(f"/{MARK}"), "END_HEADERS"),
        wire.data(3, wire.message(b""), "END_STREAM"),
        wire.split_headers(5, wire.header_block(extra=[("authorization", f"Bearer {MARK}"), ("x-long", "x" * 20_000)])),
        wire.reset(5),
    ]


def mutated_frames(chance: random.Random, whole: Sequence[bytes]) -> bytes:
    """Frames in another order, some of them changed, left out or twice. The preface mostly stays: much else follows."""
    rest = [*whole[1:]]
    for _ in range(chance.randint(1, MAX_MUTATIONS)):
        place = chance.randrange(len(rest))
        match chance.randrange(4):
            case 0:
                rest[place] = mutated(chance, rest[place])
            case 1:
                rest.insert(chance.randrange(len(rest)), rest[place])
            case 2 if len(rest) > 1:
                del rest[place]
            case _:
                chance.shuffle(rest)
    first = mutated(chance, whole[0]) if chance.random() < 0.1 else whole[0]
    return first + b"".join(rest)


def mutated(chance: random.Random, whole: bytes) -> bytes:
    """Bytes with some of them changed, cut out, repeated or put in."""
    for _ in range(chance.randint(1, MAX_MUTATIONS)):
        whole = chance.choice(_MUTATIONS)(chance, whole)
    return whole


def _flip(chance: random.Random, whole: bytes) -> bytes:
    if not whole:
        return whole
    place = chance.randrange(len(whole))
    return whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]


def _cut(chance: random.Random, whole: bytes) -> bytes:
    start = chance.randint(0, len(whole))
    return whole[:start] + whole[start + chance.randint(0, 8) :]


def _truncate(chance: random.Random, whole: bytes) -> bytes:
    return whole[: chance.randint(0, len(whole))]


def _repeat(chance: random.Random, whole: bytes) -> bytes:
    start = chance.randint(0, len(whole))
    return whole[:start] + whole[start : start + chance.randint(0, 64)] * chance.randint(2, 20) + whole[start:]


def _insert(chance: random.Random, whole: bytes) -> bytes:
    start = chance.randint(0, len(whole))
    extreme = chance.choice([b"\xff" * 10, b"\0" * 10, b"\x7f\xff\xff\xff", MARK.encode(), chance.randbytes(8)])
    return whole[:start] + extreme + whole[start:]


_MUTATIONS: Sequence[Callable[[random.Random, bytes], bytes]] = (_flip, _cut, _truncate, _repeat, _insert)
