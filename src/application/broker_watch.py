"""Knows which parts of the destination take writes and have what they confirmed.

Each part is tried again and again, and each change is logged once.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.destination import WHOLE, Destination, Part
from application.ports.errors import PublisherError
from application.ports.telemetry import Losses, Telemetry
from application.time_limit import answered_within

CHECK_EVERY_SECONDS = 1.0
CHECK_SECONDS = 2.0
"""How often a part is tried, and how long it may take to answer."""

RETRY_SECONDS = 0.2
"""How often it is tried while it does not, or has not yet shown what it still knows."""

MOST_CAUSES = 10
"""How many causes of one outage are told, each once."""

ASKED = "the broker is asked what it still knows"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Outage:
    """What has come of one: `before` is what was lost and given again until it began."""

    since: float
    before: Losses
    waited_bytes: int = 0
    waited_streams: int = 0


class _PartWatch:
    """Tries one part; `run` is its body. `on_change` is called when it is up or down."""

    def __init__(
        self,
        part: Part,
        destination: Destination,
        sender: Sender,
        clock: Clock,
        telemetry: Telemetry,
        on_change: Callable[[], None],
    ) -> None:
        self.part = part
        self.is_writable = False
        self._destination = destination
        self._sender = sender
        self._clock = clock
        self._telemetry = telemetry
        self._on_change = on_change
        self._doubt = asyncio.Event()
        self.is_tried = False
        self._trouble: str | None = None
        self._told: set[str] = set()
        self._outage: _Outage | None = None

    @property
    def is_up(self) -> bool:
        """Whether the part takes writes, and has all that it once confirmed."""
        return self.is_writable and self._sender.is_proved(self.part.name)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            self._doubt.clear()
            await self.check()
            if not self.is_writable:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_SECONDS):
                    await self._doubt.wait()

    def doubt(self) -> None:
        """Be ready no more at once, and look."""
        self._doubt.set()
        if self.is_writable:
            self._note(ASKED)

    async def check(self) -> None:
        """Try the part once."""
        name, since = self.part.name, self._clock.monotonic()
        self._measure_outage()
        try:
            async with answered_within(CHECK_SECONDS):
                await self._destination.verify_part(name)
        except PublisherError as error:
            self._note("the broker does not take writes", str(error))
            self._sender.note_failure(name)
        else:
            self._sender.note_alive(since, name)
            self._note(None if self._sender.is_proved(name) else ASKED)

    def _note(self, trouble: str | None, error: str = "") -> None:
        has_changed = not self.is_tried or trouble != self._trouble
        is_new_cause = error not in self._told and len(self._told) < MOST_CAUSES
        if not has_changed and not (error and is_new_cause):
            return
        if trouble is not None and self._outage is None and (self.is_writable or error):
            alive_at = self._sender.alive_at(self.part.name)
            self._outage = _Outage(alive_at, self._telemetry.losses())
            self._measure_outage()
        self.is_tried, self._trouble = True, trouble
        self.is_writable = trouble is None
        if has_changed:
            self._on_change()
        if trouble is None:
            self._told.clear()
            self._log_up()
        elif error:
            self._told.add(error)
            _log.error(trouble, extra={**self._names(), "error": error})
        else:
            _log.info(trouble, extra=self._names())

    def _measure_outage(self) -> None:
        """Note how much waits for the destination, if the part is away."""
        outage, sender = self._outage, self._sender
        if outage is not None:
            waiting = sender.budget.held_bytes.unconfirmed
            outage.waited_bytes = max(outage.waited_bytes, waiting)
            outage.waited_streams = max(outage.waited_streams, sender.unpublished())

    def _log_up(self) -> None:
        outage, self._outage = self._outage, None
        if outage is None:
            _log.info("the broker takes writes", extra=self._names())
            return
        before, now = outage.before, self._telemetry.losses()
        lost = now.lost - before.lost
        _log.log(
            logging.WARNING if lost else logging.INFO,
            "the broker is back, %s",
            "frames are lost" if lost else "nothing is lost",
            extra={
                **self._names(),
                "away_seconds": round(self._clock.monotonic() - outage.since, 1),
                "waited_streams": outage.waited_streams,
                "waited_bytes": outage.waited_bytes,
                "refilled_frames": now.refilled - before.refilled,
                "streams_begun_again": now.began_again - before.began_again,
                "lost_frames": lost,
            },
        )

    def _names(self) -> dict[str, object]:
        return {"part": self.part.name} if self.part.name else {}


class BrokerWatch:
    """Watches each part of the destination; `run` is its body."""

    def __init__(
        self,
        destination: Destination,
        sender: Sender,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._destination = destination
        self._sender = sender
        self._clock = clock
        self._telemetry = telemetry
        self._watches = {it.name: self._watch(it) for it in destination.parts()}
        self._up = asyncio.Event()
        self._told: tuple[bool, dict[str, bool]] | None = None
        sender.on_doubt = self._on_doubt

    @property
    def is_up(self) -> bool:
        """Whether starts and ends can be stored: each part that all need takes writes."""
        return all(watch.is_up for watch in self._watches.values() if watch.part.is_shared)

    @property
    def away(self) -> list[str]:
        """The parts that take no writes, or have not yet shown what they still know."""
        return [name for name, watch in self._watches.items() if not watch.is_up]

    @property
    def has_parts(self) -> bool:
        """Whether the destination has parts that fail by themselves, as far as is known."""
        return list(self._watches) != [WHOLE.name]

    async def run(self) -> None:
        """Watch for ever, also the parts that come."""
        tasks: dict[_PartWatch, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._find_parts()
                for watch in tasks.keys() - set(self._watches.values()):
                    tasks.pop(watch).cancel()
                for watch in self._watches.values():
                    if watch not in tasks:
                        tasks[watch] = group.create_task(watch.run())
                await asyncio.sleep(RETRY_SECONDS)

    async def check(self) -> None:
        """Try each part once, also those that are known only then."""
        await self._find_parts()
        await _check(self._watches.values())
        await self._find_parts()

    async def wait_until_up(self, seconds: float) -> bool:
        """Wait at most `seconds` for the destination; tell whether it takes writes."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def _find_parts(self) -> None:
        """Watch the parts that are known now, and no others; a new one is tried first."""
        parts = self._destination.parts()
        old = self._watches
        if list(parts) == [watch.part for watch in old.values()]:
            return
        watches = {part.name: old.get(part.name) or self._watch(part) for part in parts}
        await _check([watch for name, watch in watches.items() if name not in old])
        for part in parts:
            watches[part.name].part = part
        for name in old.keys() - watches.keys() - {WHOLE.name}:
            _log.info("the broker has this part no more", extra={"part": name})
        self._watches = watches
        self._on_change()

    def _watch(self, part: Part) -> _PartWatch:
        return _PartWatch(
            part, self._destination, self._sender, self._clock, self._telemetry, self._on_change
        )

    def _on_doubt(self, part: str) -> None:
        watch = self._watches.get(part)
        if watch is not None:
            watch.doubt()

    def _on_change(self) -> None:
        """Tell who waits, and the metrics."""
        watches = self._watches.values()
        if all(watch.is_writable for watch in watches if watch.part.is_shared):
            self._up.set()
        else:
            self._up.clear()
        if all(watch.is_tried for watch in watches):
            parts = {it.part.name: it.is_writable for it in watches if self.has_parts}
            told = (all(watch.is_writable for watch in watches), parts)
            if told != self._told:
                self._told = told
                self._telemetry.broker(up=told[0], parts=parts)


async def _check(watches: Collection[_PartWatch]) -> None:
    """Try parts once, side by side."""
    async with asyncio.TaskGroup() as group:
        for watch in watches:
            group.create_task(watch.check())
