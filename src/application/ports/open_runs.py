"""The port by which processes know of one another which open runs still have a writer."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.identifiers import StreamKey


class OpenRuns(Protocol):
    """Keeps one heartbeat for every stream with an open run, for all processes of an installation.

    It has no rule: a run whose heartbeat stays the same for long is an orphan, which is ended by
    `domain.orphans` and an append. A heartbeat is compared for equality only, so no clock of any
    machine matters.

    Promises, each held by the contract tests:

    - Shared: every process sees the heartbeats of all.
    - New: each heartbeat of a stream differs from all earlier ones, also across a `forget`.
    - Guarded: `forget` with an older heartbeat removes nothing.
    - Honest: a store that takes no writes raises, also when there is no stream to write for: a
      process that can write nothing must not judge who does not.
    """

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """Give each of these streams a new heartbeat.

        Raises:
            PublisherError: it was not written.

        """
        ...

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """Return the last heartbeat of every stream that was not removed since.

        Raises:
            PublisherError: the store could not be read.

        """
        ...

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """Remove a stream, unless its heartbeat is another by now.

        Raises:
            PublisherError: it was not written.

        """
        ...
