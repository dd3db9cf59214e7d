"""The counters and the state of a run at one position of its stream."""

from dataclasses import dataclass
from enum import StrEnum

from domain.ledger import NOTHING, Ledger


class State(StrEnum):
    """The state of a run."""

    LIVE = "live"
    CUT = "cut"
    ENDED = "ended"


@dataclass(slots=True, unsafe_hash=True)
class Account:
    """A snapshot of a run at one position of its stream. Do not mutate it.

    `next_position` is the first position without an entry. `first_seq` is the run's baseline and
    `last_seq` the highest seq that is published or declared missing; both are None while there is
    none. Frames that were dropped last are counted in the ledger, and are included in `last_seq`
    once a gap declares them.
    """

    next_position: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    ledger: Ledger = NOTHING
    state: State = State.LIVE
