"""The entries of a published stream.

The position of an entry follows from its order in the stream and is not stored in the entry. Audio
is an `AudioFrame`, unchanged. Only a `Started` names its generation: it applies to every entry up
to the next `Started`.
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
    """`missing` seqs from `first_missing` on are absent; precedes the frame that reveals the gap.

    A gap never covers a seq that the run already has. In a rebased stream two gaps may follow each
    other, the second with higher seqs than the first.
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
    """The run is over; `recovered` if another process ended it because its writer is gone."""

    reason: EndReason
    ledger: Ledger
    recovered: bool = False


Entry = Started | AudioFrame | Gap | SignalNoted | Ended
