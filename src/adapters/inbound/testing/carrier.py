"""The carrier that writes the calls for the tests of a dialect.

Write it from the carrier's own description, never from the decoder, so that both cannot share a
misunderstanding.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence


class Carrier(ABC):
    """Writes the messages of one call, as the carrier does."""

    sample_rate: int = 8_000
    """The rate of the call, in Hz."""

    hangs_up: bool = False
    """Whether the carrier ends a call by closing the connection, without a message."""

    query: Mapping[str, str] = {}
    """The query string that the connection is opened with."""

    @abstractmethod
    def opening(self) -> Sequence[str | bytes]:
        """Write the messages before the first frame; text messages as `str`."""

    @abstractmethod
    def frame(self, seq: int, audio: bytes) -> str | bytes:
        """Write one frame; `seq` counts from 0."""

    @abstractmethod
    def closing(self, frames: int) -> Sequence[str | bytes]:
        """Write the messages after the last of `frames`."""


def written(carrier: Carrier) -> list[str | bytes]:
    """Return a short call as the carrier writes it."""
    frames = [carrier.frame(seq, bytes([seq, 0])) for seq in range(3)]
    return [*carrier.opening(), *frames, *carrier.closing(3)]
