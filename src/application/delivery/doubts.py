"""Doubts of a log, numbered: the store may have lost some of its entries."""


class Doubts:
    """The doubts of one log. They are numbered, since one may arise while an answer is pending.

    A request records the newest doubt; its answer settles that one and all earlier ones.
    """

    __slots__ = ("_newest", "_newest_when_sent", "are_settled")

    def __init__(self) -> None:
        self._newest = self._newest_when_sent = 0
        self.are_settled = True
        """Whether the store has answered since the newest doubt."""

    def add(self) -> None:
        """Open a doubt: only an answer to a later request settles it."""
        self._newest += 1
        self.are_settled = False

    def note_sent(self) -> None:
        """Note that a request is sent now."""
        self._newest_when_sent = self._newest

    def note_answer(self) -> None:
        """Note that the store has answered the last request."""
        self.are_settled = self.are_settled or self._newest == self._newest_when_sent

    def drop(self) -> None:
        """Drop all doubts: the log holds nothing that could be lost."""
        self.are_settled = True
