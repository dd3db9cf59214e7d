"""One follower for all viewers. It runs only while there are any, over a separate connection."""

import asyncio
import logging
from collections.abc import Callable

from application.overview.call_overview import CallOverview
from application.overview.follower import Follower
from application.ports.clock import Clock
from application.ports.destination import Destination

MAX_VIEWERS = 8
ASLEEP_SECONDS = 60.0
"""A viewer that has not looked for this long, because its connection is stuck, is removed.
"""

LINGER_SECONDS = 10.0
"""How long the follower stays after the last viewer has left, since a page that is reloaded or
changes its selection comes back at once."""

CHECK_SECONDS = 0.5

_log = logging.getLogger(__name__)


class TooManyViewers(Exception):
    """All places are taken, or the service stops."""


class Audience:
    """Admits viewers, up to a limit. `connect` makes the connection of the follower."""

    def __init__(
        self,
        connect: Callable[[], Destination],
        clock: Clock,
        looks_per_second: int,
        max_viewers: int = MAX_VIEWERS,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._looks_per_second = looks_per_second
        self._max_viewers = max_viewers
        self._linger_seconds = linger_seconds
        self._viewers: dict[object, float] = {}
        """When each of them looked last."""
        self._task: asyncio.Task[None] | None = None
        self._following: tuple[CallOverview, Follower] | None = None
        self.is_closed = False

    def join(self, viewer: object) -> None:
        """Admit a viewer; the first one starts the follower.

        Raises:
            TooManyViewers: there is no place for it.

        """
        if self.is_closed or len(self._viewers) >= self._max_viewers:
            raise TooManyViewers
        if self._task is None or self._task.done():
            overview = CallOverview()
            destination = self._connect()
            follower = Follower(destination.reader, self._clock, overview, self._looks_per_second)
            self._following = overview, follower
            self._task = asyncio.create_task(self._serve(destination, follower), name="live page")
        self._viewers[viewer] = self._clock.monotonic()  # not before there is something to see

    def leave(self, viewer: object) -> None:
        """Remove a viewer. Idempotent."""
        self._viewers.pop(viewer, None)
        if self._following is not None:
            follower = self._following[1]
            follower.shown.pop(viewer, None)
            follower.watched.pop(viewer, None)

    @property
    def viewers(self) -> int:
        """How many are in."""
        return len(self._viewers)

    def look(self, viewer: object) -> tuple[CallOverview, Follower] | None:
        """Return the overview; None if the viewer must leave, for instance at a shutdown."""
        is_running = self._task is not None and not self._task.done() and not self.is_closed
        if not is_running or viewer not in self._viewers:
            return None
        self._viewers[viewer] = self._clock.monotonic()
        return self._following

    async def close(self) -> None:
        """Remove all viewers, and stop following."""
        self.is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _drop_sleepers(self) -> None:
        oldest = self._clock.monotonic() - ASLEEP_SECONDS
        for viewer in [it for it, looked_at in self._viewers.items() if looked_at < oldest]:
            self.leave(viewer)

    async def _serve(self, destination: Destination, follower: Follower) -> None:
        """Follow until there has been no viewer for a while."""
        following = asyncio.create_task(follower.run(), name="follower of the live page")
        idle_seconds = 0.0
        try:
            while idle_seconds < self._linger_seconds:
                done, _ = await asyncio.wait([following], timeout=CHECK_SECONDS)
                if done:
                    _log.error("the live page's follower failed", exc_info=following.exception())
                    return
                self._drop_sleepers()
                idle_seconds = 0.0 if self._viewers else idle_seconds + CHECK_SECONDS
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await destination.close()
