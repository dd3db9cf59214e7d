"""The port that says whether there is room for one connection more."""

from typing import Protocol


class Places(Protocol):
    """Counts places; each that is taken is given back."""

    @property
    def places(self) -> int:
        """How many there are, taken or not."""
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
