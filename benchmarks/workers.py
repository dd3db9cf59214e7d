"""Processes of our own that work beside us, each at the end of a pipe."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

ANSWER_SECONDS = 240.0
"""How long a worker may take from one message to the next: twice what it gives up after itself."""

_END_SECONDS = 10.0

_PROCESSES = multiprocessing.get_context("spawn")

_Message = TypeVar("_Message")


class TrialFailed(Exception):
    """The run could not be carried out."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What a worker sends that cannot continue."""

    why: str


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of ours and our end of its pipe."""

    pid: int
    pipe: Connection

    def tell(self, message: object) -> None:
        """Send it a message.

        Raises:
            TrialFailed: it has died.

        """
        try:
            self.pipe.send(message)
        except OSError:
            raise TrialFailed("a worker has died") from None

    def expect(self, kind: type[_Message]) -> _Message:
        """Wait for a message of this kind.

        Raises:
            TrialFailed: something else came, or nothing.

        """
        try:
            if not self.pipe.poll(ANSWER_SECONDS):
                raise TrialFailed(f"no {kind.__name__} within {ANSWER_SECONDS:g} s")
            message = self.pipe.recv()
        except EOFError:
            raise TrialFailed(f"the process that was to say {kind.__name__} has died") from None
        if isinstance(message, Failed):
            raise TrialFailed(message.why)
        if not isinstance(message, kind):
            raise TrialFailed(f"expected {kind.__name__}, got {message!r}")
        return message


@contextmanager
def process(work: Callable[..., None], *arguments: object) -> Iterator[Worker]:
    """Run a function in a process of its own; the last that it is given is its end of a pipe."""
    ours, theirs = _PROCESSES.Pipe()
    worker = _PROCESSES.Process(
        target=work, args=(*arguments, theirs), name=work.__name__, daemon=True
    )
    worker.start()
    theirs.close()
    try:
        yield Worker(worker.pid or 0, ours)
        worker.join(_END_SECONDS)
    finally:
        if worker.is_alive():
            worker.kill()
            worker.join()
        ours.close()
