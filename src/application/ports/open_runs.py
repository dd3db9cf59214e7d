"""The port that knows which streams are written, and how lately their writers showed life."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.identifiers import StreamKey


class OpenRuns(Protocol):
    """Keeps a heartbeat for each stream that is written. Shared by all processes.

    A process gives its streams a new heartbeat before their runs begin and then again and again.
    No clock is compared with another: each process judges by its own how long a heartbeat has
    stayed the same, and ends the runs of those that have expired.
    """

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new heartbeat.

        Raises:
            PublisherError: it could not be noted, or could not have been if there had been any
                streams: who cannot write cannot judge whose heartbeat has expired.

        """
        ...

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        """Return the last heartbeat of every stream that has one.

        Raises:
            PublisherError: the store could not be asked.

        """
        ...

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        """Remove a stream, unless it has another heartbeat by now.

        Raises:
            PublisherError: the store could not be written.

        """
        ...
