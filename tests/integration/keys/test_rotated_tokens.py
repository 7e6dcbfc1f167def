"""Rotation as tokens meet it: the verifier, a key ring, and an issuer over HTTP that changes its keys."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sidegate_sidecar.authentication import Authenticator
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.model import SECOND, Demand, Reason, Rejection
from sidegate_sidecar.tokens import IssuerPolicy
from sidegate_sidecar.verifier import Verifier

from tests.integration.keys.issuer_server import IssuerServer
from tests.integration.keys.rings import by_url, started, until
from tests.unit.keys.key_material import Jwk, base64url

ROTATIONS = 200
VERIFIERS = 50
POLICY = IssuerPolicy(issuer="issuer", session_claim="sid", max_token_lifetime=24 * 3600 * SECOND, leeway=30 * SECOND)

handles = count(1)


@dataclass
class SigningKey:
    """A key that the issuer signs with, and one token that was handed out early and is shown again and again."""

    key_id: str
    private_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    known_token: str = ""

    def __post_init__(self) -> None:
        self.known_token = self.new_token()

    def jwk(self) -> Jwk:
        raw = self.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(raw), "kid": self.key_id}

    def new_token(self) -> str:
        now = int(time.time())
        claims = {"iss": POLICY.issuer, "sub": "alice", "sid": f"s-{next(handles)}", "iat": now, "exp": now + 3600}
        return jwt.encode(claims, self.private_key, "EdDSA", headers={"kid": self.key_id})


@asynccontextmanager
async def verifying(issuer: IssuerServer, *, refresh: float) -> AsyncGenerator[Verifier]:
    """`refresh` in seconds of a time lapse of a hundred."""
    async with started(by_url(issuer, refresh=refresh)) as ring:
        authenticator = Authenticator([POLICY], ring, remembered=1000)
        yield Verifier(authenticator, None, clock=lambda: time.time_ns() // 1000)


async def refusal(verifier: Verifier, token: str) -> Reason | None:
    """Why the token is refused. None: it is good."""
    outcome = (await verifier.verify(Demand(token))).outcome
    return outcome.reason if isinstance(outcome, Rejection) else None


async def decided_refusal(verifier: Verifier, token: str) -> Reason | None:
    """As `refusal`, asking again while nobody can say: half a second may be too short for a fetch on a busy machine."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await refusal(verifier, token)
            except KeysUnavailable:
                await asyncio.sleep(0.01)


async def fetched_once_more(issuer: IssuerServer) -> None:
    """Return once a fetch that began after this call has been taken in.

    The fetches of one issuer follow each other, so the second from now on begins when the first is over.
    """
    before = len(issuer.requests)
    await until(lambda: len(issuer.requests) >= before + 2)


async def verify_for_ever(verifier: Verifier, current: list[SigningKey], verified: list[str]) -> None:
    """Show a remembered and a new token of the key that the issuer signs with at the time. Ends with a refusal."""
    while True:
        for token in (current[0].known_token, current[0].new_token()):
            assert await refusal(verifier, token) is None
            verified.append(current[0].key_id)
        await asyncio.sleep(0.1)  # fifty of them, and the processor is not theirs alone


async def test_200_rotations_refuse_no_good_token_and_accept_none_of_a_withdrawn_key(issuer: IssuerServer) -> None:
    current = [SigningKey("key 0")]
    verified: list[str] = []
    issuer.publish(current[0].jwk())
    async with verifying(issuer, refresh=0.5) as verifier:
        tasks = [asyncio.create_task(verify_for_ever(verifier, current, verified)) for _ in range(VERIFIERS)]
        for number in range(1, ROTATIONS + 1):
            old, new = current[0], SigningKey(f"key {number}")
            issuer.publish(old.jwk(), new.jwk())
            await fetched_once_more(issuer)
            # The issuer may sign with either, until everybody has had the time to learn of the new one.
            assert [await refusal(verifier, key.known_token) for key in (old, new)] == [None, None]

            current[0] = new
            issuer.publish(new.jwk())
            await fetched_once_more(issuer)
            assert await decided_refusal(verifier, old.known_token) is Reason.UNKNOWN_KEY
            assert await decided_refusal(verifier, old.new_token()) is Reason.UNKNOWN_KEY

        assert not [task.exception() for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(set(verified)) > ROTATIONS / 20  # they went on throughout, if not with every key
    assert len(verified) > VERIFIERS


async def test_a_new_keys_tokens_are_good_long_before_the_refresh_by_one_fetch_that_all_share(
    issuer: IssuerServer,
) -> None:
    old, new = SigningKey("old"), SigningKey("new")
    issuer.publish(old.jwk())
    async with verifying(issuer, refresh=360_000) as verifier:
        assert await refusal(verifier, old.known_token) is None
        issuer.publish(old.jwk(), new.jwk())

        answers = await asyncio.gather(*(refusal(verifier, new.new_token()) for _ in range(VERIFIERS)))

        assert answers == [None] * VERIFIERS
        assert await refusal(verifier, old.known_token) is None
        assert len(issuer.requests) == 2


async def test_a_key_that_is_withdrawn_and_published_again_makes_its_tokens_good_again(issuer: IssuerServer) -> None:
    key, other = SigningKey("key"), SigningKey("other")
    issuer.publish(key.jwk(), other.jwk())
    async with verifying(issuer, refresh=0.5) as verifier:
        answers: list[Reason | None] = []
        for members in ((key, other), (other,), (key, other)):
            issuer.publish(*(member.jwk() for member in members))
            await fetched_once_more(issuer)
            answers.append(await decided_refusal(verifier, key.known_token))

        assert answers == [None, Reason.UNKNOWN_KEY, None]


async def test_another_key_under_the_same_kid_ends_the_first_ones_remembered_tokens(issuer: IssuerServer) -> None:
    first, second = SigningKey("same"), SigningKey("same")
    issuer.publish(first.jwk())
    async with verifying(issuer, refresh=0.5) as verifier:
        assert await refusal(verifier, first.known_token) is None
        issuer.publish(second.jwk())
        await fetched_once_more(issuer)

        assert await refusal(verifier, first.known_token) is Reason.BAD_SIGNATURE
        assert await refusal(verifier, second.known_token) is None
