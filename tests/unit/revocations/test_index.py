"""The index is a picture of the log: whatever it leaves out or merges, it answers as the whole log would."""

import gc
from collections.abc import Sequence
from hashlib import blake2b

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sidegate_sidecar.model import Coverage, LogEntry, Revision, RevocationKind, Subject
from sidegate_sidecar.revocations.digests import DIGEST_BYTES, Digester, DigestTable
from sidegate_sidecar.revocations.index import RevocationIndex

from tests.unit.revocations.scripted_log import ISSUER, SALT, entry

KINDS = list(RevocationKind)
# Few names, so that entries and subjects meet; the same ones for every kind, so that kinds are told apart.
names = st.sampled_from(["a", "b", "ab"])
optional_names = st.none() | names
instants = st.integers(0, 5)
entries = st.builds(
    entry,
    sequence=st.just(0),
    kind=st.sampled_from(KINDS),
    subject=names,
    issuer=names,
    tenant=st.none(),
    spare=st.none(),
    at=instants,
) | st.builds(
    entry,
    sequence=st.just(0),
    kind=st.just(RevocationKind.USER),
    subject=names,
    issuer=names,
    tenant=optional_names,
    spare=optional_names,
    at=instants,
)
logs = st.lists(entries, max_size=30)
maybe_empty = st.just("") | names
subjects = st.builds(Subject, issuer=names, session_handle=maybe_empty, user_id=names, tenant_id=maybe_empty)
UNHURRIED = settings(deadline=None)


def in_order(log: Sequence[LogEntry]) -> list[LogEntry]:
    return [
        LogEntry(
            position,
            each.entry_id,
            each.kind,
            each.issuer,
            each.subject,
            each.tenant_id,
            each.except_session_handle,
            each.revoke_time,
            None,
        )
        for position, each in enumerate(log, 1)
    ]


def index_of(log: Sequence[LogEntry]) -> RevocationIndex:
    index = RevocationIndex("store", SALT)
    index.apply(in_order(log))
    return index


def coverage_by_the_log(log: Sequence[LogEntry], subject: Subject) -> Coverage:
    """What model.Coverage says, read from the raw log."""

    def subjects_of(kind: RevocationKind, name: str) -> list[LogEntry]:
        return [each for each in log if (each.kind, each.issuer, each.subject) == (kind, subject.issuer, name)]

    handle = subject.session_handle
    users = [
        each.revoke_time
        for each in subjects_of(RevocationKind.USER, subject.user_id)
        if (each.tenant_id is None or each.tenant_id == subject.tenant_id)
        and not (handle and each.except_session_handle == handle)
    ]
    tenants = [each.revoke_time for each in subjects_of(RevocationKind.TENANT, subject.tenant_id)]
    return Coverage(
        session_revoked=handle != "" and subjects_of(RevocationKind.SESSION, handle) != [],
        user_watermark=max(users, default=None),
        tenant_watermark=max(tenants, default=None) if subject.tenant_id else None,
    )


@settings(UNHURRIED, max_examples=300)
@given(logs, st.lists(subjects, min_size=1, max_size=8))
@example(
    [
        entry(0, RevocationKind.USER, "a", issuer="a", spare="a", at=1),
        entry(0, RevocationKind.USER, "a", issuer="a", spare="b", at=2),
    ],
    [Subject("a", "a", "a", ""), Subject("a", "b", "a", ""), Subject("a", "", "a", "")],
)
def test_the_index_covers_what_the_log_covers(log: list[LogEntry], asked: list[Subject]) -> None:
    index = index_of(log)

    for subject in asked:
        assert index.coverage(subject) == coverage_by_the_log(log, subject)


@UNHURRIED
@given(logs, names, names)
def test_a_key_is_revoked_by_its_issuer_and_thumbprint_alone(log: list[LogEntry], issuer: str, thumbprint: str) -> None:
    named = (RevocationKind.KEY, issuer, thumbprint)

    assert index_of(log).coverage(Subject(issuer, "", "", "", thumbprint)).key_revoked == any(
        (each.kind, each.issuer, each.subject) == named for each in log
    )


@UNHURRIED
@given(logs, st.integers(0, 30))
def test_pages_make_the_same_index_as_one_reading(log: list[LogEntry], cut: int) -> None:
    whole, paged, ordered = index_of(log), RevocationIndex("store", SALT), in_order(log)
    paged.apply(ordered[:cut])
    paged.apply(ordered[cut:])

    assert paged.revision == whole.revision == Revision("store", len(log))
    assert paged.last_entry_id == whole.last_entry_id == (ordered[-1].entry_id if ordered else b"")
    assert len(paged) == len(whole)


class Counted(str):
    """A session handle that counts how often it is compared. Usable while nobody else compares."""

    __slots__ = ()
    comparisons = 0

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__ne__(self, other)


@pytest.mark.parametrize("tenant", [None, "acme"])
def test_a_user_who_logs_out_other_devices_every_day_costs_no_more_than_who_did_twice(
    tenant: str | None,
) -> None:
    log = [
        entry(0, kind=RevocationKind.USER, subject="a", tenant=tenant, spare=f"session-{number}", at=number)
        for number in range(2000)
    ]
    index = index_of(log)

    def coverage(handle: str) -> Coverage:
        return index.coverage(Subject(ISSUER, handle, "a", "acme"))

    Counted.comparisons = 0
    assert coverage(Counted("another")).user_watermark == 1999
    assert Counted.comparisons <= 2
    assert [coverage(f"session-{number}").user_watermark for number in (1999, 1998, 0)] == [1998, 1999, 1999]


@pytest.mark.parametrize(
    ("sequence", "horizon"),
    [
        pytest.param(1, 0, id="a repeated entry"),
        pytest.param(2, 0, id="the last one"),
        pytest.param(4, 0, id="a gap"),
        pytest.param(4, 2, id="a gap beyond the horizon"),
        pytest.param(2, 9, id="the last one, below the horizon"),
    ],
)
def test_what_does_not_follow_is_refused_and_nothing_of_it_taken_in(sequence: int, horizon: int) -> None:
    index = RevocationIndex("store", SALT)
    index.apply([entry(1, subject="before")])

    with pytest.raises(ValueError, match=f"entry {sequence} does not follow 2"):
        index.apply([entry(2, subject="good"), entry(sequence, subject="stray")], horizon)
    assert index.revision == Revision("store", 1)
    assert len(index) == 1
    assert index.coverage(Subject(ISSUER, "before", "user", "")).session_revoked


@pytest.mark.parametrize("first", [2, 5, 8], ids="the first that is left has sequence {}".format)
def test_what_was_removed_up_to_the_horizon_may_be_missing(first: int) -> None:
    index = RevocationIndex("store", SALT)

    index.apply([entry(first), entry(9)] if first == 8 else [entry(first), entry(8), entry(9)], 8)

    assert index.revision == Revision("store", 9)


def test_watermarks_that_say_nothing_new_take_no_room() -> None:
    index = RevocationIndex("store", SALT)
    index.apply([entry(number, RevocationKind.USER, "user", at=number, spare="s") for number in range(1, 50)])
    index.apply([entry(number, RevocationKind.USER, "user", at=number) for number in range(50, 99)])
    index.apply([entry(number, RevocationKind.USER, "user", at=0, spare="s", tenant="t") for number in range(99, 150)])

    assert len(index) == 1


@UNHURRIED
@given(logs)
def test_what_is_listed_is_what_is_covered(log: list[LogEntry]) -> None:
    """For a snapshot: every subject of the log, by digest, and nothing else."""
    listed = {(kind, digest) for kind, some in index_of(log).digests() for digest in some}

    assert listed == {(each.kind, Digester(SALT).digest(each.kind, each.issuer, each.subject)) for each in log}


# Digests.


def test_a_digest_is_what_the_feed_specifies() -> None:
    # feed.proto: keyed BLAKE2b of the kind's letter and the length-prefixed issuer and subject, 16 bytes.
    content = b"u" + b"\x00\x00\x00\x02is" + b"\x00\x00\x00\x04" + "né.".encode()

    assert (
        Digester(SALT).digest(RevocationKind.USER, "is", "né.") == blake2b(content, key=SALT, digest_size=16).digest()
    )


@UNHURRIED
@given(
    st.tuples(st.sampled_from(KINDS), st.text(), st.text(), st.binary(min_size=16, max_size=16)),
    st.tuples(st.sampled_from(KINDS), st.text(), st.text(), st.binary(min_size=16, max_size=16)),
)
@example((RevocationKind.USER, "ab", "c", SALT), (RevocationKind.USER, "a", "bc", SALT))
@example((RevocationKind.USER, "", "a", SALT), (RevocationKind.USER, "a", "", SALT))
@example((RevocationKind.USER, "a", "b", SALT), (RevocationKind.TENANT, "a", "b", SALT))
@example((RevocationKind.USER, "a", "b", SALT), (RevocationKind.USER, "a", "b", bytes(16)))
def test_different_subjects_have_different_digests(
    one: tuple[RevocationKind, str, str, bytes], other: tuple[RevocationKind, str, str, bytes]
) -> None:
    digests = [Digester(salt).digest(kind, issuer, subject) for kind, issuer, subject, salt in (one, other)]

    assert (digests[0] == digests[1]) == (one == other)
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


def test_what_a_table_holds_takes_the_garbage_collector_no_time() -> None:
    table = DigestTable()
    table.add(number.to_bytes(2, "big") * (DIGEST_BYTES // 2) for number in range(1 << 16))
    assert len(table) == 1 << 16

    reached: list[object] = [table]
    for one in reached:
        reached.extend(
            gc.get_referents(one) if isinstance(one, (DigestTable, dict, list)) and gc.is_tracked(one) else ()
        )

    assert any(isinstance(one, dict) for one in reached)
    assert len(reached) < 1000
