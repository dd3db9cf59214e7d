"""The entries of a published stream.

An entry's position is its place in the stream: it is counted, never kept in the entry. Audio is an
`AudioFrame` as it came. Only a `Started` names its generation: every entry behind it has the same,
up to the next one.
"""

from dataclasses import dataclass

from domain.events import EndReason, Opening, Signal
from domain.ledger import Ledger
from domain.media import AudioFrame


@dataclass(frozen=True, slots=True)
class Started:
    """A generation begins; `resumed` if it continues its run."""

    generation: int
    run: str
    resumed: bool
    opening: Opening


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` seqs from `first_missing` on are absent; stands before the frame that reveals it.

    It never stands in front of a seq that the run already has. Where a lost stream was rewritten
    two may stand in a row, the second behind the seqs of the first.
    """

    first_missing: int
    missing: int

    @property
    def last_missing(self) -> int:
        """The last absent seq."""
        return self.first_missing + self.missing - 1


@dataclass(frozen=True, slots=True)
class SignalNoted:
    """A signal among the frames; `details` is the carrier's JSON object of it."""

    signal: Signal
    details: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over; `recovered` if another process ends it for one that is gone."""

    reason: EndReason
    ledger: Ledger
    recovered: bool = False


Entry = Started | AudioFrame | Gap | SignalNoted | Ended
