"""Use case: end the runs of processes that died, on their senders' behalf.

Every process tells the destination again and again which streams it holds, those that wait for
their sender included. What nobody has tended for longer than a run waits for its sender belongs
to a process that is gone, or that is frozen and will find its generation closed.
"""

import asyncio
import logging

from application.live_stream import LiveStreams
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.open_runs import OpenRuns
from application.time_limit import answered_within

TEND_SECONDS = 5.0
"""How often the streams are tended, and the untended looked for."""

GRACE_SECONDS = 10.0
"""How much longer than a run waits for its sender a stream may be untended: two rounds missed."""

SETTLE_SECONDS = 12.0
"""How long the destination has to be there before runs are recovered: when it comes back nothing
was tended for as long as it was away, and every living process needs the time for its round."""

_log = logging.getLogger(__name__)


class RecoverRuns:
    """Tends and recovers; `run` is its body."""

    def __init__(
        self,
        open_runs: OpenRuns,
        live_streams: LiveStreams,
        clock: Clock,
        *,
        resume_seconds: float,
    ) -> None:
        self._open_runs = open_runs
        self._live_streams = live_streams
        self._untended_seconds = resume_seconds + GRACE_SECONDS
        self._clock = clock
        self._there_since: float | None = None

    async def run(self) -> None:
        """Go round for ever. Without a broker nothing is lost by waiting for the next round."""
        while True:
            try:
                async with answered_within():
                    await self._open_runs.tend(self._live_streams.keys())
                if self._is_settled():
                    await self._recover()
            except PublisherError as error:
                self._there_since = None
                _log.info("runs not looked after", extra={"error": str(error)})
            await asyncio.sleep(TEND_SECONDS)

    def _is_settled(self) -> bool:
        now = self._clock.monotonic()
        self._there_since = now if self._there_since is None else self._there_since
        return now - self._there_since >= SETTLE_SECONDS

    async def _recover(self) -> None:
        async with answered_within():
            untended = await self._open_runs.untended(self._untended_seconds)
        for stream in untended:
            async with answered_within():
                if await self._open_runs.end_untended(stream, self._untended_seconds):
                    _log.warning("run of a dead process ended", extra={"stream": str(stream)})
