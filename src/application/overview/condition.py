"""What a call is doing."""

from enum import StrEnum


class Condition(StrEnum):
    """What a call is doing."""

    UNSEEN = "unseen"
    """It is announced and was not looked at yet."""
    WAITING = "waiting"
    """It has started; no audio yet."""
    FLOWING = "flowing"
    STILL = "still"
    """It is live, and no audio comes."""
    CUT = "cut"
    """Its sender is lost, and may resume."""
    ENDED = "ended"
    GONE = "gone"
    """Its stream is not in the store any more, and nothing tells of an end."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more is expected of it."""
        return self in (Condition.ENDED, Condition.GONE)
