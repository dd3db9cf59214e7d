"""Judges finished calls while a soak goes on, and deletes them: a broker's memory has an end."""

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic, time
from typing import Any

import redis
from history import Defect, SentStream
from history_judge import expected_in_index, judge, judge_index
from published import entries

REWIND_SECONDS = 5.0
SETTLED_SECONDS = REWIND_SECONDS + 3.0
"""A service still holds what was confirmed so lately, and would miss it if it were deleted."""

LAST_LOOK_SECONDS = 20.0
"""What is not as promised by then stays so. Long enough for a fault to be over."""

INDEX_SECONDS = 120.0
"""What is announced of a stream that is judged is not older. Once the stream is deleted a broker
may forget it, and nobody has to say it again."""

PAUSE_SECONDS = 1.0
PAGE = 5000


class Janitor:
    """Give it streams whose senders are done; `work` until `stop`, then `finish`."""

    def __init__(self, url: str) -> None:
        self.defects: list[Defect] = []
        self.frames = 0
        self._broker = redis.Redis.from_url(url, socket_timeout=5)
        self._waiting: deque[tuple[float, SentStream]] = deque()
        self._deleted: deque[tuple[float, SentStream]] = deque()
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
        self._broker.close()

    async def _round(self) -> None:
        for _ in range(len(self._waiting)):
            since, stream = self._waiting.popleft()
            is_settled = since + SETTLED_SECONDS < monotonic()
            if not is_settled or not await self._judge(stream, since):
                self._waiting.append((since, stream))

    async def _judge(self, stream: SentStream, since: float) -> bool:
        """Tell whether the verdict is final. What is wrong may be mended until the last look."""
        try:
            found = await asyncio.to_thread(entries, self._broker, stream.name, stream.tenant)
            announced = await asyncio.to_thread(self._read_index)
        except redis.RedisError:
            return False
        defects = judge(stream, found) + judge_index(expected_in_index(stream, found), announced)
        if defects and monotonic() < since + LAST_LOOK_SECONDS:
            return False
        self.defects += defects
        self.frames += sum(entry["type"] == "audio" for _, entry in found)
        self._deleted.append((monotonic(), stream))
        await asyncio.to_thread(self._delete)
        return True

    def _delete(self) -> None:
        """Delete what was judged, and again what was lately: a broker may forget that as well."""
        while self._deleted and self._deleted[0][0] + LAST_LOOK_SECONDS < monotonic():
            self._deleted.popleft()
        for _, stream in self._deleted:
            slot = f"{{{stream.tenant}/{stream.name}}}"
            try:
                self._broker.delete(f"rtaa:audio:{slot}", f"rtaa:interaction:{slot}")
            except redis.RedisError:
                return  # they will be deleted with the next

    def _read_index(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        after = f"{round((time() - INDEX_SECONDS) * 1_000)}"
        while True:
            page: Any = self._broker.xrange("rtaa:interactions", min=after, count=PAGE)
            found |= {(f[b"type"].decode(), f[b"event_id"].decode()) for _, f in page}
            if len(page) < PAGE:
                return found
            after = f"({page[-1][0].decode()}"
