"""What the sidecar knows and how old it is, for people."""

from dataclasses import dataclass
from enum import StrEnum

from sidegate_sidecar.model.times import Micros
from sidegate_sidecar.model.verdicts import Revision


@dataclass(frozen=True, slots=True)
class KeySetStatus:
    """One issuer's keys, for people. `age` is None until the issuer has confirmed a set once."""

    issuer: str
    generation: int
    key_count: int
    age: Micros | None
    last_error: str


class StoreState(StrEnum):
    """How the store answers. The names of `StoreState` in verification.proto."""

    NOT_CONFIGURED = "NOT_CONFIGURED"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ServingStatus:
    """What the sidecar knows and how old it is. The index's are None without a store, and until it has loaded."""

    version: str
    key_sets: tuple[KeySetStatus, ...]
    index_revision: Revision | None
    index_lag: Micros | None
    store_state: StoreState
