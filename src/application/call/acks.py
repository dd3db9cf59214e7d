"""Decides when an ack is due, and up to which seq."""


class Acks:
    """Counts confirmed frames; every `interval` of them an ack is due, 0: none ever is."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._unacked = 0
        self._acked_seq: int | None = None

    def confirm(self, frames: int) -> bool:
        """Count confirmed frames; return whether an ack is due."""
        self._unacked += frames
        return 0 < self._interval <= self._unacked

    @property
    def frames_to_ack(self) -> int | None:
        """How many more confirmed frames make an ack due; None if acks are off."""
        return self._interval - self._unacked if self._interval else None

    def take(self, last_seq: int | None) -> int | None:
        """Return the seq to ack, the highest confirmed, unless it is acked already."""
        if self._interval == 0 or self._unacked == 0:
            return None
        self._unacked = 0
        if last_seq is None or last_seq == self._acked_seq:
            return None
        self._acked_seq = last_seq
        return last_seq
