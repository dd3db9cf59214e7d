"""Use case: end the runs of processes that died, on their senders' behalf.

Every process gives the streams that it holds a new beat again and again, those that wait for their
sender included. A beat that stays the same for longer than a run waits for its sender is of a
process that is gone, or that is frozen and will find its generation closed. It is looked at so
many times, TEND_SECONDS apart: no clock is compared with another, and a pause of our own, or of
the destination, in which nobody could tend anything, counts as one look at most.
"""

import asyncio
import logging
from collections.abc import Mapping

from application.live_stream import LiveStreams
from application.ports.errors import PublisherError
from application.ports.open_runs import OpenRuns
from application.time_limit import answered_within
from domain.identifiers import StreamKey

TEND_SECONDS = 5.0
"""How often the streams are tended, and the untended looked for."""

GRACE_SECONDS = 10.0
"""How much longer than a run waits for its sender a stream may be untended: two rounds missed."""

_log = logging.getLogger(__name__)


class RecoverRuns:
    """Tends and recovers; `run` is its body."""

    def __init__(
        self,
        open_runs: OpenRuns,
        live_streams: LiveStreams,
        *,
        resume_seconds: float,
    ) -> None:
        self._open_runs = open_runs
        self._live_streams = live_streams
        self._looks = -int(-(resume_seconds + GRACE_SECONDS) / TEND_SECONDS // 1)
        self._seen: dict[StreamKey, tuple[float, int]] = {}

    async def run(self) -> None:
        """Go round for ever. Without a broker nothing is lost by waiting for the next round."""
        while True:
            try:
                async with answered_within():
                    await self._open_runs.tend(self._live_streams.keys())
                    beats = await self._open_runs.beats()
                await self._recover(beats)
            except PublisherError as error:
                self._seen.clear()
                _log.info("runs not looked after", extra={"error": str(error)})
            await asyncio.sleep(TEND_SECONDS)

    async def _recover(self, beats: Mapping[StreamKey, float]) -> None:
        """End what has had the same beat at so many looks in a row since it was first seen."""
        seen, self._seen = self._seen, {}
        for stream, beat in beats.items():
            last, looks = seen.get(stream, (beat, 0))
            self._seen[stream] = (beat, looks + 1 if beat == last else 1)
        for stream, (beat, looks) in list(self._seen.items()):
            if looks > self._looks:
                async with answered_within():
                    if await self._open_runs.end_untended(stream, beat):
                        _log.warning("run of a dead process ended", extra={"stream": str(stream)})
