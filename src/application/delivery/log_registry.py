"""All logs of a process: with queued entries, in doubt, or finished.

When a part of the store may have lost data, all its logs are in doubt, including quiet ones and
those of recently ended runs, until the store has proved that it still has the confirmed entries.
"""

import asyncio
from collections.abc import Callable

from application.delivery.byte_budget import BufferLimits, ByteBudget
from application.delivery.lane import Lane
from application.delivery.linger import Linger
from application.delivery.stream_log import StreamLog
from application.ports.clock import Clock
from application.ports.destination import WHOLE
from application.ports.store import StreamStore
from application.ports.telemetry import Losses, Telemetry
from domain.identifiers import StreamKey

TICK_SECONDS = 1.0
"""How often logs are checked that stall, are quiet, or are finished."""

QUIET_SECONDS = 2.0
"""A log without confirmations becomes in doubt this often, since its stream may have been evicted,
or taken over by another process. So does one whose run has ended, while it is retained."""

WIDER_LOOK_SECONDS = 1.0
"""If a part lost one stream it may have lost others: all become in doubt, at most this often."""


class LogRegistry:
    """The logs of a process by stream; `Sender` sends their appends."""

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
        self._linger = Linger(limits.linger_seconds, clock)
        telemetry.watch_oldest(self.oldest_unconfirmed_seconds)
        self._logs: dict[StreamKey, StreamLog] = {}
        self._lanes: dict[str, Lane] = {}
        self._looked_wider_at: dict[str, float] = {}
        self.on_doubt: Callable[[str], None] = _tell_no_one

    def is_in_sync(self, part: str = "") -> bool:
        """Whether a part of the store has proved that it has all entries that it confirmed."""
        return self._lane(part).is_in_sync

    def alive_at(self, part: str = "") -> float:
        """Return the monotonic time at which the last call that a part answered was made."""
        return self._lane(part).alive_at

    def log_of(self, stream: StreamKey) -> StreamLog:
        """Return the log of a stream; a new one if none is held."""
        log = self._logs.get(stream)
        if log is None:
            log = self._logs[stream] = StreamLog(
                stream,
                self._clock,
                self._telemetry,
                self.budget,
                self._linger,
                retention_seconds=self._retention_seconds,
            )
            log.epoch = self._store.epoch_of(stream)
            self._lane(self._store.part_of(stream)).add(log)
        return log

    def streams(self) -> list[StreamKey]:
        """Return the streams whose open runs this process writes."""
        return [
            log.stream for log in self._logs.values() if log.live is not None or log.is_starting
        ]

    def unpublished(self, part: str | None = None) -> int:
        """Return how many streams, of a part or all, have unstored entries or a pending start."""
        logs = self._logs.values() if part is None else self._lane(part).logs
        return sum(not log.is_settled for log in logs)

    def unpublished_streams(self) -> list[StreamKey]:
        """Return the streams that have something not stored, or a start."""
        return [log.stream for log in self._logs.values() if not log.is_settled]

    def unconfirmed_bytes(self, part: str = "") -> int:
        """Return the unconfirmed audio of a part; for the whole store including early messages."""
        if part == WHOLE.name:
            replayed = sum(log.replayed_bytes for log in self._logs.values())
            return self.budget.held_bytes.unconfirmed - replayed
        return sum(log.unconfirmed_bytes for log in self._lane(part).logs)

    def losses(self, part: str = "") -> Losses:
        """Return the losses in a part; for the whole store including calls that never started."""
        if part == WHOLE.name:
            return self._telemetry.losses()
        tally = self._lane(part).losses
        return Losses(tally.lost, tally.replayed, tally.rebased)

    def oldest_unconfirmed_seconds(self) -> float:
        """Return the age of the oldest frame that is not confirmed; 0 without one."""
        times = [at for log in self._logs.values() if (at := log.oldest_received_at) is not None]
        return self._clock.monotonic() - min(times) if times else 0.0

    def note_alive(self, since: float, part: str = "") -> None:
        """Note that a part answered a call made at monotonic `since`."""
        lane = self._lane(part)
        lane.alive_at = max(lane.alive_at, since)
        if lane.is_in_doubt:
            lane.is_in_doubt = False
            self.on_doubt(part)
            for log in lane.logs:
                self._doubt(log)
        else:
            self._look_at_epochs()

    def note_failure(self, part: str = "") -> None:
        """Note that a part failed: it may have lost entries when it is back."""
        self._lane(part).is_in_doubt = True
        self.on_doubt(part)

    def look_wider(self, part: str) -> None:
        """Put every log of a part in doubt, since one has found its stream lost."""
        now = self._clock.monotonic()
        if now - self._looked_wider_at.get(part, -WIDER_LOOK_SECONDS) >= WIDER_LOOK_SECONDS:
            self._looked_wider_at[part] = now
            for log in self._lane(part).logs:
                log.doubt()

    def pause(self, log: StreamLog) -> None:
        """Pause a stream that failed alone, until it is tried again."""
        self._lanes[log.part].pause(log)
        loop = asyncio.get_running_loop()
        loop.call_later(log.backoff.seconds, self._try_again, log)

    def _try_again(self, log: StreamLog) -> None:
        self._lanes[log.part].paused.discard(log)
        log.note_work()

    # Parts

    def _lane(self, part: str) -> Lane:
        """Return the lane of a part; create it if it is new."""
        lane = self._lanes.get(part)
        if lane is None:
            lane = self._lanes[part] = Lane(part, self._clock.monotonic())
            self._serve(lane)
        return lane

    def _serve(self, lane: Lane) -> None:
        """Start sending for a lane."""
        raise NotImplementedError

    def _let_go_of_old(self, lane: Lane) -> None:
        """Release old entries of a part, unless it is in doubt."""
        if lane.is_in_sync:
            refused = {log.retained for log in lane.refused}
            self.budget.let_go_of_old(lane.alive_at, lane.part, refused)

    # Doubts

    def _look_at_epochs(self) -> None:
        """Put every log in doubt whose server has changed since the last look."""
        store, changed = self._store, set()
        for log in self._logs.values():
            if log.epoch != store.epoch_of(log.stream):
                changed.add(self._doubt(log))
        for part in changed:
            self.on_doubt(part)

    def _doubt(self, log: StreamLog) -> str:
        """Put a log in doubt, in the part that has its stream now; return the part."""
        log.epoch = self._store.epoch_of(log.stream)
        log.doubt()
        lane = self._lanes[log.part]
        if not log.is_in_sync:
            lane.out_of_sync.add(log)
        return lane.part

    def _move(self) -> None:
        """Move each log to the lane of the part that has its stream now."""
        has_moved = False
        for log in self._logs.values():
            part = self._store.part_of(log.stream)
            if part != log.part:
                has_moved = True
                old = self._lanes[log.part]
                is_out_of_sync, has_work = log in old.out_of_sync, log in old.with_work
                is_paused, is_refused = log in old.paused, log in old.refused
                old.remove(log)
                lane = self._lane(part)
                lane.add(log)
                if is_out_of_sync:
                    lane.out_of_sync.add(log)
                if is_refused:
                    lane.refused.add(log)
                if is_paused:
                    lane.pause(log)
                if has_work:
                    lane.note_work(log)
                if old.is_in_doubt:
                    self._doubt(log)
        if has_moved:
            self.budget.regroup()

    # Time

    async def keep_time(self) -> None:
        """Check time limits for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            self._move()
            self._look_at_epochs()
            for lane in self._lanes.values():
                self._let_go_of_old(lane)
            for log in list(self._logs.values()):
                if log.is_done:
                    del self._logs[log.stream]
                    self._lanes[log.part].remove(log)
                elif log.quiet_seconds(now) >= QUIET_SECONDS:
                    log.doubt()
                else:
                    self._tell_of_stall(log, now)

    def _tell_of_stall(self, log: StreamLog, now: float) -> None:
        live = log.live
        is_stalled = log.stalled_seconds(now) >= self.budget.limits.stalled_seconds
        if is_stalled and live is not None and live.listener is not None:
            live.listener.on_stalled()


def _tell_no_one(part: str) -> None:
    del part
