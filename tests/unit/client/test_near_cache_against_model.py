"""The near cache under everything that can happen to it, against a model that knows the true time and the whole log.

One host: the sidecar and the client read the same wall clock, which may be set at any moment. Messages wait on the wire
for as long as the machine likes: a stall, a stopped process and a suspension look alike from here.
"""

from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sidegate import Evidence, EvidenceSource, NextAction, Rejection, RejectionReason, Revision, Session, Verdict
from sidegate.digests import SESSION, TENANT, USER, digest_of
from sidegate.shared_near_cache import Pending, SharedNearCache
from sidegate.v1 import feed_pb2, session_pb2
from sidegate.v1.feed_pb2 import WatchRevocationsResponse as Response

LIMIT = 3.0
ISSUERS = ("https://a.example", "https://b.example")
EPOCH = 1_700_000_000.0


@dataclass(frozen=True)
class Token:
    issuer: str
    handle: str
    user: str
    tenant: str
    audience: str
    lifetime: float
    key: str
    life: int = 0

    @property
    def text(self) -> str:
        return f"{self.issuer}.{self.handle}.{self.user}.{self.key}.{self.life}"

    def anew(self) -> "Token":
        """One that no revocation so far has anything to do with."""
        life = self.life + 1

        def renamed(name: str) -> str:
            return name and f"{name.partition('~')[0]}~{life}"

        return replace(
            self,
            life=life,
            handle=renamed(self.handle),
            user=renamed(self.user),
            tenant=renamed(self.tenant),
            key=renamed(self.key),
        )


TOKENS = [
    Token(ISSUERS[0], "s-1", "anna", "acme", "api", 1e6, "k1"),
    Token(ISSUERS[0], "s-2", "anna", "acme", "web", 20.0, "k1"),
    Token(ISSUERS[0], "", "bert", "", "api", 1e6, "k2"),
    Token(ISSUERS[1], "s-1", "anna", "acme", "api", 1e6, "k3"),
]


@dataclass(frozen=True)
class Ask:
    """A question, in the terms of `verify`. `who` is a place among the present tokens."""

    who: int
    audiences: tuple[str, ...] = ()
    tenant: Literal["any", "own", "other"] = "any"
    check_database: bool = False
    fresh: bool = False


asks = st.builds(
    Ask,
    st.integers(0, 3),
    st.sampled_from([(), (), ("api",), ("web", "api")]),
    st.sampled_from(["any", "any", "own", "other"]),
    st.sampled_from([False, False, True]),
    st.sampled_from([False, False, True]),
)

STEPS = [-3600.0, -3.0, -2.0, -1.0, -0.4, 0.4, 1.0, 2.0, 3.0, 3600.0]

Kind: TypeAlias = Literal["session", "user", "tenant", "key"]


@dataclass(frozen=True)
class Event:
    """What ends sessions. `generation`: an issuer's keys changed, and its tokens of before are refused."""

    number: int
    true_time: float
    kind: Kind | Literal["generation"]
    issuer: str
    subject: str

    def ends(self, token: Token) -> bool:
        if token.issuer != self.issuer:
            return False
        named = {"session": token.handle, "user": token.user, "tenant": token.tenant, "key": token.key}
        return self.kind == "generation" or (bool(self.subject) and named[self.kind] == self.subject)


@dataclass
class OnTheWire:
    message: Response
    complete: float | None = None
    delivers: int = 0


@dataclass
class InFlight:
    """A call that has left; `verdict` is None until the sidecar has decided."""

    ask: Ask
    token: Token
    pending: Pending
    verdict: Verdict | None = None


class World(RuleBasedStateMachine):
    """Everything happens in the true time `now`. `wall` is what it is by the host's wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.wall_ahead = EPOCH
        self.was_set = False
        self.cache = SharedNearCache(3, 1 << 20, steady=lambda: self.now, wall=lambda: self.now + self.wall_ahead)
        self.born = self.now + self.wall_ahead
        self.store = 0
        self.sequence = 0
        self.events: list[Event] = []
        self.happened = 0  # events ever
        self.delivered = 0  # how many of these any stream has delivered, or was opened after
        self.unread: list[Event] = []  # revocations that a sidecar behind the log has not taken in
        self.wire: deque[OnTheWire] | None = None
        self.vouched: float | None = None  # of when the last checkpoint that arrived truly told
        self.calls: list[InFlight] = []
        self.tokens = TOKENS
        self.old_tokens = TOKENS  # the newest of them; one that was revoked must not come back

    # The sidecar.

    def revision(self) -> session_pb2.Revision:
        sequence = self.sequence - len(self.unread)
        return session_pb2.Revision(store_id=f"store-{self.store}", sequence=sequence)

    def salt(self) -> bytes:
        return b"salt-%d" % self.store

    def send(self, message: Response) -> None:
        if self.wire is not None:
            told: float | None = None
            if message.HasField("checkpoint"):
                told = self.now - message.checkpoint.last_read_age.ToTimedelta().total_seconds()
            # What is unread is the newest there is, but for changes of keys.
            delivers = self.unread[0].number - 1 if self.unread else self.happened
            self.wire.append(OnTheWire(message, told, delivers))

    def send_checkpoint(self, read_age: float = 0.0) -> None:
        if self.unread:
            read_age = max(read_age, self.now - self.unread[0].true_time)
        checkpoint = feed_pb2.FeedCheckpoint(revision=self.revision())
        checkpoint.last_read_age.FromTimedelta(timedelta(seconds=read_age))
        checkpoint.sent_time.FromNanoseconds(round((self.now + self.wall_ahead) * 1e6) * 1000)
        self.send(Response(checkpoint=checkpoint))

    def decide(self, ask: Ask, token: Token) -> Verdict:
        revision = self.revision()
        evidence = Evidence(EvidenceSource.LOCAL, Revision(revision.store_id, revision.sequence))
        if (
            any(event.ends(token) for event in self.events if event not in self.unread)
            or (ask.audiences and token.audience not in ask.audiences)
            or ask.tenant == "other"
            or self.now + self.wall_ahead >= self.born + token.lifetime
        ):
            refused = Rejection(RejectionReason.SESSION_REVOKED, NextAction.REAUTHENTICATE, "no")
            return Verdict(refused, evidence)
        expires = datetime.fromtimestamp(self.born + token.lifetime, UTC)
        session = Session(token.issuer, token.handle, token.user, token.tenant, expires, expires, token.text, evidence)
        return Verdict(session, evidence)

    def happen(self, kind: Kind | Literal["generation"], issuer: str, subject: str) -> None:
        self.happened += 1
        self.events.append(Event(self.happened, self.now, kind, issuer, subject))

    @rule(
        kind=st.sampled_from(["session", "user", "tenant", "key"]),
        who=st.integers(0, 3),
        delivered=st.booleans(),
    )
    def revoke(self, kind: Kind, who: int, *, delivered: bool) -> None:
        token = self.tokens[who]
        subject = {"session": token.handle, "user": token.user, "tenant": token.tenant, "key": token.key}[kind]
        if not subject:
            return
        self.catch_up()
        self.sequence += 1
        self.happen(kind, token.issuer, subject)
        self.tell(self.events[-1])
        if delivered:
            self.deliver(1000)

    def tell(self, event: Event) -> None:
        kind = cast("Kind", event.kind)
        letter = {"session": SESSION, "user": USER, "tenant": TENANT, "key": b"k"}[kind]
        digest = digest_of(self.salt(), letter, event.issuer, event.subject)
        revocation = feed_pb2.FeedRevocation()
        setattr(revocation, f"{kind}_digest", digest)
        self.send(Response(revocations=feed_pb2.FeedRevocations(revision=self.revision(), revocations=[revocation])))

    def fall_behind(self, count: int) -> None:
        """Another sidecar, or the same restarted, lacks the newest revocations; nothing else has happened since."""
        newest = self.events[-count:]
        if len(newest) == count and all(event.kind != "generation" for event in newest) and count <= self.sequence:
            self.unread = newest

    def catch_up(self) -> None:
        while self.unread:
            self.tell(self.unread.pop(0))

    @rule(issuer=st.sampled_from(ISSUERS), delivered=st.booleans())
    def change_keys(self, issuer: str, *, delivered: bool) -> None:
        self.catch_up()
        self.happen("generation", issuer, "")
        self.send(Response(key_set_change=feed_pb2.FeedKeySetChange(issuer=issuer, generation=self.happened)))
        if delivered:
            self.deliver(1000)

    def restore_a_backup(self) -> None:
        self.catch_up()
        self.store += 1
        self.sequence = 0
        self.send(Response(hello=feed_pb2.FeedHello(revision=self.revision(), digest_salt=self.salt())))

    # The stream.

    def open_stream(self, delay: float) -> None:
        self.cache.opened()
        self.was_set = False
        self.now += delay
        self.wire = deque()
        self.send(Response(hello=feed_pb2.FeedHello(revision=self.revision(), digest_salt=self.salt())))
        self.send_checkpoint()

    @precondition(lambda self: bool(cast("World", self).wire))
    @rule(count=st.sampled_from([1, 2, 1000]))
    def deliver(self, count: int) -> None:
        while count and self.wire:
            count -= 1
            arrived = self.wire.popleft()
            self.delivered = max(self.delivered, arrived.delivers)
            if arrived.complete is not None:
                self.vouched = arrived.complete
                self.was_set = False
            if not self.cache.take(arrived.message):
                self.break_stream()

    def break_stream(self) -> None:
        self.cache.broke()
        self.wire, self.vouched = None, None

    # What befalls both.

    @rule(seconds=st.sampled_from([0.001, 0.1, 0.9, 1.6, 2.0, 2.9, 3.1]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        what=st.sampled_from(["break", "open", "catch up", "restore", "late index", "set the clock"]),
        delay=st.sampled_from([0.0, 1.0, 2.9, 4.0]),
        step=st.sampled_from(STEPS),
    )
    def upheaval(self, what: str, delay: float, step: float) -> None:
        match what:
            case "break" if self.wire is not None:
                self.break_stream()
            case "open" if self.wire is None:
                self.open_stream(delay)
            case "catch up":
                self.catch_up()
            case "restore":
                self.restore_a_backup()
            case "late index":
                self.send_checkpoint(read_age=delay)
            case "set the clock" if not self.was_set:
                # At most once between two checkpoints: there and back again is nowhere to be seen (lateness.py).
                self.was_set = True
                self.wall_ahead += step
            case _:
                pass

    # The calls.

    def find(self, ask: Ask, token: Token) -> Session | Pending | None:
        fresh = Revision(f"store-{self.store}", self.sequence) if ask.fresh else None
        return self.cache.find(token.text, ask.check_database, fresh, ask.audiences, self.tenant_of(ask, token), None)

    def tenant_of(self, ask: Ask, token: Token) -> str | None:
        return {"any": None, "own": token.tenant, "other": "other"}[ask.tenant]

    def check(self, ask: Ask, token: Token, session: Session) -> None:
        """What a hit must fulfil."""
        assert session.claims_json == token.text
        assert not ask.check_database
        assert not ask.fresh
        assert not ask.audiences or token.audience in ask.audiences
        assert ask.tenant != "other"
        assert self.now + self.wall_ahead < self.born + token.lifetime
        assert self.wire is not None
        assert self.vouched is not None
        assert self.now - self.vouched <= LIMIT + 1e-3
        ended = [event for event in self.events if event.ends(token)]
        assert not [event for event in ended if event.true_time < self.now - LIMIT - 1e-3]
        assert not [event for event in ended if event.number <= self.delivered]

    def ask(self, ask: Ask) -> tuple[Token, Pending | None]:
        """Ask the cache, and check a hit. The pending question, if it has to be asked."""
        token = self.tokens[ask.who]
        found = self.find(ask, token)
        if isinstance(found, Session):
            self.check(ask, token, found)
            return token, None
        return token, found

    @rule(ask=asks)
    def begin_call(self, ask: Ask) -> None:
        token, pending = self.ask(ask)
        if pending is not None and len(self.calls) < 4:
            self.calls.append(InFlight(ask, token, pending))

    @precondition(lambda self: bool(cast("World", self).calls))
    @rule(number=st.integers(0, 3))
    def decide_call(self, number: int) -> None:
        call = self.calls[number % len(self.calls)]
        if call.verdict is None:
            call.verdict = self.decide(call.ask, call.token)

    @precondition(lambda self: any(call.verdict for call in cast("World", self).calls))
    @rule()
    def answer_calls(self) -> None:
        for call in self.calls:
            if call.verdict is not None:
                self.cache.keep(call.pending, call.verdict)
        self.calls = [call for call in self.calls if call.verdict is None]

    @rule(ask=asks)
    def call(self, ask: Ask) -> None:
        """A call that nothing interrupts."""
        token, pending = self.ask(ask)
        if pending is not None:
            self.cache.keep(pending, self.decide(ask, token))

    def sign_in(self, who: int) -> None:
        """Make that token one that nobody has seen yet."""
        token = self.tokens[who].anew()
        self.tokens = [*self.tokens[:who], token, *self.tokens[who + 1 :]]
        self.old_tokens = [*self.old_tokens, token][-8:]

    # What would take many steps, and is where the others start from.

    @initialize()
    def begin(self) -> None:
        self.settle({0, 1, 3})

    @rule(whose=st.sets(st.integers(0, 3), min_size=1, max_size=3))
    def settle(self, whose: set[int]) -> None:
        """A stream that flows, and tokens that are good, some of them kept."""
        self.beat(0.0, 0.0, 0.0, in_flight=False)
        if self.wire is None:
            self.open_stream(0.0)
            self.deliver(1000)
        for who in whose:
            self.sign_in(who)
            self.call(Ask(who))

    @precondition(lambda self: not cast("World", self).was_set)
    @rule(
        pause=st.sampled_from([0.0, 0.5, 0.9]),
        flight=st.sampled_from([0.0, 0.0, 0.9, 1.4, 2.9, 10.0]),
        step=st.sampled_from([0.0, 0.0, *STEPS]),
        in_flight=st.booleans(),
        read_age=st.sampled_from([0.0, 0.0, 1.0, 2.9]),
    )
    def beat(self, pause: float, flight: float, step: float, *, in_flight: bool, read_age: float = 0.0) -> None:
        """A checkpoint, some time after the last, which the clock may be set before or after its sending."""
        self.now += pause
        self.wall_ahead += 0.0 if in_flight else step
        self.send_checkpoint(read_age)
        self.now += flight
        self.wall_ahead += step if in_flight else 0.0
        self.deliver(1000)

    @rule(
        who=st.integers(0, 3),
        what=st.sampled_from(
            ["session", "user", "tenant", "key", "generation", "break", "break, generation", "restore"]
        ),
        decided_first=st.booleans(),
    )
    def overtake_a_call(self, who: int, what: str, *, decided_first: bool) -> None:
        """Something happens, and the feed tells of it, between a call's departure and the arrival of its answer."""
        ask = Ask(who)
        self.sign_in(who)
        token, pending = self.ask(ask)
        assert pending is not None
        verdict = self.decide(ask, token)
        match what:
            case "generation":
                self.change_keys(token.issuer, delivered=True)
            case "restore":
                self.restore_a_backup()
                self.beat(0.0, 0.0, 0.0, in_flight=False)
            case "break" | "break, generation":
                if self.wire is not None:
                    self.break_stream()
                if what == "break":
                    self.revoke("session", who, delivered=False)
                else:
                    self.change_keys(token.issuer, delivered=False)
                self.open_stream(0.0)
                self.deliver(1000)
            case _:
                self.revoke(cast("Kind", what), who, delivered=True)
        self.cache.keep(pending, verdict if decided_first else self.decide(ask, token))

    @rule(
        who=st.integers(0, 3),
        kinds=st.lists(st.sampled_from(["session", "user", "tenant", "key"]), min_size=1, max_size=2),
        lacking=st.integers(1, 2),
        told=st.integers(0, 2),
    )
    def come_upon_a_sidecar_behind(self, who: int, kinds: list[Kind], lacking: int, told: int) -> None:
        """It still accepts what the feed has delivered, and its own feed may be read before it has caught up."""
        self.sign_in(who)
        for kind in kinds:
            self.revoke(kind, who, delivered=True)
        if self.wire is not None:
            self.break_stream()
        self.fall_behind(lacking)
        self.open_stream(0.0)
        self.deliver(1000)
        self.call(Ask(who))
        for _ in self.unread[:told]:
            self.tell(self.unread.pop(0))
            self.deliver(1000)
            self.call(Ask(who))

    @invariant()
    def every_plain_hit_is_right(self) -> None:
        for token in self.old_tokens:
            ask = Ask(0)
            found = self.find(ask, token)
            if isinstance(found, Session):
                self.check(ask, token, found)

    @invariant()
    def the_bounds_hold(self) -> None:
        statistics = self.cache.statistics()
        assert statistics.entries <= 3
        assert (statistics.entries == 0) == (statistics.bytes == 0)


World.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestNearCache = World.TestCase


def test_the_model_lets_the_cache_answer() -> None:
    """Or else all of the above would hold of a cache that never does."""
    world = World()
    world.settle({0, 1})
    world.pass_time(2.9)
    world.every_plain_hit_is_right()
    assert world.cache.statistics().hits == 2
