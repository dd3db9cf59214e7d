"""Judges finished calls while a soak runs, and deletes them: a broker's memory has an end."""

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic

from history import Defect, SentStream
from history_judge import expected_in_index, judge, judge_index
from soak_broker import Reader, Unreadable

REWIND_SECONDS = 5.0
SETTLED_SECONDS = REWIND_SECONDS + 3.0
"""A service still holds what was confirmed so lately, and would miss it if it were deleted."""

LAST_LOOK_SECONDS = 20.0
"""What is not as promised by then stays so. Long enough for a fault to be over."""

INDEX_SECONDS = 600.0
"""What is announced of a stream that is judged is not older. Once the stream is deleted a broker
may lose it, and nothing announces it once more."""

PAUSE_SECONDS = 1.0


class Calm:
    """Keeps faults of the broker and looks at it apart: neither begins during the other.

    So no look meets a server that is about to lose what it shows.
    """

    def __init__(self) -> None:
        self.since = monotonic()
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *error: object) -> None:
        self._lock.release()

    def note_fault(self) -> None:
        """Count the calm from now."""
        self.since = monotonic()


class Janitor:
    """Give it streams whose senders are done; `work` until `stop`, then `finish`.

    Nothing is judged until the broker has been calm for `rest_seconds`.
    """

    def __init__(self, reader: Reader, calm: Calm, rest_seconds: float) -> None:
        self.defects: list[Defect] = []
        self.frames = 0
        self._reader = reader
        self._calm = calm
        self._rest_seconds = rest_seconds
        self._waiting: deque[tuple[float, SentStream]] = deque()
        self._deleted: list[tuple[float, SentStream]] = []
        self._deleted_at = monotonic()
        self._stopped = asyncio.Event()

    def take(self, stream: SentStream) -> None:
        """Judge this stream when it has settled."""
        self._waiting.append((monotonic(), stream))

    async def work(self) -> None:
        """Judge and delete what has settled, until `stop`: cut off it would forget a stream."""
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._stopped.wait()
            await self._round()

    def stop(self) -> None:
        """Have `work` end."""
        self._stopped.set()

    async def finish(self, limit: float) -> None:
        """Judge everything that is left.

        Raises:
            TimeoutError: the broker could not be read for that long.

        """
        async with asyncio.timeout(limit):
            while self._waiting:
                await asyncio.sleep(PAUSE_SECONDS / 5)
                await self._round()
        self._reader.close()

    async def _round(self) -> None:
        for _ in range(len(self._waiting)):
            since, stream = self._waiting.popleft()
            async with self._calm:
                has_rested = self._calm.since + self._rest_seconds < monotonic()
                is_settled = since + SETTLED_SECONDS < monotonic() and has_rested
                if not is_settled or not await self._judge(stream, self._first_look(since)):
                    self._waiting.append((since, stream))

    def _first_look(self, since: float) -> float:
        """Return since when a stream could be as promised."""
        return max(since, self._calm.since) if self._rest_seconds else since

    async def _judge(self, stream: SentStream, since: float) -> bool:
        """Tell whether the verdict is final. What is wrong may be mended until the last look."""
        try:
            found = await asyncio.to_thread(self._reader.entries, stream)
            announced = await asyncio.to_thread(self._reader.announced, INDEX_SECONDS)
        except Unreadable:
            return False
        defects = judge(stream, found) + judge_index(expected_in_index(stream, found), announced)
        if defects and monotonic() < since + LAST_LOOK_SECONDS:
            return False
        self.defects += defects
        self.frames += sum(entry["type"] == "audio" for _, entry in found)
        await asyncio.to_thread(self._delete, stream)
        return True

    def _delete(self, stream: SentStream) -> None:
        """Delete what was judged, and again what was before the last fault: it may be back.

        Not more often: what is deleted while a service holds it, the service replays.
        """
        now, is_after_fault = monotonic(), self._deleted_at < self._calm.since
        self._deleted = [it for it in self._deleted if it[0] + LAST_LOOK_SECONDS > now]
        again = [it for _, it in self._deleted] if is_after_fault else []
        self._deleted.append((now, stream))
        with suppress(Unreadable):  # after the next fault
            self._reader.delete([*again, stream])
            self._deleted_at = now
