"""The port that knows which runs are open, and for how long nobody has tended them."""

from collections.abc import Sequence
from typing import Protocol

from domain.identifiers import StreamKey


class OpenRuns(Protocol):
    """Lets a process end the runs of one that died. Shared by all processes of an installation.

    A stream is tended before its run begins, and then again and again by the process that holds
    it. Time is the destination's own, so that the clocks of the processes do not matter.
    """

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        """Note that these streams are looked after now.

        Raises:
            PublisherError: it could not be noted.

        """
        ...

    async def untended(self, seconds: float) -> Sequence[StreamKey]:
        """Return streams, a page of those longest untended, that were not tended for `seconds`.

        Raises:
            PublisherError: the destination could not be asked.

        """
        ...

    async def end_untended(self, stream: StreamKey, seconds: float) -> bool:
        """End the open run of a stream that is still untended for `seconds`, and announce it.

        The end is `recovered`, with reason `disconnected` and the stored ledger. Nothing more can
        be written under the run's generation. A stream without an open run is only forgotten as
        untended. Tell whether an end was written.

        Raises:
            PublisherError: the destination could not be written.

        """
        ...
