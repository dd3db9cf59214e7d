"""Use case: end the runs of processes that died, on their senders' behalf.

Every process gives the streams that it holds a new beat again and again, those that wait for their
sender included. A beat that stays the same for longer than a run waits for its sender is of a
process that is gone, or that is frozen and will find its generation closed. It is looked at so
many times, TEND_SECONDS apart: no clock is compared with another, and a pause of our own, or of
the destination, in which nobody could tend anything, counts as one look at most.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from application.live_stream import LiveStreams
from application.ports.errors import BrokerRefused, PublisherError
from application.ports.open_runs import OpenRuns
from application.time_limit import answered_within
from domain.identifiers import StreamKey

TEND_SECONDS = 5.0
"""How often the streams are tended, and the untended looked for."""

GRACE_SECONDS = 10.0
"""How much longer than a run waits for its sender a stream may be untended: two rounds missed."""

ENDED_AT_ONCE = 50
"""Runs that are ended side by side: a process that died may have held thousands."""

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
        self._refused: set[StreamKey] = set()
        self._failing: set[Callable[[], Awaitable[None]]] = set()

    async def run(self) -> None:
        """Tend and look for ever. Without a broker nothing is lost by waiting for the next time.

        What there is to recover, however much, never keeps our own streams from being tended.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._tend))
            tasks.create_task(self._repeat(self._look))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step for ever. Where one fails nobody can tend: looks are counted anew.

        Why is said once, until both steps are well again.
        """
        while True:
            try:
                await step()
            except PublisherError as error:
                self._seen.clear()
                if not self._failing:
                    _log.warning("runs are not looked after", extra={"error": str(error)})
                self._failing.add(step)
            else:
                self._failing.discard(step)
            await asyncio.sleep(TEND_SECONDS)

    async def _tend(self) -> None:
        async with answered_within():
            await self._open_runs.tend(self._live_streams.keys())

    async def _look(self) -> None:
        async with answered_within():
            beats = await self._open_runs.beats()
        self._count(beats)
        await self._recover()

    def _count(self, beats: Mapping[StreamKey, float]) -> None:
        """Count at how many looks in a row each stream has had the same beat."""
        seen, self._seen = self._seen, {}
        for stream, beat in beats.items():
            last, looks = seen.get(stream, (beat, 0))
            self._seen[stream] = (beat, looks + 1 if beat == last else 1)
        self._refused &= self._seen.keys()

    async def _recover(self) -> None:
        """End what has had the same beat too often."""
        dead = [
            (stream, beat) for stream, (beat, looks) in self._seen.items() if looks > self._looks
        ]
        for first in range(0, len(dead), ENDED_AT_ONCE):
            together = dead[first : first + ENDED_AT_ONCE]
            failures = await asyncio.gather(*(self._end(*each) for each in together))
            for failure in failures:
                if failure is not None:
                    raise failure

    async def _end(self, stream: StreamKey, beat: float) -> PublisherError | None:
        """End one run; return why the destination was not reached. A stream may fail by itself."""
        try:
            async with answered_within():
                has_ended = await self._open_runs.end_untended(stream, beat)
        except BrokerRefused as error:
            if stream not in self._refused:
                self._refused.add(stream)
                why = {**_names(stream), "error": str(error)}
                _log.warning("a run of a dead process cannot be ended yet", extra=why)
        except PublisherError as error:
            return error
        else:
            if has_ended:
                _log.warning("run of a dead process ended", extra=_names(stream))
        return None


def _names(stream: StreamKey) -> dict[str, object]:
    return {"tenant_id": stream.tenant_id, "stream_id": stream.stream_id}
