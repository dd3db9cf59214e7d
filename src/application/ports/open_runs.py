"""The port through which processes know which open runs still have a writer."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.identifiers import StreamKey


class OpenRuns(Protocol):
    """Keeps one heartbeat for every stream with an open run, for all processes of an installation.

    It has no rules: a run whose heartbeat stays the same for long is an orphan, which
    `domain.orphans` ends by an append. Heartbeats are compared for equality only, so the clocks of
    the machines do not matter.

    Promises, each checked by the contract tests:

    - Shared: every process sees the heartbeats of all.
    - New: each heartbeat of a stream differs from all earlier ones, also across a `forget`.
    - Guarded: `forget` with an older heartbeat removes nothing.
    - Honest: a store that takes no writes raises, also if there is no stream to write for: a
      process that cannot write must not judge other writers.
    """

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """Give each of these streams a new heartbeat.

        Raises:
            PublisherError: it was not written.

        """
        ...

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """Return the last heartbeat of every stream that was not removed.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """Remove a stream, unless its heartbeat has changed.

        Raises:
            PublisherError: it was not written.

        """
        ...
