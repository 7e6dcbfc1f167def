"""A refused batch: what is at fault is found, and nothing else is lost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidegate import CallFailed, InvalidRequest, PreconditionFailed, Registration, RevocationUnavailable
from sidegate_sidecar.cli.import_batches import Item, Registrar
from sidegate_sidecar.cli.import_lines import Line

EXPIRES = datetime(2027, 1, 1, tzinfo=UTC)


def items(count: int, issuer: str | None = None) -> list[Item]:
    return [
        Item(Line(number, number, b""), Registration(f"s-{number}", "alice", EXPIRES, issuer=issuer))
        for number in range(1, count + 1)
    ]


def revoked(position: int | None) -> PreconditionFailed:
    metadata = {} if position is None else {"field": f"requests[{position}].session_handle"}
    return PreconditionFailed("it was revoked", code="FAILED_PRECONDITION", reason="SESSION_REVOKED", metadata=metadata)


@dataclass
class Store:
    """Takes batches, all or none. `bad` are the handles that it refuses."""

    bad: frozenset[str] = frozenset()
    names_the_item: bool = True
    registered: list[str] = field(default_factory=list[str])
    sizes: list[int] = field(default_factory=list[int])
    faults: list[CallFailed] = field(default_factory=list[CallFailed])

    def register(self, registrations: Sequence[Registration]) -> None:
        self.sizes.append(len(registrations))
        if self.faults:
            raise self.faults.pop(0)
        for position, registration in enumerate(registrations):
            if registration.session_handle in self.bad:
                raise revoked(position if self.names_the_item else None)
        self.registered += [registration.session_handle for registration in registrations]


@dataclass
class Time:
    """A clock that moves by sleeping alone."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list[float])

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def registrar(
    store: Store,
    *,
    patience: float = 60.0,
    time: Time | None = None,
    issuer: str | None = None,
    waiting: Callable[[CallFailed], None] = lambda _: None,
) -> Registrar:
    time = time or Time()
    return Registrar(
        store.register,
        patience=patience,
        default_issuer=issuer,
        waiting=waiting,
        sleep=time.sleep,
        monotonic=time.monotonic,
    )


def test_a_good_batch_is_one_call() -> None:
    store = Store()
    assert registrar(store).register(items(1000)) == []
    assert store.sizes == [1000]


@given(
    count=st.integers(0, 60),
    bad=st.sets(st.integers(1, 60)),
    names_the_item=st.booleans(),
)
def test_every_good_line_is_registered_once_and_in_order_and_every_bad_one_is_rejected(
    count: int, bad: set[int], names_the_item: bool
) -> None:
    store = Store(frozenset(f"s-{number}" for number in bad), names_the_item)

    rejected = registrar(store).register(items(count))

    assert [each.line.number for each in rejected] == [number for number in range(1, count + 1) if number in bad]
    assert {each.reason for each in rejected} <= {"SESSION_REVOKED: it was revoked"}
    assert store.registered == [f"s-{number}" for number in range(1, count + 1) if number not in bad]


@pytest.mark.parametrize(
    "bad", [range(1, 1001), range(1, 1001, 2), [500]], ids=["all bad", "one in two bad", "one bad"]
)
def test_what_a_bad_batch_costs_stays_within_a_few_times_its_size(bad: Sequence[int]) -> None:
    store = Store(frozenset(f"s-{number}" for number in bad))
    assert len(registrar(store).register(items(1000))) == len(bad)
    assert sum(store.sizes) <= 4000


def test_the_reason_names_the_field_and_not_the_position_in_a_batch() -> None:
    store = Store(
        faults=[
            InvalidRequest(
                "requests[1].create_time: must be an instant of the years 1970 to 9999",
                code="INVALID_ARGUMENT",
                reason="INVALID_FIELD",
                metadata={"field": "requests[1].create_time"},
            )
        ]
    )
    (rejected,) = registrar(store).register(items(3))
    assert rejected.line.number == 2
    assert rejected.reason == "INVALID_FIELD: create_time: must be an instant of the years 1970 to 9999"


@pytest.mark.parametrize("position", [3, 9999], ids=["just past the end", "far past the end"])
def test_a_position_outside_the_batch_accuses_nobody(position: int) -> None:
    store = Store(faults=[revoked(position)])
    assert registrar(store).register(items(3)) == []
    assert store.registered == ["s-1", "s-2", "s-3"]


def test_no_answer_is_asked_for_again_after_ever_longer_pauses() -> None:
    unavailable = [RevocationUnavailable("nobody listens", code="UNAVAILABLE") for _ in range(8)]
    store, time, told = Store(faults=[*unavailable]), Time(), list[CallFailed]()

    assert registrar(store, time=time, waiting=told.append).register(items(2)) == []

    assert store.registered == ["s-1", "s-2"]
    assert time.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert told == unavailable


def test_patience_ends_and_the_failure_comes_out() -> None:
    store, time = Store(faults=[RevocationUnavailable("", code="UNAVAILABLE")] * 100), Time()
    with pytest.raises(RevocationUnavailable):
        registrar(store, patience=10.0, time=time).register(items(2))
    assert 5.0 < time.now <= 10.0


@pytest.mark.parametrize(
    "failure",
    [
        RevocationUnavailable("a fault", code="INTERNAL"),
        PreconditionFailed("no store", code="FAILED_PRECONDITION", reason="STORE_NOT_CONFIGURED"),
        InvalidRequest("which?", code="INVALID_ARGUMENT", reason="ISSUER_REQUIRED", metadata={"field": "requests[0]."}),
        InvalidRequest("whose?", code="INVALID_ARGUMENT", reason="UNKNOWN_ISSUER", metadata={"field": "requests[1]."}),
    ],
    ids=lambda failure: failure.reason or failure.code,
)
def test_what_no_line_is_at_fault_for_ends_the_import_at_once(failure: CallFailed) -> None:
    store = Store(faults=[failure])
    with pytest.raises(type(failure)) as raised:
        registrar(store, issuer="typo").register(items(3, issuer="typo"))
    assert raised.value is failure
    assert store.sizes == [3]


def test_an_issuer_that_the_line_itself_names_is_the_lines_fault() -> None:
    unknown = InvalidRequest("no", code="INVALID_ARGUMENT", reason="UNKNOWN_ISSUER", metadata={"field": "requests[1]."})
    store = Store(faults=[unknown])
    (rejected,) = registrar(store, issuer="ours").register(items(3, issuer="theirs"))
    assert rejected.line.number == 2
