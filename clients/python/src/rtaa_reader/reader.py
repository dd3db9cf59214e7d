"""The worker for programs without asyncio."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager

from rtaa_reader.async_reader import DEFAULTS, AsyncReader
from rtaa_reader.broker import Client
from rtaa_reader.events import Event
from rtaa_reader.worker import Options


class Reader(Iterator[Event], AbstractContextManager["Reader"]):
    """`AsyncReader` for `for`, with an event loop of its own; in one thread.

    A client is one of `redis.asyncio` here too.
    """

    def __init__(
        self, broker: str | Client, group: str, worker: str, options: Options = DEFAULTS
    ) -> None:
        self._runner, self._reader = asyncio.Runner(), AsyncReader(broker, group, worker, options)

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
        """Return how much is published and not committed. See `AsyncReader.lag`."""
        return self._runner.run(self._reader.lag())

    def close(self) -> None:
        """Commit what is done, let other workers take over at once, and disconnect."""
        self._runner.run(self._reader.close())
        self._runner.close()

    def __exit__(self, *error: object) -> None:
        self.close()
