"""The port that knows which runs are open, and whether somebody tends them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.identifiers import StreamKey


class OpenRuns(Protocol):
    """Lets a process end the runs of one that died. Shared by all processes of an installation.

    A stream is tended before its run begins, and then again and again by the process that holds
    it. That gives it a new *beat* each time; nobody's wall clock matters, for whoever looks on
    judges by its own how long a beat has stayed the same.
    """

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        """Give these streams a new beat: they are looked after.

        Raises:
            PublisherError: it could not be noted, or could not have been if there had been any:
                who can write nothing cannot judge who does not tend.

        """
        ...

    async def beats(self) -> Mapping[StreamKey, float]:
        """Return the last beat of every stream that was tended and whose run is not known to end.

        Raises:
            PublisherError: the destination could not be asked.

        """
        ...

    async def end_untended(self, stream: StreamKey, beat: float) -> bool:
        """End the open run of a stream whose last beat is still `beat`, and announce it.

        The end is `recovered`, with reason `disconnected` and the stored ledger. Nothing more can
        be written under the run's generation. A stream without an open run is only forgotten as
        untended. Tell whether an end was written.

        Raises:
            BrokerRefused: this stream cannot be ended; others can.
            PublisherError: the destination could not be written.

        """
        ...
