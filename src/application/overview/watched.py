"""Reads the entries of a watched call for its time line."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress

from application.overview.time_line import TimeLine
from application.ports.errors import PublisherError
from application.ports.reader import PublishedEntry, StreamReader
from domain.identifiers import StreamKey

ENTRIES = 2_000
"""How many entries of a watched call are read in a round."""

ENTRIES_HEARD = 100
"""After this many entries the store counts as having answered."""


class Watched:
    """Reads the entries of one call, a limited number at a time."""

    def __init__(self) -> None:
        self.line = TimeLine()
        self.is_busy = False
        self._last: PublishedEntry | None = None
        self._reading: AsyncIterator[PublishedEntry] | None = None

    async def read(
        self, reader: StreamReader, stream: StreamKey, on_answer: Callable[[], None]
    ) -> None:
        """Read on; call `on_answer` each time that the store has answered.

        Raises:
            PublisherError: the store could not be read.

        """
        self.is_busy = True
        try:
            await self._read(reader, stream, on_answer)
        except PublisherError:
            self.line.is_read = False
            await self.stop()
            raise
        finally:
            self.is_busy = False

    async def stop(self) -> None:
        """Cancel the reading, if there is one."""
        reading, self._reading = self._reading, None
        if isinstance(reading, AsyncGenerator):
            with suppress(PublisherError):
                await reading.aclose()

    async def _read(
        self, reader: StreamReader, stream: StreamKey, on_answer: Callable[[], None]
    ) -> None:
        if self._reading is None:
            self._reading = reader.read(stream, self._last)
        for number in range(ENTRIES):
            published = await anext(self._reading, None)
            if number % ENTRIES_HEARD == 0:
                on_answer()
            if published is None:
                self._reading, self.line.is_read = None, True
                return
            self._last = published
            self.line.add(published)
        self.line.is_read = False
