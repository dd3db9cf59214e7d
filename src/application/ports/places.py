"""The port that limits the number of connections."""

from typing import Protocol


class Places(Protocol):
    """Counts places; each taken place is given back."""

    @property
    def places(self) -> int:
        """How many there are, taken or free."""
        ...

    @property
    def taken(self) -> int:
        """How many are taken."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether no place is left."""
        ...

    def take(self) -> bool:
        """Take a place; False when none is left."""
        ...

    def give_back(self) -> None:
        """Give back a place that was taken."""
        ...
