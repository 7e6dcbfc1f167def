"""Which watches a message of the feed ends, and which it has asked about: no I/O, no clock."""

import weakref
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sidegate import (
    ClientClosed,
    Evidence,
    EvidenceSource,
    NextAction,
    Rejection,
    RejectionReason,
    Revision,
    Session,
    SessionEnded,
    SessionEndReason,
    SessionRejected,
    Verdict,
    VerificationUnavailable,
)
from sidegate import recent_revocations as recent
from sidegate.digests import SESSION, TENANT, USER, digest_of
from sidegate.session_watches import SessionWatches
from sidegate.v1 import feed_pb2, session_pb2
from sidegate.v1.feed_pb2 import WatchRevocationsResponse as Response
from sidegate.verification_calls import verify_together
from sidegate.watch import Expiries, Watch
from sidegate.watch_thread import MAX_BATCH
from sidegate.watching import WatchEnd

SALT = b"sixteen bytes ok"
ISSUER = "https://login.example"
EXPIRES = 1_000_000.0
MANY = 256

REFRESH, REAUTHENTICATE = NextAction.REFRESH, NextAction.REAUTHENTICATE
KINDS = {
    "user": SessionEndReason.USER_REVOKED,
    "tenant": SessionEndReason.TENANT_REVOKED,
    "key": SessionEndReason.KEY_REVOKED,
    "something new": SessionEndReason.UNVERIFIABLE,
}


def session(handle: str = "s-1", *, at: int | None = 5, store: str = "store") -> Session:
    revision = None if at is None else Revision(store, at)
    instant = datetime.fromtimestamp(EXPIRES, UTC)
    evidence = Evidence(EvidenceSource.LOCAL, revision)
    return Session(ISSUER, handle, "anna", "acme", instant, instant, "{}", evidence)


def hello(sequence: int = 5, *, store: str = "store", salt: bytes = SALT) -> Response:
    revision = session_pb2.Revision(store_id=store, sequence=sequence)
    return Response(hello=feed_pb2.FeedHello(revision=revision, digest_salt=salt))


def revoked(kind: str, sequence: int, name: str = "", *, salt: bytes = SALT) -> Response:
    match kind:
        case "session":
            subject = feed_pb2.FeedRevocation(session_digest=digest_of(salt, SESSION, ISSUER, name or "s-1"))
        case "user":
            subject = feed_pb2.FeedRevocation(user_digest=digest_of(salt, USER, ISSUER, name or "anna"))
        case "tenant":
            subject = feed_pb2.FeedRevocation(tenant_digest=digest_of(salt, TENANT, ISSUER, name or "acme"))
        case "key":
            subject = feed_pb2.FeedRevocation(key_digest=b"k" * 16)
        case _:
            subject = feed_pb2.FeedRevocation()
    revision = session_pb2.Revision(store_id="store", sequence=sequence)
    return Response(revocations=feed_pb2.FeedRevocations(revision=revision, revocations=[subject]))


def keys_changed(issuer: str = ISSUER) -> Response:
    return Response(key_set_change=feed_pb2.FeedKeySetChange(issuer=issuer, generation=2))


def checkpoint(sequence: int) -> Response:
    revision = session_pb2.Revision(store_id="store", sequence=sequence)
    return Response(checkpoint=feed_pb2.FeedCheckpoint(revision=revision))


def refused(reason: RejectionReason) -> Verdict:
    return Verdict(Rejection(reason, REFRESH, "not good"), Evidence(EvidenceSource.LOCAL))


class World:
    """The watches, and what a thread would do with them."""

    def __init__(self) -> None:
        self.watches = SessionWatches()

    def add(self, of: Session | None = None, token: str | None = None, *, outlive: bool = False) -> Watch:
        watch = Watch(of or session(), token, None, outlive, lambda _: None)
        self.watches.add(watch)
        return watch

    def take(self, *messages: Response) -> None:
        for message in messages:
            self.watches.take(message)

    def ends(self) -> list[WatchEnd]:
        return [end for _, end in self.watches.ends()]

    def reasons(self) -> list[SessionEndReason]:
        return [end.reason for end in self.ends() if isinstance(end, SessionEnded)]

    def asked(self) -> list[tuple[Watch, int]]:
        """What is asked now, and how fresh the answers have to be."""
        return [(watch, question.at_least_as_fresh.sequence) for watch, question in self.watches.questions(MANY)]

    def answer_all(self, verdict: Verdict | None = None) -> None:
        """By default as good."""
        for watch, question in self.watches.questions(MANY):
            good = session(at=question.at_least_as_fresh.sequence)
            self.watches.answer(watch, verdict or Verdict(good, good.evidence))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("token", [None, "t"], ids=["without a token", "with one"])
def test_a_revoked_handle_ends_its_watches_and_no_others(world: World, token: str | None) -> None:
    world.add(token=token)
    world.add(token=token)
    world.add(session("s-2"), token)
    world.take(hello())
    world.answer_all()
    world.take(revoked("session", 6))
    assert world.ends() == [SessionEnded(SessionEndReason.SESSION_REVOKED, REAUTHENTICATE)] * 2
    assert len(world.watches) == 1
    world.take(revoked("session", 7))
    assert world.ends() == []


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_token_what_may_have_ended_a_session_has(world: World, kind: str) -> None:
    world.take(hello())
    world.add()
    world.take(revoked(kind, 6))
    assert world.ends() == [SessionEnded(KINDS[kind], REFRESH)]
    assert world.asked() == []


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_token_the_sidecar_is_asked_as_of_the_event(world: World, kind: str) -> None:
    world.take(hello())
    watch = world.add(token="t")
    world.answer_all()
    world.take(revoked(kind, 9))
    assert world.asked() == [(watch, 9)]
    assert world.ends() == []


def test_another_user_and_tenant_are_none_of_its_concern(world: World) -> None:
    world.take(hello())
    world.add()
    world.add(token="t")
    world.answer_all()
    world.take(revoked("user", 6, "bob"), revoked("tenant", 7, "other"), revoked("session", 8, "s-9"), checkpoint(9))
    assert (world.ends(), world.asked()) == ([], [])


def test_a_session_that_the_sidecar_spares_is_watched_on(world: World) -> None:
    world.take(hello())
    world.add(token="t")
    world.take(revoked("user", 6))
    world.answer_all()
    assert (world.ends(), world.asked(), len(world.watches)) == ([], [], 1)
    world.take(revoked("session", 7))
    assert world.reasons() == [SessionEndReason.SESSION_REVOKED]


@pytest.mark.parametrize(
    ("rejection", "reason"),
    [
        (RejectionReason.SESSION_REVOKED, SessionEndReason.SESSION_REVOKED),
        (RejectionReason.USER_REVOKED, SessionEndReason.USER_REVOKED),
        (RejectionReason.TENANT_REVOKED, SessionEndReason.TENANT_REVOKED),
        (RejectionReason.KEY_REVOKED, SessionEndReason.KEY_REVOKED),
        (RejectionReason.EXPIRED, SessionEndReason.TOKEN_EXPIRED),
        (RejectionReason.UNKNOWN_KEY, SessionEndReason.TOKEN_REJECTED),
        (RejectionReason.UNRECOGNIZED, SessionEndReason.TOKEN_REJECTED),
    ],
)
def test_what_the_sidecar_rejects_has_ended(world: World, rejection: RejectionReason, reason: SessionEndReason) -> None:
    world.take(hello())
    world.add(token="t")
    world.answer_all(refused(rejection))
    assert world.ends() == [SessionEnded(reason, REFRESH, Rejection(rejection, REFRESH, "not good"))]


def test_an_outage_ends_nothing_and_is_asked_about_again(world: World) -> None:
    world.take(hello())
    watch = world.add(token="t")
    for _ in range(3):
        assert world.asked() == [(watch, 5)]
        world.watches.answer(watch, VerificationUnavailable("nobody there", code="UNAVAILABLE"))
        assert world.asked() == []  # it does not keep others waiting
        world.watches.ask_again()
    world.watches.broke()
    assert (world.ends(), world.asked()) == ([], [])
    world.take(hello(7))
    assert world.asked() == [(watch, 7)]


def test_a_revocation_that_overtakes_an_answer_is_asked_about_anew(world: World) -> None:
    world.take(hello())
    world.add(token="t")
    ((watch, _),) = world.watches.questions(MANY)
    world.take(revoked("user", 6))
    world.watches.answer(watch, Verdict(session(), session().evidence))
    assert world.asked() == [(watch, 6)]


def test_and_is_not_forgotten_if_it_cannot_be_asked_about(world: World) -> None:
    world.take(hello())
    world.add(token="t", outlive=True)
    ((watch, _),) = world.watches.questions(MANY)
    world.take(revoked("user", 6))
    world.watches.answer(watch, Verdict(session(), session().evidence))
    world.watches.expire(EXPIRES)
    assert world.reasons() == [SessionEndReason.USER_REVOKED]


def test_an_answer_for_a_watch_that_is_over_says_nothing(world: World) -> None:
    world.take(hello())
    watch = world.add(token="t")
    world.asked()
    world.watches.remove(watch)
    world.watches.answer(watch, refused(RejectionReason.USER_REVOKED))
    world.watches.answer(watch, VerificationUnavailable("nobody there", code="UNAVAILABLE"))
    world.watches.ask_again()
    assert (world.ends(), world.asked(), len(world.watches)) == ([], [], 0)


def test_questions_leave_as_many_at_a_time_as_may(world: World) -> None:
    world.take(hello())
    watches = [world.add(session(f"s-{number}"), "t") for number in range(300)]
    asked = [[watch for watch, _ in world.watches.questions(MANY)] for _ in range(3)]
    assert [len(batch) for batch in asked] == [256, 44, 0]
    assert asked[0] + asked[1] == watches


# Between a session's verification and its watch, and between two streams.


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("session", SessionEndReason.SESSION_REVOKED),
        ("user", SessionEndReason.USER_REVOKED),
        ("tenant", SessionEndReason.TENANT_REVOKED),
        ("key", SessionEndReason.UNVERIFIABLE),
    ],
)
def test_what_was_revoked_between_verification_and_watch_counts(
    world: World, kind: str, reason: SessionEndReason
) -> None:
    world.take(hello(), revoked(kind, 6), checkpoint(7))
    world.add(session(at=6))  # verified after it
    assert world.ends() == []
    world.add(session(at=5))
    assert world.reasons() == [reason]


def test_a_revocation_that_the_verification_has_seen_ends_nothing(world: World) -> None:
    """As a sign-in right after "log out everywhere", told by a feed that is a little behind."""
    world.take(hello())
    world.add(session(at=6))
    world.take(revoked("user", 6))
    assert world.ends() == []
    world.take(revoked("user", 7))
    assert world.reasons() == [SessionEndReason.USER_REVOKED]


@pytest.mark.parametrize(
    "verified",
    [session(at=4), session(at=9, store="another"), session(at=None)],
    ids=["before", "elsewhere", "nowhere"],
)
def test_a_session_verified_before_the_feed_began_cannot_be_told(world: World, verified: Session) -> None:
    world.take(hello(5))
    world.add(verified)
    assert world.reasons() == [SessionEndReason.UNVERIFIABLE]
    watch = world.add(verified, "t")
    assert world.asked() == [(watch, 5)]


def test_only_so_many_revocations_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_DIGESTS", 2)
    world.take(hello(5), *(revoked("session", number, f"s-{number}") for number in (6, 7, 8)))
    world.add(session("s-0", at=6))
    assert world.ends() == []
    world.add(session("s-0", at=5))
    assert world.reasons() == [SessionEndReason.UNVERIFIABLE]


def test_what_a_sidecar_that_is_behind_repeats_hides_no_gap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_DIGESTS", 3)
    numbers = (10, 11, 12)
    world.take(hello(9), *(revoked("session", number, f"s-{number}") for number in numbers))
    world.take(hello(9), revoked("session", 10, "s-10"))
    world.take(*(revoked("session", number, f"s-{number}") for number in (13, 14, 15)))
    world.add(session("s-12", at=11))
    assert world.reasons() == [SessionEndReason.UNVERIFIABLE]


@pytest.mark.parametrize("broken", [True, False], ids=["new stream", "same stream"])
def test_what_a_watch_has_seen_need_not_be_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    monkeypatch.setattr(recent, "MAX_DIGESTS", 2)
    world.add()
    world.take(hello(), *(revoked("session", number, f"s-{number}") for number in (6, 7, 8, 9)))
    if broken:
        world.watches.broke()
    world.take(hello(9))
    assert world.ends() == []


def test_what_was_told_before_a_stream_broke_is_remembered(world: World) -> None:
    world.add()
    world.take(hello(), revoked("session", 7, "s-2"), checkpoint(9))
    world.watches.broke()
    world.take(hello(9))
    world.add(session("s-2", at=6))
    assert world.reasons() == [SessionEndReason.SESSION_REVOKED]


def test_what_was_told_under_another_salt_is_not(world: World) -> None:
    world.take(hello(), revoked("session", 6), hello(6, salt=b"another"))
    world.add(session(at=5))
    assert world.reasons() == [SessionEndReason.UNVERIFIABLE]


def test_a_stream_is_resumed_where_the_last_one_ended(world: World) -> None:
    assert world.watches.resume_from() is None
    world.add()
    assert world.watches.resume_from() == Revision("store", 5)
    world.take(hello(), revoked("session", 8, "s-9"))
    world.watches.broke()
    assert world.watches.resume_from() == Revision("store", 8)


def test_a_first_stream_begins_where_the_oldest_verification_was(world: World) -> None:
    for at in (7, 4, 6):
        world.add(session(at=at))
    world.add(session(at=None))
    world.add(session(at=1, store="another"))
    world.add(session(at=9))
    assert world.watches.resume_from() == Revision("store", 4)


def test_nobody_watching_has_nothing_resumed(world: World) -> None:
    watch = world.add()
    world.take(hello(8))
    world.watches.remove(watch)
    world.watches.broke()
    assert world.watches.resume_from() is None
    world.add()
    assert world.watches.resume_from() == Revision("store", 8)


def test_a_stream_that_missed_nothing_ends_nothing(world: World) -> None:
    world.add()
    world.take(hello(), checkpoint(8))
    world.watches.broke()
    world.take(hello(8))
    assert world.ends() == []
    world.take(revoked("user", 9))
    assert world.reasons() == [SessionEndReason.USER_REVOKED]


def test_a_stream_that_repeats_what_was_judged_ends_nothing(world: World) -> None:
    """Of a sidecar that is behind the one before it."""
    world.take(hello(), revoked("user", 7))
    world.add(session(at=7))
    world.take(checkpoint(9))
    world.watches.broke()
    world.take(hello(6), revoked("user", 7), checkpoint(9))
    assert world.ends() == []
    world.add(session("s-2", at=6))
    assert world.reasons() == [SessionEndReason.USER_REVOKED]


def test_a_sidecar_that_is_behind_has_to_answer_as_of_what_was_told_before(world: World) -> None:
    """Or it would spare a session whose user's revocation it has yet to learn of, and will then tell again."""
    world.take(hello())
    watch = world.add(token="t")
    world.answer_all()
    world.take(revoked("user", 8))
    world.watches.broke()
    world.take(hello(6))
    assert world.asked() == [(watch, 8)]


@pytest.mark.parametrize("again", [hello(9), hello(8, store="another")], ids=["later", "another store"])
@pytest.mark.parametrize("broken", [True, False], ids=["new stream", "same stream"])
def test_where_revocations_may_have_been_missed_a_session_cannot_be_told(
    world: World, again: Response, broken: bool
) -> None:
    world.add()
    watch = world.add(token="t")
    world.take(hello(), checkpoint(8))
    world.answer_all()
    if broken:
        world.watches.broke()
    world.take(again)
    assert world.reasons() == [SessionEndReason.UNVERIFIABLE]
    assert world.asked() == [(watch, again.hello.revision.sequence)]


def test_each_stream_has_sessions_with_a_token_asked_about(world: World) -> None:
    """Keys may have changed unseen."""
    watch = world.add(token="t")
    for _ in range(2):
        world.take(hello(8))
        assert world.asked() == [(watch, 8)]
        world.watches.broke()


def test_another_salt_makes_other_digests(world: World) -> None:
    salt = b"another"
    world.add()
    world.take(hello(), hello(5, salt=salt), revoked("session", 6))
    assert world.ends() == []
    world.take(revoked("session", 7, salt=salt))
    assert world.reasons() == [SessionEndReason.SESSION_REVOKED]


def test_a_change_of_its_issuers_keys_is_asked_about_where_there_is_a_token(world: World) -> None:
    world.take(hello())
    world.add()
    watch = world.add(token="t")
    world.answer_all()
    world.take(keys_changed("https://other.example"))
    assert world.asked() == []
    world.take(keys_changed())
    assert world.asked() == [(watch, 5)]
    assert world.ends() == []


def test_a_message_that_only_a_newer_sidecar_knows_may_end_any_session(world: World) -> None:
    world.take(hello())
    world.add()
    watch = world.add(token="t")
    world.answer_all()
    world.take(Response())
    assert world.reasons() == [SessionEndReason.UNVERIFIABLE]
    assert world.asked() == [(watch, 5)]


# Expiry.


def test_a_token_that_expires_ends_its_watch(world: World) -> None:
    world.add()
    world.add(token="t")
    assert world.watches.next_expiry() == EXPIRES
    world.watches.expire(EXPIRES - 0.001)
    assert world.ends() == []
    world.watches.expire(EXPIRES)  # RFC 7519 section 4.1.4: `exp` is exclusive
    assert world.ends() == [SessionEnded(SessionEndReason.TOKEN_EXPIRED, REFRESH)] * 2
    assert world.watches.next_expiry() is None


def test_expiries_come_in_their_order(world: World) -> None:
    for seconds in (3, 1, 2):
        instant = datetime.fromtimestamp(EXPIRES + seconds, UTC)
        world.add(replace(session(), token_expire_time=instant))
    removed = world.add()
    world.watches.remove(removed)
    assert world.watches.next_expiry() == EXPIRES + 1
    world.watches.expire(EXPIRES + 2)
    assert len(world.ends()) == 2
    assert world.watches.next_expiry() == EXPIRES + 3


def test_a_watch_may_outlive_its_token_and_is_then_as_without(world: World) -> None:
    world.take(hello())
    world.add(token="t", outlive=True)
    world.answer_all()
    world.watches.expire(EXPIRES)
    world.take(keys_changed(), checkpoint(6))
    assert (world.ends(), world.asked(), world.watches.next_expiry()) == ([], [], None)
    world.take(revoked("user", 7))
    assert world.ends() == [SessionEnded(SessionEndReason.USER_REVOKED, REFRESH)]


@pytest.mark.parametrize("by_clock", [True, False], ids=["by our clock", "by the sidecar's"])
def test_a_token_that_expires_before_it_is_asked_with_answers_nothing(world: World, by_clock: bool) -> None:
    def expire() -> None:
        if by_clock:
            world.watches.expire(EXPIRES)
        else:
            world.answer_all(refused(RejectionReason.EXPIRED))

    world.take(hello())
    world.add(token="t", outlive=True)
    expire()  # asked only because the watch began
    assert world.ends() == []

    world.add(session("s-2"), "t", outlive=True)
    world.answer_all()
    world.take(revoked("session", 6), revoked("user", 7, "bob"), revoked("tenant", 8))
    assert world.reasons() == [SessionEndReason.SESSION_REVOKED]
    expire()
    assert world.reasons() == [SessionEndReason.TENANT_REVOKED]


# The rest.


def test_all_watches_can_be_ended_at_once(world: World) -> None:
    world.add()
    world.add(token="t")
    end = ClientClosed("the client was closed")
    world.watches.end_all(end)
    assert world.ends() == [end] * 2
    assert len(world.watches) == 0


def test_a_watch_that_was_removed_is_not_told(world: World) -> None:
    world.take(hello())
    kept, removed, late = world.add(), world.add(), world.add()
    world.watches.remove(removed)
    world.take(revoked("session", 6))
    world.watches.remove(late)
    world.watches.remove(late)
    assert [watch for watch, _ in world.watches.ends()] == [kept]


def test_a_session_without_handle_or_tenant_is_watched_by_its_user(world: World) -> None:
    world.take(hello())
    world.add(replace(session(), session_handle="", tenant_id=""))
    world.take(revoked("session", 6, ""), revoked("tenant", 7, "acme"))
    assert world.ends() == []
    world.take(revoked("user", 8))
    assert world.reasons() == [SessionEndReason.USER_REVOKED]


@pytest.mark.parametrize("token", ["Bearer t", "\ud800", "x" * 20_000])
def test_what_is_no_token_is_refused_at_once(token: str) -> None:
    with pytest.raises(SessionRejected) as caught:
        Watch(session(), token, None, False, lambda _: None)
    assert caught.value.reason is RejectionReason.MALFORMED


def test_nothing_stays_of_watches_that_are_over(world: World) -> None:
    world.take(hello())
    gone: list[weakref.ref[Watch]] = []
    for number in range(10):
        watch = world.add(session(f"s-{number}"), "t" if number % 2 else None)
        gone.append(weakref.ref(watch))
        if number % 3:
            world.watches.remove(watch)
    watch = world.add()
    world.watches.remove(watch)
    world.take(revoked("user", 6))
    world.answer_all(refused(RejectionReason.USER_REVOKED))
    assert len(world.ends()) == 4
    assert [each() for each in gone] == [None] * 10


def test_the_expiries_of_watches_that_are_over_are_let_go_of() -> None:
    """Though a watch that expires before them goes on."""
    expiries = Expiries()
    long_lived = Watch(session(), None, None, False, lambda _: None)
    expiries.add(long_lived)
    for number in range(10_000):
        watch = Watch(session(), None, None, False, lambda _: None)
        watch.expires = EXPIRES + 1 + number % 1000
        expiries.add(watch)
        expiries.remove(watch)
    instants: list[float] = vars(expiries)["_instants"]
    assert len(instants) < 100
    assert expiries.next() == EXPIRES
    assert expiries.due(EXPIRES + 2000) == [long_lived]
    assert expiries.next() is None


def test_expiries_stay_in_order_whatever_is_let_go_of() -> None:
    expiries = Expiries()
    watches: list[Watch] = []
    for number in range(500):
        watch = Watch(session(), None, None, False, lambda _: None)
        watch.expires = EXPIRES + number * 7919 % 500
        watches.append(watch)
        expiries.add(watch)
    gone = [watch for number, watch in enumerate(watches) if number % 9]
    for watch in gone:
        expiries.remove(watch)
    kept = sorted((watch.expires for watch in watches if watch not in gone), key=float)
    found: list[float] = []
    while (instant := expiries.next()) is not None:
        found.extend(watch.expires for watch in expiries.due(instant))
    assert found == kept


def test_an_anti_csrf_token_larger_than_any_token_could_hold_is_refused_at_once() -> None:
    Watch(session(), "t", "x" * 16 * 1024, False, lambda _: None)
    with pytest.raises(SessionRejected) as caught:
        Watch(session(), "t", "x" * (16 * 1024 + 1), False, lambda _: None)
    assert caught.value.reason is RejectionReason.ANTI_CSRF_MISMATCH


def test_the_largest_questions_fit_into_one_message(world: World) -> None:
    for number in range(MAX_BATCH + 1):
        watch = Watch(session(f"s-{number}"), "t" * 16 * 1024, "x" * 16 * 1024, False, lambda _: None)
        world.watches.add(watch)
    world.take(hello(store="s" * 36))
    asked = world.watches.questions(MAX_BATCH)
    assert len(asked) == MAX_BATCH
    assert verify_together([question for _, question in asked]).request
