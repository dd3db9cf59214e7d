"""The worker for programs with asyncio."""

import asyncio
import json
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from math import inf
from secrets import token_hex
from time import monotonic
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError, RedisError

from rtaa_reader.broker import FINAL, Broker, Command
from rtaa_reader.events import Call, Event
from rtaa_reader.options import Options
from rtaa_reader.owned import Owned
from rtaa_reader.position import Position

T = TypeVar("T")

POLL_SECONDS, FLUSH_SECONDS, RETRY_SECONDS, LIMIT_SECONDS = 0.02, 0.2, 0.2, 5.0
PAGE_ENTRIES, PAGE_NOTICES, REMEMBERED = 100, 8, 1_000

_warn = logging.getLogger("rtaa_reader").warning
_HOLD = files("rtaa_reader").joinpath("hold.lua").read_text()


class AsyncReader(AsyncIterator[Event], AbstractAsyncContextManager["AsyncReader"]):
    """A worker of a group: yields events, in order within a stream, without repeats.

    Iteration waits for a broker that is away, and ends only after `close`. Request the next event
    within `lease_seconds`. Other tasks may `commit` meanwhile.

    Raises:
        ValueError: the group's name has invalid characters, or the URL is invalid.
        RedisError: the broker refuses permanently, for instance for lack of rights.

    """

    def __init__(self, url: str, group: str, worker: str, options: Options = Options()) -> None:  # noqa: B008 - it is frozen
        if not re.fullmatch(r"[\w.~@+=-]{1,128}", group):
            raise ValueError("a group's name has letters, digits and . _ ~ @ + = -")
        self._broker, self._lock, self._options = Broker(url), asyncio.Lock(), options
        self._ask, self._lease = self._broker.ask, options.lease_seconds
        self._index, self._who = f"{options.prefix}:interactions", (group, worker)
        self._key, self._token, self._cursor = f"{options.prefix}:reader:{group}", b"", b"0-0"
        self._calls, self._batch = dict[str, Owned](), deque[Event]()
        self._yielded: Event | None = None
        self._settled_at, self._flush_at, self.is_closed = inf, 0.0, False

    async def __anext__(self) -> Event:
        while not self.is_closed:
            if (event := self.pop()) is not None:
                return event
            await self.step()
        raise StopAsyncIteration

    def pop(self) -> Event | None:
        """Return the next event, or None: then call `step`. The previous event counts as done."""
        if self._yielded is not None and self._options.autocommit:
            self._note(self._yielded)
        is_ready = self._batch and monotonic() < self._flush_at
        self._yielded = self._batch.popleft() if is_ready else None
        return self._yielded

    async def step(self) -> None:
        """Renew and commit, and look for calls; read if nothing is left to yield."""
        await self._attempt(self._step)

    async def commit(self, event: Event) -> bool:
        """Commit an event and all before it of its stream.

        True if the broker has confirmed it. False if another worker has taken the stream over, or
        if the broker is away; in that case the commit is retried as long as this worker owns the
        stream.
        """
        call = self._note(event)
        if call and call.stored.number < event.position.number:
            await self._attempt(self._put, [call], self._lease)
        return call is not None and call.stored.number >= event.position.number

    async def lag(self) -> dict[str, float] | None:
        """Return the consumer lag of each stream, in ms of speech.

        For the streams that this worker owns: uncommitted entries times the duration of the last
        frame. None if the broker is away.
        """
        calls, lag = self._active(), dict[str, float]()
        asked = [("HMGET", self._of("interaction", it.stream), "next", "trimmed") for it in calls]
        replies = await self._attempt(self._broker.ask, asked)
        for call, (end, trimmed) in zip(calls, replies or (), strict=replies is not None):
            done = int(call.committed.entry.partition("-")[2] or -1) + 1
            missing = int(end or 0) - max(done, int(trimmed or 0))
            lag[call.stream] = max(missing, 0) * call.tape.frame_ms
        return None if replies is None else lag

    async def close(self, *_: object) -> None:
        """Commit done events, release the streams for other workers, and disconnect."""
        self.is_closed = True
        await self._attempt(self._put, self._active(), 0.0)
        await self._broker.disconnect()

    __aexit__ = close

    async def _attempt(self, step: Callable[..., Awaitable[T]], *of: object) -> T | None:
        """Take a step; return None after a pause if the broker is away or refuses for now."""
        try:
            async with self._lock, asyncio.timeout(LIMIT_SECONDS):
                return await step(*of)
        except (RedisError, TimeoutError) as error:
            if isinstance(error, NoPermissionError) or FINAL.search(str(error)):
                raise
            _warn("the broker is away: %s: %s", type(error).__name__, error)
            self._settled_at, self._flush_at = inf, 0.0
            await self._broker.disconnect()
            await asyncio.sleep(RETRY_SECONDS)
            return None

    async def _step(self) -> None:
        if self._settled_at == inf:
            await self._join()
        now = monotonic()
        if now >= self._flush_at and await self._put(self._active(), self._lease):
            self._flush_at = now + FLUSH_SECONDS  # until then all calls are this worker's
        for call in [it for it in self._calls.values() if it.is_released][:-REMEMBERED]:
            del self._calls[call.stream]
        await asyncio.sleep(0 if self._batch and now < self._flush_at else POLL_SECONDS)
        if len(self._active()) < self._options.max_calls and now >= self._settled_at:
            await self._find()
        if not self._batch:
            await self._read()

    def _active(self) -> list[Owned]:
        return [call for call in self._calls.values() if not call.is_released]

    def _of(self, kind: str, stream: str) -> str:
        return f"{self._options.prefix}:{kind}:{{{stream}}}"

    def _note(self, event: Event) -> Owned | None:
        """Mark an event as done; return None if it was read under an earlier lease."""
        call = self._calls.get(event.stream)
        if call is None or call.tape.lease != event.lease:
            return None
        call.committed = max(call.committed, event.position, key=lambda it: it.number)
        return call

    async def _join(self) -> None:
        """Create the group if there is none, and repeat recent releases.

        The broker may have been rolled back or emptied. So this worker takes no unknown calls for
        the time of a lease, in which their owners can renew their leases.
        """
        is_known = not self._token and await self._broker.uptime() > self._lease
        group = "XGROUP", "CREATE", self._index, self._who[0], "0", "MKSTREAM"
        token = ("SET", self._key, token_hex(8), "NX"), ("GET", self._key)
        _, self._token, _ = await self._ask([*token, group])
        await self._put([it for it in self._calls.values() if it.is_released], 0.0)
        self._settled_at = 0.0 if is_known else monotonic() + self._lease

    async def _ask_same(self, commands: list[Command]) -> list[Any]:
        """Send commands to the broker; fail if it was emptied before it executed them.

        Otherwise a worker could take calls whose owners have not had time to renew their leases.
        """
        *replies, token = await self._ask([*commands, ("GET", self._key)])
        if token != self._token:
            raise RedisError("it has been emptied")
        return replies

    async def _put(self, calls: list[Owned], seconds: float) -> bool:
        """Write lease and position of calls, some of which another worker may own.

        Return False if one may be free, and must be tried again. On an emptied broker the owners
        are unknown: `_join` releases the calls that were being taken, and renews the others.
        """
        calls = [call for call in calls if self._calls.get(call.stream) is call]
        sent = [(it, it.committed, 0 if it.is_over() else round(seconds * 1000)) for it in calls]
        asked, is_sure = list[Command](), True
        for call, position, milliseconds in sent:
            key, who = f"{self._key}:{{{call.stream}}}", (call.owner, self._who[1])
            asked.append(("EVAL", _HOLD, 1, key, *who, milliseconds, call.fence, position.dumps()))
        replies = zip(sent, await self._ask_same(asked) if asked else [], strict=True)
        for (call, position, milliseconds), (is_taken, fence, text) in replies:
            found, is_later = Position.loads(text), fence > call.fence
            if is_taken:
                call.fence, call.stored = fence, position
                if found[:3] != position[:3]:  # of an owner who came later
                    self._lose(call, found)
                call.is_released = not milliseconds
            elif is_later or call.is_released or monotonic() >= self._settled_at:
                self._lose(call, found)
                del self._calls[call.stream]
            else:  # of an older owner, after the broker was rolled back
                is_sure = False
        return is_sure

    def _lose(self, call: Owned, found: Position) -> None:
        call.begin(found, call.tape.call)
        self._batch = deque(it for it in self._batch if it.stream != call.stream)
        if not call.is_released:
            self._options.on_lost(call.stream)

    async def _find(self) -> None:
        """Read the index, and try to own its calls."""
        page, idle = ("COUNT", PAGE_NOTICES), round(self._lease * 333)
        new = "XREADGROUP", "GROUP", *self._who, *page, "STREAMS", self._index, ">"
        left = "XAUTOCLAIM", self._index, *self._who, idle, self._cursor, *page
        found, (self._cursor, notices, *_) = await self._ask_same([new, left])
        notices += [notice for _, notices in found or () for notice in notices]
        # Redis 6 has nothing of a notice that is trimmed, not even its id.
        read = [entry for entry, fields in notices if entry and await self._has_read(fields)]
        await self._ask([("XACK", self._index, self._who[0], *read)] if read else [])

    async def _has_read(self, fields: dict[bytes, bytes]) -> bool:
        """Return whether a run is read and committed; if not, try to own its stream.

        Its announcement stays pending, and the worker that claims it tries again.
        """
        notice = {key.decode(): value.decode() for key, value in fields.items()}
        if notice.get("type") != "started":
            return True
        stream, key = f"{notice['tenant_id']}/{notice['stream_id']}", notice["key"]
        call = self._calls.get(stream) or Owned(stream)
        if call.is_released:
            facts = "HGET", self._of("interaction", stream), "started"
            asked = ("EXISTS", key), ("HGET", f"{self._key}:{{{stream}}}", "position"), facts
            exists, text, started = await self._ask(asked, "WRONGTYPE")
            at, newest = Position.loads(text), json.loads(started or "{}").get("generation", -1)
            if not exists or at.has_read(notice["run"], int(notice["generation"]), newest):
                return True
            first = "XRANGE", key, at.entry.partition("-")[0] or "-", "+", "COUNT", 1
            for _, entry in (await self._ask([first], "WRONGTYPE"))[0] or ():
                started = entry[b"data"] if entry[b"type"] == b"started" else started
            known = {**notice, **json.loads(started or "{}")}
            call.begin(call.committed, Call.read(known))
            self._calls[stream] = call
            await self._put([call], self._lease)
            call.tape.runs[int(known["generation"])] = known["run"]
        call.tape.runs.setdefault(int(notice["generation"]), notice["run"])
        return call.stored.has_read(notice["run"])

    async def _read(self) -> None:
        """Read new entries of all calls into the batch; none if a key has another type."""
        calls, page = self._active(), ("+", "COUNT", PAGE_ENTRIES)
        asked = [("XRANGE", self._of("audio", it.stream), it.tape.start, *page) for it in calls]
        for call, entries in zip(calls, await self._ask(asked, "WRONGTYPE"), strict=True):
            self._batch += call.tape.read(entries or ())
            call.unseen = 0 if entries else call.unseen + 1
