"""One worker of a group: what it asks the broker, and what it makes of the answers."""

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from secrets import token_hex
from time import monotonic

from redis.exceptions import RedisError

from rtaa_reader.broker import Broker, Command
from rtaa_reader.events import Call, Event
from rtaa_reader.owned import NEVER, Owned
from rtaa_reader.position import Position, numbers

POLL_SECONDS, FLUSH_SECONDS, REMEMBER_SECONDS = 0.02, 0.2, 60.0
PAGE_ENTRIES, INDEX_ENTRIES = 100, 5
KEEP_MS = 24 * 3_600_000
"""How long a lease is kept: longer than its stream."""

_HOLD = files("rtaa_reader").joinpath("hold.lua").read_text()


@dataclass(frozen=True, slots=True)
class Options:
    """Of a reader. Workers of one group need the same `prefix` and `lease_seconds`.

    An event is done when the next one is asked for; without `autocommit`, when it is committed. A
    worker owns `max_calls` at most. `on_lost` is told a stream that another worker has taken over.
    """

    prefix: str = "rtaa"
    lease_seconds: float = 10.0
    autocommit: bool = True
    max_calls: int = 500
    on_lost: Callable[[str], object] = lambda _: None


class Worker:
    """Its steps run one after the other; each of them raises RedisError."""

    def __init__(self, broker: Broker, group: str, worker: str, options: Options) -> None:
        if not re.fullmatch(r"[\w.~@+=-]{1,128}", group):
            raise ValueError("a group's name has letters, digits and . _ ~ @ + = -")
        self._ask, self._uptime, self._options = broker.ask, broker.uptime, options
        self._index, self._group, self._name = f"{options.prefix}:interactions", group, worker
        self._lease, self._token, self._cursor = options.lease_seconds, b"", b"0-0"
        self._kind, self._key = f"reader:{group}", f"{options.prefix}:reader:{group}"
        self._calls, self._batch = dict[str, Owned](), deque[Event]()
        self._yielded: Event | None = None
        self.is_stale = self._has_more = True
        self._settled_at = self._tick_at = self._flush_at = NEVER

    def pop(self) -> Event | None:
        """Return the next event, or None: then run a `round`. What it returned before is done."""
        if self._yielded is not None and self._options.autocommit:
            self._note(self._yielded)
        self._yielded = None
        while self._batch and not (call := self._owner(self._batch[0])):
            self._batch.popleft()  # another worker has it
        if self._batch and call and monotonic() < min(self._flush_at, call.expires_at):
            self._yielded = self._batch.popleft()
        return self._yielded

    async def round(self) -> None:
        """Renew and commit; where nothing is left to yield, look for calls and read."""
        if self.is_stale:
            await self._join()
        await self._hold()
        await asyncio.sleep(0 if self._has_more else POLL_SECONDS)
        if not self._batch:
            self._has_more = False
            if monotonic() >= self._settled_at:
                await self._find()
            await self._read()

    async def commit(self, event: Event) -> bool:
        """Commit an event and all before it; True if the broker has confirmed it."""
        call = self._note(event)
        await self._put([call] if call and call.stored.number < event.position.number else [])
        call = self._owner(event)
        return call is not None and call.stored.number >= event.position.number

    async def lag(self) -> dict[str, float]:
        """Return how much of each stream is published and not committed, in ms of speech."""
        calls, lag = self._active(), dict[str, float]()
        asked = [("HMGET", self._of("interaction", it), "next", "trimmed") for it in calls]
        for call, (end, trimmed) in zip(calls, await self._ask(asked), strict=True):
            missing = int(end or 0) - max(numbers(call.committed.entry)[1] + 1, int(trimmed or 0))
            lag[call.stream] = max(missing, 0) * call.tape.frame_ms
        return lag

    async def leave(self) -> None:
        """Commit what is done, and let other workers take over at once."""
        await self._put(self._active(), releases=True)
        pending = "GROUP", self._group, self._name, "STREAMS", self._index, "0"
        (reply,) = await self._ask([("XREADGROUP", *pending)])
        ids = [entry for _, page in reply or () for entry, _ in page]
        idle = self._name, 0, *ids, "IDLE", round(self._lease * 1000)
        await self._ask([("XCLAIM", self._index, self._group, *idle)] if ids else [])

    def _active(self) -> list[Owned]:
        return [call for call in self._calls.values() if not call.is_released]

    def _of(self, kind: str, call: Owned) -> str:
        return f"{self._options.prefix}:{kind}:{{{call.stream}}}"

    def _owner(self, event: Event) -> Owned | None:
        """Return the stream of an event, if the lease is the one under which it was read."""
        call = self._calls.get(event.stream)
        return call if call is not None and call.tape.lease == event.lease else None

    def _note(self, event: Event) -> Owned | None:
        call = self._owner(event)
        if call is not None and event.position.number > call.committed.number:
            call.committed = event.position
        return call

    async def _join(self) -> None:
        """Make the group if there is none, and hold all calls once more.

        The broker may have been rolled back or emptied. So calls that this worker does not know are
        left alone for the time of a lease, in which their owners hold them once more.
        """
        is_known = not self._token and await self._uptime() > self._lease
        self._settled_at = NEVER if is_known else monotonic() + self._lease
        group = "XGROUP", "CREATE", self._index, self._group, "0", "MKSTREAM"
        token = ("SET", self._key, token_hex(8), "NX"), ("GET", self._key)
        _, self._token, _ = await self._ask([*token, group], allowed="BUSYGROUP")
        for call in self._calls.values():
            call.held_at, call.tape.is_checked = NEVER, False
        self.is_stale = False

    async def _hold(self) -> None:
        """Renew leases and commit, where it is time."""
        now, due = monotonic(), list[Owned]()
        self._flush_at = now + FLUSH_SECONDS
        for call in list(self._calls.values()):
            age, is_behind = now - call.held_at, call.committed is not call.stored
            if call.is_released and REMEMBER_SECONDS < age < -NEVER:
                del self._calls[call.stream]
            is_time = age >= self._lease / 3 or (is_behind and age >= FLUSH_SECONDS)
            is_time = age == -NEVER if call.is_released else is_time or call.has_ended(now)
            due += [call] * is_time
        await self._put(due)

    async def _put(self, calls: list[Owned], *, releases: bool = False) -> None:
        """Write lease and position of calls, of which some may be another worker's."""
        now, asked, sent = monotonic(), list[Command](), list[tuple[Position, float]]()
        for call in calls:
            is_over = releases or call.is_released or call.has_ended(now)
            key = self._of(self._kind, call)
            sent.append((call.committed, 0 if is_over else self._lease))
            who = call.owner, self._name, round(sent[-1][1] * 1000), call.fence
            asked.append(("EVAL", _HOLD, 1, key, *who, call.committed.dumps(), KEEP_MS))
        replies = zip(calls, sent, await self._ask(asked), strict=True)
        for call, (kept, lease), (is_taken, fence, text) in replies:
            found = Position.loads(text)
            if is_taken:
                call.fence, call.held_at, call.stored = fence, now, kept
                call.is_released = not lease
                call.expires_at = now + lease if lease else NEVER
                if found[:3] != kept[:3]:  # of an owner who came later
                    self._lose(call, found)
                self._calls[call.stream] = call
            elif call.is_released:
                call.held_at = now
            elif fence > call.fence or now >= self._settled_at:
                self._lose(call, found)
            else:  # of an older owner, after the broker was rolled back
                call.expires_at = NEVER

    def _lose(self, call: Owned, found: Position) -> None:
        call.begin(found, call.tape.call)  # what it has in the batch is not yielded
        if self._calls.pop(call.stream, None) is not None:
            self._options.on_lost(call.stream)

    async def _find(self) -> None:
        """Read the index, and own the calls that it leads to."""
        asked: list[Command] = [("GET", self._key)]
        if len(self._active()) < self._options.max_calls:
            page = "COUNT", INDEX_ENTRIES, "STREAMS", self._index, ">"
            asked.append(("XREADGROUP", "GROUP", self._group, self._name, *page))
            if monotonic() >= self._tick_at:  # what no worker has brought to an end
                idle = self._name, round(self._lease * 333), self._cursor
                asked.append(("XAUTOCLAIM", self._index, self._group, *idle, "COUNT", PAGE_ENTRIES))
        token, *replies = await self._ask(asked)
        if token != self._token or any(isinstance(it, RedisError) for it in replies):
            self.is_stale = self._has_more = True
            return
        entries = [entry for reply in replies[:1] for _, page in reply or () for entry in page]
        self._has_more, read = len(entries) == INDEX_ENTRIES, []
        for self._cursor, page, *_ in replies[1:]:
            entries += page
            if self._cursor == b"0-0":
                self._tick_at = monotonic() + self._lease / 3
        for entry, fields in entries:
            notice = {key.decode(): value.decode() for key, value in (fields or {}).items()}
            if notice.get("type") != "started" or await self._has_read(notice):
                read.append(entry)
        await self._ask([("XACK", self._index, self._group, *read)] if read else [])

    async def _has_read(self, notice: dict[str, str]) -> bool:
        """Tell whether a run is read and committed; if not, try to own its stream.

        Its notice stays pending, and is tried again by whichever worker claims it.
        """
        stream = f"{notice['tenant_id']}/{notice['stream_id']}"
        call = self._calls.get(stream) or Owned(stream)
        facts = "HGET", self._of("interaction", call), "started"
        position = "HGET", self._of(self._kind, call), "position"
        exists, started, text = await self._ask([("EXISTS", notice["key"]), facts, position])
        if not exists or Position.loads(text).has_read(notice["run"]):
            return True
        if call not in self._active():
            self._calls.pop(stream, None)
            call.begin(call.committed, Call.read({**notice, **json.loads(started or "{}")}))
            call.is_released, call.is_drained, call.seen_at = False, False, monotonic()
            await self._put([call])
        call.tape.is_checked, call.tape.runs[int(notice["generation"])] = False, notice["run"]
        return False

    async def _read(self) -> None:
        """Read what is new of all calls into the batch."""
        now, page = monotonic(), ("+", "COUNT", PAGE_ENTRIES)
        calls = [call for call in self._active() if now < call.expires_at]
        for call in calls:
            if now - call.checked_at >= self._lease / 3:
                call.tape.is_checked, call.checked_at = False, now
        asked = [("XRANGE", self._of("audio", it), it.tape.start, *page) for it in calls]
        for call, entries in zip(calls, await self._ask(asked), strict=True):
            self._batch += call.tape.read(entries)
            call.is_drained = call.tape.is_checked and len(entries) < PAGE_ENTRIES
            call.seen_at = now if entries else call.seen_at
            self._has_more |= not call.is_drained
