"""The interface through which a session learns that its entries are confirmed or fenced."""

from typing import Protocol


class DeliveryListener(Protocol):
    """The session of a sender. It is called while answers are handled, and must not block."""

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """`frames` more are confirmed; `last_seq` is the highest seq confirmed by now.

        Also called with 0 when a settled doubt leaves the log empty: no further answer may follow.
        """
        ...

    def on_fenced(self) -> None:
        """Nothing more of this generation is appended, since a newer one holds the stream."""
        ...

    def on_stalled(self) -> None:
        """Nothing was confirmed for too long: a sender that can resume is closed."""
        ...
