"""Whether a store may have lost something of a log, told by numbers."""


class Doubts:
    """The doubts of one log. They have numbers, since one may come while an answer is awaited.

    What is sent notes the newest doubt, and its answer proves that one and all before it.
    """

    __slots__ = ("_newest", "_newest_when_sent", "_proved")

    def __init__(self) -> None:
        self._newest = self._newest_when_sent = self._proved = 0

    @property
    def are_proved(self) -> bool:
        """Whether no doubt is open."""
        return self._proved == self._newest

    def add(self) -> None:
        """Open a doubt: only what is sent from now on proves it."""
        self._newest += 1

    def note_sent(self) -> None:
        """Note that something is sent now."""
        self._newest_when_sent = self._newest

    def note_answer(self) -> None:
        """Note that the store has answered what was sent last."""
        self._proved = max(self._proved, self._newest_when_sent)

    def drop(self) -> None:
        """Let go of all doubts: nothing is held that could be lost."""
        self._proved = self._newest
