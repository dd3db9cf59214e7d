"""Hash tags of keys that belong to no stream, chosen so that a given server has them."""

from typing import Protocol

MARK = "writable"


class Marks(Protocol):
    """The words for one server."""

    def now(self) -> str:
        """Return the word in use.

        Raises:
            BrokerUnavailable: the server serves no slot.

        """
        ...

    def skip(self) -> None:
        """Use another word, since the slot of this one is being moved to another server."""
        ...


class OneMark(Marks):
    """The word for a server without slots."""

    def now(self) -> str:
        """Return the word. See `Marks.now`."""
        return MARK

    def skip(self) -> None:
        """Do nothing: there is no other. See `Marks.skip`."""
