"""The worker for programs without asyncio."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager

from rtaa_reader.async_reader import AsyncReader
from rtaa_reader.events import Event
from rtaa_reader.options import Options


class Reader(Iterator[Event], AbstractContextManager["Reader"]):
    """`AsyncReader` for programs without asyncio, with its own event loop; for one thread."""

    def __init__(self, url: str, group: str, worker: str, options: Options = Options()) -> None:  # noqa: B008 - it is frozen
        self._runner, self._reader = asyncio.Runner(), AsyncReader(url, group, worker, options)

    def __next__(self) -> Event:
        while not self._reader.is_closed:
            if (event := self._reader.pop()) is not None:
                return event
            self._runner.run(self._reader.step())
        raise StopIteration

    def commit(self, event: Event) -> bool:
        """Commit an event and all before it of its stream. See `AsyncReader.commit`."""
        return self._runner.run(self._reader.commit(event))

    def lag(self) -> dict[str, float] | None:
        """Return the consumer lag. See `AsyncReader.lag`."""
        return self._runner.run(self._reader.lag())

    def close(self, *_: object) -> None:
        """Commit done events, release the streams for other workers, and disconnect."""
        self._runner.run(self._reader.close())
        self._runner.close()

    __exit__ = close
