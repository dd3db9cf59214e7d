"""Who is told about what becomes of a stream's entries."""

from typing import Protocol


class DeliveryListener(Protocol):
    """The session that talks to the sender of a stream. Called while answers are taken: no waits."""

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """`frames` more are confirmed; `last_seq` is the highest seq confirmed by now."""
        ...

    def on_fenced(self) -> None:
        """A newer generation holds the stream: nothing more of this one is appended."""
        ...

    def on_stalled(self) -> None:
        """Nothing was confirmed for as long as a sender that reconnects is kept."""
        ...
