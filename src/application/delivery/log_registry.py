"""The logs of a process: which have work, which are in doubt, which are done.

When the store may have lost something, every log, a quiet one and one whose run has just ended as
well, is in doubt until the store has proved that it has what was confirmed.
"""

import asyncio
from collections.abc import Callable

from application.delivery.byte_budget import BufferLimits, ByteBudget
from application.delivery.stream_log import StreamLog
from application.ports.clock import Clock
from application.ports.store import StreamStore
from application.ports.telemetry import Telemetry
from application.time_limit import retry_seconds
from domain.identifiers import StreamKey

TICK_SECONDS = 1.0
"""How often logs are looked at that stall, are quiet, or are done."""

QUIET_SECONDS = 2.0
"""A log on which nothing is confirmed is in doubt so often: its stream may have been evicted, or
taken over by another process. Also one whose run has just ended, while it is retained."""

WIDER_LOOK_SECONDS = 1.0
"""Where the store lost one stream it may have lost others: all are in doubt, at most so often."""


class LogRegistry:
    """The logs of a process, by their streams; `Sender` sends what they have."""

    def __init__(
        self,
        store: StreamStore,
        clock: Clock,
        telemetry: Telemetry,
        limits: BufferLimits,
        *,
        retention_seconds: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._telemetry = telemetry
        self._retention_seconds = retention_seconds
        self.budget = ByteBudget(limits, telemetry)
        self._logs: dict[StreamKey, StreamLog] = {}
        self._with_work: dict[StreamLog, None] = {}
        self._work = asyncio.Event()
        self._paused: set[StreamLog] = set()
        self._unproved: set[StreamLog] = set()
        self._is_in_doubt = False
        self._alive_at = clock.monotonic()
        self._looked_wider_at = -WIDER_LOOK_SECONDS
        self.on_doubt: Callable[[], None] = _tell_no_one

    @property
    def is_proved(self) -> bool:
        """Whether the store has proved that it has what it once confirmed."""
        return not (self._is_in_doubt or self._unproved)

    @property
    def alive_at(self) -> float:
        """When the call was made that the store has answered last, monotonic."""
        return self._alive_at

    def log_of(self, stream: StreamKey) -> StreamLog:
        """Return the log of a stream; a new one if none is held."""
        log = self._logs.get(stream)
        if log is None:
            log = self._logs[stream] = StreamLog(
                stream,
                self._clock,
                self._telemetry,
                self.budget,
                retention_seconds=self._retention_seconds,
                on_work=self.note_work,
            )
            log.epoch = self._store.epoch_of(stream)
        return log

    def streams(self) -> list[StreamKey]:
        """Return the streams whose runs this process looks after."""
        return [
            log.stream for log in self._logs.values() if log.live is not None or log.is_starting
        ]

    def unpublished(self) -> int:
        """Return how many streams have something that is not stored, or not even a start."""
        return sum(not log.is_settled for log in self._logs.values())

    def note_alive(self, since: float) -> None:
        """Note that the store answered a call made at monotonic `since`."""
        self._alive_at = max(self._alive_at, since)
        if self._is_in_doubt:
            self._is_in_doubt = False
            self.on_doubt()
            for log in self._logs.values():
                self._doubt(log)
        else:
            self._look_at_epochs()

    def note_failure(self) -> None:
        """Note that the store failed: it may have lost something when it is back."""
        self._is_in_doubt = True
        self.on_doubt()

    def look_wider(self) -> None:
        """Doubt every log: one has found its stream lost."""
        now = self._clock.monotonic()
        if now - self._looked_wider_at >= WIDER_LOOK_SECONDS:
            self._looked_wider_at = now
            for log in self._logs.values():
                log.doubt()

    def note_work(self, log: StreamLog) -> None:
        """Have a log asked for what is to be sent."""
        if log not in self._paused:
            self._with_work[log] = None
            self._work.set()

    def pause(self, log: StreamLog) -> None:
        """Send nothing of a stream that failed by itself before it is tried again."""
        self._with_work.pop(log, None)
        self._paused.add(log)
        loop = asyncio.get_running_loop()
        loop.call_later(retry_seconds(log.failures), self._try_again, log)

    def _try_again(self, log: StreamLog) -> None:
        self._paused.discard(log)
        self.note_work(log)

    # Doubts

    def _look_at_epochs(self) -> None:
        """Doubt every log whose server is another since it was last looked at."""
        store, is_changed = self._store, False
        for log in self._logs.values():
            if log.epoch != store.epoch_of(log.stream):
                is_changed = True
                self._doubt(log)
        if is_changed:
            self.on_doubt()

    def _doubt(self, log: StreamLog) -> None:
        log.epoch = self._store.epoch_of(log.stream)
        log.doubt()
        if not log.is_proved:
            self._unproved.add(log)

    # Time

    async def keep_time(self) -> None:
        """Look at what time alone brings about, for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            self._look_at_epochs()
            if self.is_proved:
                self.budget.let_go_of_old(self._alive_at)
            for log in list(self._logs.values()):
                if log.is_done:
                    del self._logs[log.stream]
                    self._unproved.discard(log)
                elif log.quiet_seconds(now) >= QUIET_SECONDS:
                    log.doubt()
                else:
                    self._tell_of_stall(log, now)

    def _tell_of_stall(self, log: StreamLog, now: float) -> None:
        live = log.live
        is_stalled = log.stalled_seconds(now) >= self.budget.limits.stalled_seconds
        if is_stalled and live is not None and live.listener is not None:
            live.listener.on_stalled()


def _tell_no_one() -> None:
    pass
