"""Knows which parts of the destination take writes and are in sync."""

import asyncio
import logging
from collections.abc import Collection

from application.delivery.sender import Sender
from application.ports.clock import Clock
from application.ports.destination import WHOLE, Destination, Part
from application.ports.telemetry import Telemetry
from application.watch.part_watch import PartWatch

FIND_PARTS_SECONDS = 0.2
"""How often the destination is asked for its parts."""

_log = logging.getLogger(__name__)


class BrokerWatch:
    """Watches each part of the destination; `run` is its body."""

    def __init__(
        self,
        destination: Destination,
        sender: Sender,
        clock: Clock,
        telemetry: Telemetry,
        find_parts_seconds: float = FIND_PARTS_SECONDS,
    ) -> None:
        self._find_parts_seconds = find_parts_seconds
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
        """The parts that take no writes, or are not yet in sync."""
        return [name for name, watch in self._watches.items() if not watch.is_up]

    @property
    def has_parts(self) -> bool:
        """Whether the destination has several parts, as far as is known."""
        return list(self._watches) != [WHOLE.name]

    async def run(self) -> None:
        """Watch all parts for ever, including new ones."""
        tasks: dict[PartWatch, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._find_parts()
                for watch in tasks.keys() - set(self._watches.values()):
                    tasks.pop(watch).cancel()
                for watch in self._watches.values():
                    if watch not in tasks:
                        tasks[watch] = group.create_task(watch.run())
                await asyncio.sleep(self._find_parts_seconds)

    async def check(self) -> None:
        """Try each part once, including parts that become known meanwhile."""
        await self._find_parts()
        await _check(self._watches.values())
        await self._find_parts()

    async def wait_until_up(self, seconds: float) -> bool:
        """Wait at most `seconds` for the destination; return whether it takes writes."""
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def _find_parts(self) -> None:
        """Watch exactly the parts that are known now; a new one is tried first."""
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

    def _watch(self, part: Part) -> PartWatch:
        return PartWatch(part, self._destination, self._sender, self._clock, self._on_change)

    def _on_doubt(self, part: str) -> None:
        watch = self._watches.get(part)
        if watch is not None:
            watch.doubt()

    def _on_change(self) -> None:
        """Notify waiting tasks, and set the metrics."""
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
                self._telemetry.broker(up=told[0], parts=parts, since_ms=self._since_ms())

    def _since_ms(self) -> int:
        """Return when the part that is away the longest answered last; now if none is away."""
        now = self._clock.instant()
        away = [it.away_since for it in self._watches.values() if it.away_since is not None]
        return now.epoch_ms - round((now.monotonic - min(away, default=now.monotonic)) * 1_000)


async def _check(watches: Collection[PartWatch]) -> None:
    """Try parts once, concurrently."""
    async with asyncio.TaskGroup() as group:
        for watch in watches:
            group.create_task(watch.check())
