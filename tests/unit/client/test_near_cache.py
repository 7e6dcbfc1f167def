"""The near cache by itself: bounds, statistics, clocks, threads. Its rules meet a model in a module of their own."""

import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sidegate import (
    Evidence,
    EvidenceSource,
    NextAction,
    Rejection,
    RejectionReason,
    Revision,
    Session,
    Verdict,
)
from sidegate.digests import SESSION, digest_of
from sidegate.kept_sessions import KeptSessions
from sidegate.lateness import Lateness
from sidegate.near_cache import NearCache
from sidegate.shared_near_cache import SharedNearCache
from sidegate.v1 import feed_pb2, session_pb2
from sidegate.v1.feed_pb2 import WatchRevocationsResponse as Response

SALT = bytes(range(16))
ISSUER = "https://login.example"
NOW = 1_700_000_000.0
LIFETIME = 10_000


class Clocks:
    def __init__(self) -> None:
        self.steady = 50.0
        self.wall = NOW

    def advance(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


def revision(sequence: int) -> session_pb2.Revision:
    return session_pb2.Revision(store_id="store", sequence=sequence)


def hello(sequence: int = 0) -> Response:
    event = feed_pb2.FeedHello(revision=revision(sequence), digest_salt=SALT)
    return Response(hello=event)


def checkpoint(sent: float, sequence: int = 0, read_age: float = 0.0) -> Response:
    event = feed_pb2.FeedCheckpoint(revision=revision(sequence))
    event.last_read_age.FromMilliseconds(round(read_age * 1000))
    event.sent_time.FromMicroseconds(round(sent * 1e6))
    return Response(checkpoint=event)


def revoked(handle: str, sequence: int, *, salt: bytes = SALT) -> Response:
    subject = feed_pb2.FeedRevocation(session_digest=digest_of(salt, SESSION, ISSUER, handle))
    event = feed_pb2.FeedRevocations(revision=revision(sequence), revocations=[subject])
    return Response(revocations=event)


def good(handle: str, sequence: int = 0, claims: str = "{}") -> Verdict:
    evidence = Evidence(EvidenceSource.LOCAL, Revision("store", sequence))
    expires = datetime.fromtimestamp(NOW + LIFETIME, UTC)
    session = Session(ISSUER, handle, f"user of {handle}", "acme", expires, expires, claims, evidence)
    return Verdict(session, evidence)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def fed(clocks: Clocks, entries: int = 1000, size: int = 1 << 30) -> SharedNearCache:
    cache = SharedNearCache(entries, size, steady=lambda: clocks.steady, wall=lambda: clocks.wall)
    cache.opened()
    assert cache.take(hello())
    assert cache.take(checkpoint(clocks.wall))
    return cache


def find(cache: SharedNearCache, token: str) -> Session | None:
    found = cache.find(token, False, None, (), None, None)
    return found if isinstance(found, Session) else None


def keep(cache: SharedNearCache, token: str, verdict: Verdict) -> None:
    pending = cache.find(token, False, None, (), None, None)
    if not isinstance(pending, Session):
        assert pending is not None
        cache.keep(pending, verdict)


def test_the_verdict_used_longest_ago_makes_room(clocks: Clocks) -> None:
    cache = fed(clocks, entries=3)
    for name in ("a", "b", "c"):
        keep(cache, name, good(name))
    assert find(cache, "a")
    keep(cache, "d", good("d"))
    assert [name for name in "abcd" if find(cache, name)] == ["a", "c", "d"]
    assert cache.statistics().evicted == 1


def test_the_bytes_are_bounded(clocks: Clocks) -> None:
    cache = fed(clocks, size=100_000)
    for number in range(50):
        keep(cache, f"t-{number}", good(f"s-{number}", claims="x" * 10_000))
        assert cache.statistics().bytes <= 100_000
    assert find(cache, "t-49")
    assert not find(cache, "t-0")


def test_a_verdict_larger_than_all_may_be_is_not_kept(clocks: Clocks) -> None:
    cache = fed(clocks, size=20_000)
    keep(cache, "small", good("s-1"))
    keep(cache, "large", good("s-2", claims="x" * 20_000))
    assert find(cache, "small")
    assert not find(cache, "large")
    assert cache.statistics().entries == 1


def test_a_verdict_larger_than_all_may_be_counts_as_not_stored(clocks: Clocks) -> None:
    cache = fed(clocks, size=20_000)
    keep(cache, "large", good("s-2", claims="x" * 20_000))
    statistics = cache.statistics()
    assert (statistics.stored, statistics.not_stored, statistics.entries) == (0, 1, 0)


@pytest.mark.parametrize(
    ("check_database", "fresh"),
    [(True, None), (False, Revision("store", 1))],
    ids=["check_database", "at_least_as_fresh"],
)
def test_what_a_stricter_question_found_refused_is_not_handed_out_after_it(
    clocks: Clocks, check_database: bool, fresh: Revision | None
) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    keep(cache, "other", good("s-2"))
    pending = cache.find("t", check_database, fresh, (), None, None)
    assert isinstance(pending, tuple)
    refused = Rejection(RejectionReason.SESSION_REVOKED, NextAction.REAUTHENTICATE, "revoked")
    cache.keep(pending, Verdict(refused, Evidence(EvidenceSource.DATABASE, Revision("store", 1))))
    assert not find(cache, "t")
    assert find(cache, "other")


def test_after_a_sign_out_nothing_is_handed_out_until_the_feed_has_come_to_it(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "ended", good("s-1"))
    keep(cache, "other", good("s-2"))
    cache.signed_out(Revision("store", 2))
    assert not find(cache, "ended")
    assert not find(cache, "other")  # whose session it is, nobody asked
    assert cache.statistics().bypassed_late == 2
    assert cache.take(revoked("another's", 1))
    assert not find(cache, "ended")
    assert cache.take(revoked("s-1", 2))
    assert not find(cache, "ended")
    assert find(cache, "other")


def test_a_verdict_from_before_a_sign_out_is_not_kept_after_it(clocks: Clocks) -> None:
    cache = fed(clocks)
    pending = cache.find("ended", False, None, (), None, None)
    assert isinstance(pending, tuple)
    cache.signed_out(Revision("store", 1))
    cache.keep(pending, good("s-1", sequence=0))
    keep(cache, "later", good("s-2", sequence=1))
    assert cache.take(checkpoint(clocks.wall, sequence=1))
    assert not find(cache, "ended")
    assert find(cache, "later")


def test_of_several_sign_outs_the_feed_has_to_come_to_the_last(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "other", good("s-3"))
    cache.signed_out(Revision("store", 2))
    cache.signed_out(Revision("store", 1))
    assert cache.take(revoked("s-1", 1))
    assert not find(cache, "other")
    assert cache.take(revoked("s-2", 2))
    assert find(cache, "other")


def test_a_sign_out_that_the_feed_has_come_to_already_changes_nothing(clocks: Clocks) -> None:
    cache = fed(clocks)
    assert cache.take(revoked("s-1", 1))
    keep(cache, "other", good("s-2", sequence=1))
    cache.signed_out(Revision("store", 1))
    assert find(cache, "other")


def test_a_sign_out_of_another_store_leaves_nothing_and_holds_up_nothing(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "other", good("s-1"))
    cache.signed_out(Revision("restored", 7))
    assert not find(cache, "other")
    keep(cache, "other", good("s-1"))
    assert find(cache, "other")


def test_a_new_stream_of_another_store_awaits_no_sign_out_of_the_old(clocks: Clocks) -> None:
    cache = fed(clocks)
    cache.signed_out(Revision("store", 5))
    cache.broke()
    cache.opened()
    assert cache.take(hello(3))
    assert cache.take(checkpoint(clocks.wall, 3))
    keep(cache, "a", good("s-1", sequence=3))
    assert not find(cache, "a")
    restored = hello()
    restored.hello.revision.store_id = "restored"
    assert cache.take(restored)
    beat = checkpoint(clocks.wall)
    beat.checkpoint.revision.store_id = "restored"
    assert cache.take(beat)
    evidence = Evidence(EvidenceSource.LOCAL, Revision("restored", 0))
    session = good("s-1").outcome
    assert isinstance(session, Session)
    keep(cache, "a", Verdict(session, evidence))
    assert find(cache, "a")


def reopened(cache: SharedNearCache, clocks: Clocks, sequence: int, store: str = "store") -> None:
    """Another stream, which stands there."""
    cache.broke()
    cache.opened()
    beginning, beat = hello(sequence), checkpoint(clocks.wall, sequence)
    beginning.hello.revision.store_id = beat.checkpoint.revision.store_id = store
    assert cache.take(beginning)
    assert cache.take(beat)


def test_a_sidecar_behind_what_was_delivered_before_is_not_relied_on_until_it_has_caught_up(clocks: Clocks) -> None:
    cache = fed(clocks)
    assert cache.take(revoked("s-1", 10))
    reopened(cache, clocks, 8)
    keep(cache, "ended", good("s-1", sequence=8))  # as it seems to who has not come to 10
    assert not find(cache, "ended")
    assert cache.take(revoked("another's", 9))
    keep(cache, "ended", good("s-1", sequence=9))
    assert not find(cache, "ended")
    late = cache.statistics().bypassed_late
    assert late > 0
    assert cache.take(revoked("s-1", 10))
    assert not find(cache, "ended")
    keep(cache, "other", good("s-2", sequence=10))
    assert find(cache, "other")
    assert cache.statistics().bypassed_late == late


def test_a_stream_that_begins_anew_behind_itself_is_not_relied_on_either(clocks: Clocks) -> None:
    cache = fed(clocks)
    assert cache.take(revoked("s-1", 10))
    assert cache.take(hello(8))
    assert cache.take(checkpoint(clocks.wall, 8))
    keep(cache, "ended", good("s-1", sequence=8))
    assert not find(cache, "ended")


def test_what_was_delivered_is_known_after_a_stream_of_another_store(clocks: Clocks) -> None:
    cache = fed(clocks)
    assert cache.take(revoked("s-1", 10))
    reopened(cache, clocks, 3, "another")
    reopened(cache, clocks, 8)
    keep(cache, "ended", good("s-1", sequence=8))
    assert not find(cache, "ended")


def test_a_sign_out_while_there_is_no_stream_holds_for_the_next_one(clocks: Clocks) -> None:
    cache = fed(clocks)
    cache.broke()
    cache.signed_out(Revision("store", 5))
    reopened(cache, clocks, 4)
    keep(cache, "ended", good("s-1", sequence=4))
    assert not find(cache, "ended")
    assert cache.take(revoked("s-1", 5))
    keep(cache, "other", good("s-2", sequence=5))
    assert find(cache, "other")


def test_a_sign_out_of_a_store_that_the_feed_comes_to_later_is_awaited_there(clocks: Clocks) -> None:
    cache = fed(clocks)
    cache.signed_out(Revision("restored", 7))
    reopened(cache, clocks, 6, "restored")
    verdict = good("s-1")
    evidence = Evidence(EvidenceSource.LOCAL, Revision("restored", 6))
    keep(cache, "ended", replace(verdict, evidence=evidence))
    assert not find(cache, "ended")


def test_what_a_parent_signed_out_no_stream_behind_it_brings_back_in_its_child(clocks: Clocks) -> None:
    parent = fed(clocks)
    parent.signed_out(Revision("store", 5))
    cache = parent.emptied()
    reopened(cache, clocks, 4)
    keep(cache, "ended", good("s-1", sequence=4))
    assert not find(cache, "ended")


def test_the_estimate_counts_what_a_question_and_its_evidence_hold(clocks: Clocks) -> None:
    cache = fed(clocks, entries=5000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(200):
            audiences = [f"audience-{number}-{place}" for place in range(64)]
            pending = cache.find(f"t-{number}", False, None, audiences, None, None)
            assert isinstance(pending, tuple)
            del audiences
            evidence = Evidence(EvidenceSource.LOCAL, Revision("store", 0), key_id="\U0001f511" * 255 + str(number))
            session = good(f"s-{number}").outcome
            assert isinstance(session, Session)
            cache.keep(pending, Verdict(replace(session, evidence=evidence), evidence))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    estimate = cache.statistics().bytes
    assert after - before <= estimate <= 1.5 * (after - before)


@pytest.mark.parametrize("claims", ["{}", '{"name": "' + "x" * 1000 + '"}'], ids=["small", "large"])
def test_the_estimate_of_the_bytes_is_no_less_than_they_are(clocks: Clocks, claims: str) -> None:
    cache = fed(clocks, entries=5000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1000):
            # As read from an answer: every string an object of its own.
            keep(cache, f"t-{number}", good(f"s-{number}", claims=f"{claims} {number}"))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    estimate = cache.statistics().bytes
    assert after - before <= estimate <= 1.5 * (after - before)


def test_nothing_is_left_in_the_index_of_what_was_dropped(clocks: Clocks) -> None:
    cache = fed(clocks, entries=2)
    for number in range(10):
        keep(cache, f"t-{number}", good(f"s-{number}"))
    assert cache.take(revoked("s-8", 1))
    assert cache.take(revoked("s-9", 2))
    cached: dict[str, NearCache] = vars(cache)
    kept: dict[str, KeptSessions] = vars(cached["_cache"])
    assert vars(kept["_kept"]) | {"evictions": 0} == vars(KeptSessions(2, 1 << 30))


def test_an_expired_verdict_is_dropped_in_the_very_instant(clocks: Clocks) -> None:
    cache = fed(clocks)
    verdict = good("s-1")
    keep(cache, "t", verdict)
    for _ in range(LIFETIME):
        assert find(cache, "t")
        clocks.advance(1.0)
        assert cache.take(checkpoint(clocks.wall))
    assert find(cache, "t") is None
    assert cache.statistics().entries == 0


def test_a_hit_needs_a_checkpoint_of_the_last_three_seconds(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    clocks.advance(2.999)
    assert find(cache, "t")
    clocks.advance(0.002)
    assert not find(cache, "t")
    assert cache.statistics().bypassed_late == 1


def test_the_age_of_the_sidecars_own_picture_counts_from_the_same_three_seconds(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    clocks.advance(0.5)
    assert cache.take(checkpoint(clocks.wall - 0.5, read_age=1.4))
    clocks.advance(1.0)
    assert find(cache, "t")
    clocks.advance(0.2)
    assert not find(cache, "t")
    assert cache.take(checkpoint(clocks.wall, read_age=3.1))
    assert not find(cache, "t")
    assert cache.take(checkpoint(clocks.wall))
    assert find(cache, "t")


def test_a_clock_that_is_set_back_prolongs_nothing(clocks: Clocks) -> None:
    cache = fed(clocks)
    clocks.advance(1.2)
    assert cache.take(checkpoint(clocks.wall - 1.2))
    keep(cache, "t", good("s-1"))
    clocks.wall -= 600
    clocks.advance(1.7)
    assert find(cache, "t")
    clocks.advance(0.2)
    assert not find(cache, "t")


def test_a_new_beginning_brings_its_own_salt(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    event = feed_pb2.FeedHello(revision=revision(0), digest_salt=b"another")
    assert cache.take(Response(hello=event))
    assert cache.take(checkpoint(clocks.wall))
    assert not find(cache, "t")
    keep(cache, "t", good("s-1"))
    assert cache.take(revoked("s-1", 1))
    assert find(cache, "t")
    assert cache.take(revoked("s-1", 2, salt=b"another"))
    assert not find(cache, "t")


def test_a_suspension_that_stops_the_steady_clock_is_seen_by_the_other(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    clocks.wall += 60
    assert not find(cache, "t")


def test_what_waited_in_a_buffer_while_the_process_was_stopped_vouches_for_nothing(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    sent = clocks.wall + 1
    clocks.advance(20)
    assert not cache.take(checkpoint(sent))
    assert not find(cache, "t")


def test_a_clock_set_there_and_back_hides_no_long_silence(clocks: Clocks) -> None:
    cache = fed(clocks)
    keep(cache, "t", good("s-1"))
    clocks.advance(1)
    sent_while_set_forward = clocks.wall + 20
    clocks.advance(20)
    assert not cache.take(checkpoint(sent_while_set_forward))
    assert not find(cache, "t")


def test_a_clock_that_is_set_back_ends_the_stream_and_the_next_one_is_used(clocks: Clocks) -> None:
    cache = fed(clocks)
    clocks.advance(1)
    clocks.wall -= 3600
    assert not cache.take(checkpoint(clocks.wall))
    cache.broke()
    cache.opened()
    assert cache.take(hello())
    assert cache.take(checkpoint(clocks.wall))
    keep(cache, "t", good("s-1"))
    assert find(cache, "t")


def test_a_clock_that_is_set_forward_is_allowed_for(clocks: Clocks) -> None:
    cache = fed(clocks)
    for seconds in (7200.0, 0.0, 0.0):
        clocks.advance(1)
        clocks.wall += seconds
        assert cache.take(checkpoint(clocks.wall))
        keep(cache, "t", good("s-1"))
        clocks.advance(0.5)
        assert cache.take(checkpoint(clocks.wall - 0.5))  # half a second on its way
        clocks.advance(2.4)
        assert find(cache, "t")
        clocks.advance(0.2)
        assert not find(cache, "t")
        clocks.advance(-2.6)


def test_hosts_whose_clocks_differ_are_served_all_the_same(clocks: Clocks) -> None:
    lateness = Lateness(clocks.steady, clocks.wall)
    for _ in range(1000):
        clocks.advance(1)
        assert lateness.age(clocks.wall - 7200, clocks.steady, clocks.wall) == pytest.approx(1.0)


def test_a_sender_whose_clock_runs_fast_is_not_believed_to_send_from_the_future(clocks: Clocks) -> None:
    lateness = Lateness(clocks.steady, clocks.wall)
    for second in range(10_000):
        age = lateness.age(clocks.wall + second * 1e-3, clocks.steady, clocks.wall)
        assert age is not None
        assert age >= 0
        clocks.advance(1)
    late = lateness.age(clocks.wall + 9.999 - 5, clocks.steady, clocks.wall)
    assert late == pytest.approx(5, abs=0.01)


def test_a_sender_that_is_set_forward_on_another_host_is_found_out(clocks: Clocks) -> None:
    lateness = Lateness(clocks.steady, clocks.wall)
    assert lateness.age(clocks.wall, clocks.steady, clocks.wall) == 0
    clocks.advance(1)
    assert lateness.age(clocks.wall + 10, clocks.steady, clocks.wall) is None


@pytest.mark.parametrize("silent", [True, False])
def test_a_silent_stream_is_stalled_after_five_seconds(clocks: Clocks, silent: bool) -> None:
    cache = fed(clocks)
    for _ in range(6):
        clocks.advance(0.9)
        if not silent:
            cache.take(revoked("s", 0))
    assert cache.is_stalled() is silent
    cache.broke()
    assert not cache.is_stalled()


def test_an_answer_of_the_database_is_kept_and_never_given_for_one(clocks: Clocks) -> None:
    cache = fed(clocks)
    pending = cache.find("t", True, None, (), None, None)
    assert pending is not None
    assert not isinstance(pending, Session)
    cache.keep(pending, good("s-1"))
    assert find(cache, "t")
    assert not isinstance(cache.find("t", True, None, (), None, None), Session)
    assert not isinstance(cache.find("t", False, Revision("store", 0), (), None, None), Session)
    assert cache.statistics().bypassed_for_database == 3


def test_threads_that_read_while_the_feed_drops_are_never_handed_what_it_dropped(clocks: Clocks) -> None:
    cache = fed(clocks, entries=50)
    handles, dropped, over = 100, [0], threading.Event()

    def read(start: int) -> int:
        hits, number = 0, start
        while not over.is_set():
            number = number % handles + 1
            gone = dropped[0]
            found = cache.find(f"t-{number}", False, None, (), None, None)
            if isinstance(found, Session):
                hits += 1
                assert number > gone, "handed out after it was dropped"
                assert found.session_handle == f"s-{number}"
            elif found is not None and number > dropped[0]:
                cache.keep(found, good(f"s-{number}", sequence=number - 1))
        return hits

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read, start) for start in (0, 25, 50, 75)]
            for number in range(1, handles + 1):
                while not any(reader.done() for reader in readers) and cache.statistics().hits < 10 * number:
                    pass
                assert cache.take(revoked(f"s-{number}", number))
                dropped[0] = number
            over.set()
            assert sum(reader.result(30) for reader in readers) > 0
    finally:
        over.set()
        sys.setswitchinterval(interval)
