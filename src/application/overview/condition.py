"""What a call is doing."""

from enum import StrEnum


class Condition(StrEnum):
    """What a call is doing."""

    UNSEEN = "unseen"
    """It is announced; there was no look at it yet."""
    WAITING = "waiting"
    """It has started; no audio yet."""
    FLOWING = "flowing"
    STILL = "still"
    """It is live, and no audio comes."""
    CUT = "cut"
    """Its sender is lost, and may resume."""
    ENDED = "ended"
    GONE = "gone"
    """Its stream is no longer in the store, and no end was seen."""

    @property
    def is_over(self) -> bool:
        """Whether the call is over."""
        return self in (Condition.ENDED, Condition.GONE)
