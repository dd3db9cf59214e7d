"""The interface through which a session learns that its entries are confirmed or fenced."""

from typing import Protocol


class DeliveryListener(Protocol):
    """The session that talks to a sender. Called while answers are taken: it does not wait."""

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """`frames` more are confirmed; `last_seq` is the highest seq confirmed by now.

        Also called with 0 when the log is empty because a doubt is gone: no answer may follow.
        """
        ...

    def on_fenced(self) -> None:
        """Nothing more of this generation is appended: a newer one holds the stream."""
        ...

    def on_stalled(self) -> None:
        """Nothing was confirmed for as long as a sender that reconnects is kept."""
        ...
