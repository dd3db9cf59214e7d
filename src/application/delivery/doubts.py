"""Doubts of a log, numbered: the store may have lost some of its entries."""


class Doubts:
    """The doubts of one log. They have numbers, since one may come while an answer is awaited.

    What is sent notes the newest doubt, and its answer proves that one and all before it.
    """

    __slots__ = ("_newest", "_newest_when_sent", "are_proved")

    def __init__(self) -> None:
        self._newest = self._newest_when_sent = 0
        self.are_proved = True
        """Whether no doubt is open."""

    def add(self) -> None:
        """Open a doubt: only what is sent from now on proves it."""
        self._newest += 1
        self.are_proved = False

    def note_sent(self) -> None:
        """Note that something is sent now."""
        self._newest_when_sent = self._newest

    def note_answer(self) -> None:
        """Note that the store has answered what was sent last."""
        self.are_proved = self.are_proved or self._newest == self._newest_when_sent

    def drop(self) -> None:
        """Let go of all doubts: nothing is held that could be lost."""
        self.are_proved = True
