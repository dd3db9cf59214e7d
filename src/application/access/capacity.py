"""The limit of connections for a service of one process."""

from application.ports.places import Places


class Capacity(Places):
    """A number of places, counted in memory."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0

    @property
    def places(self) -> int:
        """How many there are. See `Places.places`."""
        return self._places

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    @property
    def is_full(self) -> bool:
        """Whether no place is left."""
        return self._taken >= self._places

    def take(self) -> bool:
        """Take a place; False when none is left."""
        if self.is_full:
            return False
        self._taken += 1
        return True

    def give_back(self) -> None:
        """Give back a place that was taken."""
        self._taken -= 1
