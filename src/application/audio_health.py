"""Use case: measure the audio of a few frames of each run, outside their delivery.

The hot path hands over one frame in `frames_per_sample`, and longer frames more often: one for as
many times 20 ms. A task measures at most `TURN_SAMPLES` of them in each turn, so that it uses a
bounded share of a core. When the queue is full, further samples are dropped and counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from application.call_context import call_context
from application.delivery.live_stream import LiveStream
from application.ports.telemetry import Telemetry
from domain.audio_health import AudioMeter, Finding, MeasuredFrame

MAX_QUEUED = 100
MAX_SAMPLE_BYTES = 16 * 1024
"""The maximum that is measured of a frame, so the queue holds at most 1.6 MiB."""

TURN_SECONDS = 0.05
TURN_SAMPLES = 20
"""400 samples a second, each 12 to 20 µs: less than 1 % of a core."""

USUAL_FRAME_MS = 20

_log = logging.getLogger(__name__)


class _Taken(NamedTuple):
    """A sample of a run; without a frame it is the end of the run."""

    live: LiveStream
    meter: AudioMeter
    sample: MeasuredFrame | None


def audio_report(live: LiveStream) -> Mapping[str, object]:
    """Return the measurements of a run in this process; empty before the first sample.

    `findings`, and the fields of `AudioFigures`. For views and log lines: numbers are rounded.
    """
    meter = live.audio_meter
    if meter is None:
        return {}
    figures = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in asdict(meter.figures).items()
    }
    return {"findings": [finding.value for finding in meter.findings], **figures}


class AudioHealth:
    """Measures samples; with 0 `frames_per_sample` none is taken. `run` is the task's body."""

    def __init__(self, telemetry: Telemetry, *, frames_per_sample: int) -> None:
        self._telemetry = telemetry
        self._frames_per_sample = frames_per_sample
        self._queue: deque[_Taken] = deque()
        self._has_work = asyncio.Event()

    def take(self, live: LiveStream, audio: bytes, heard_at: float) -> None:
        """Queue an accepted frame as a sample, and choose the next one of its run."""
        every = self._frames_per_sample
        if not every:
            live.until_sample = -1  # it is counted down, and never 0
            return
        media = live.interaction.opening.media
        frame_ms = max(USUAL_FRAME_MS, media.duration_ms(len(audio)))
        live.until_sample = frames = max(1, every * USUAL_FRAME_MS // frame_ms)
        if len(self._queue) >= MAX_QUEUED:
            # Later, and off the rhythm in which the queue is emptied: it may not be full then.
            live.until_sample = 2 * frames + 1
            self._telemetry.audio_sampled("dropped")
            return
        meter = live.audio_meter
        if meter is None:
            meter = live.audio_meter = AudioMeter(media)
        run_bytes = live.interaction.audio_bytes
        sample = MeasuredFrame(audio[:MAX_SAMPLE_BYTES], heard_at, run_bytes)
        self._put(_Taken(live, meter, sample))

    def end(self, live: LiveStream) -> None:
        """Queue the final judgement of an ended run after its samples; once for each run."""
        if live.audio_meter is not None:
            self._put(_Taken(live, live.audio_meter, None))

    async def run(self) -> None:
        """Measure until cancelled, then measure the remaining samples.

        A bug costs the samples of one run, never a call.
        """
        try:
            while True:
                await self._has_work.wait()
                for _ in range(min(TURN_SAMPLES, len(self._queue))):
                    self._settle(self._queue.popleft())
                if not self._queue:
                    self._has_work.clear()
                await asyncio.sleep(TURN_SECONDS)
        finally:
            while self._queue:
                self._settle(self._queue.popleft())

    def _put(self, taken: _Taken) -> None:
        self._queue.append(taken)
        self._has_work.set()

    def _settle(self, taken: _Taken) -> None:
        live, meter, sample = taken
        try:
            if sample is not None:
                self._telemetry.audio_sampled("measured")
                self._tell(live, meter.measure(sample))
            else:
                self._tell(live, meter.end())
                if meter.is_judged:
                    tenant = live.key.tenant_id
                    self._telemetry.audio_ended(tenant, [it.value for it in meter.findings])
        except Exception:  # noqa: BLE001  # calls go through whatever their audio is
            live.until_sample = -1
            _log.exception("audio not measured", extra=call_context(live.interaction.opening))

    def _tell(self, live: LiveStream, found: Sequence[Finding]) -> None:
        """Count findings, and log them with the figures; once for each run."""
        for finding in found:
            self._telemetry.audio_found(finding.value)
            context = call_context(live.interaction.opening)
            extra = {**context, "finding": finding.value, **audio_report(live)}
            _log.warning("audio is not as it should be", extra=extra)
