"""Who is told what becomes of a stream's events."""

from typing import Protocol


class PublicationListener(Protocol):
    """Whoever speaks with the sender of a stream. Called on the publication's way: do not wait."""

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        """`frames` more are published; `last_seq` is the highest seq published by now."""
        ...

    def on_fenced(self) -> None:
        """Nothing more will be published: a newer generation holds the stream."""
        ...

    def on_stalled(self) -> None:
        """Nothing could be confirmed for as long as a sender that comes back is held on to."""
        ...
