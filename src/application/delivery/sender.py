"""The loops of a process that hand the logs' appends to the store.

Frames only mark their log as having work; a loop takes one append of each such log, gives all of
them to the store in one call, and tells each log what became of its own. While calls are under way
new frames gather, so batches grow with the load by themselves.

Nothing is given up because a call fails: it is made again, after a short wait. When the store may
have lost something, every log, a quiet one and one whose run has just ended as well, is in doubt
until the store has proved that it has what was confirmed.
"""

import asyncio
import logging
from collections.abc import Callable

from application.delivery.byte_budget import BufferLimits, ByteBudget
from application.delivery.log_state import Probe, Work
from application.delivery.stream_log import StreamLog
from application.ports.clock import Clock
from application.ports.errors import BrokerRefused, PublisherError
from application.ports.store import Append, Failed, Heads, Outcome, StreamStore
from application.ports.telemetry import Telemetry
from application.time_limit import answered_within, retry_seconds
from domain.head import Head
from domain.identifiers import StreamKey

ROUND_BYTES = 2 * 1024 * 1024
ROUND_ENTRIES = 2_048
ROUND_STREAMS = 512
"""How much is given to the store at once: it has to be through within its time limit, and nothing
else gets its turn while it is made ready."""

ROUNDS_AT_ONCE = 2
"""While the store takes one round the next is made ready; a log is only ever in one."""

TICK_SECONDS = 1.0
"""How often logs are looked at that stall, are quiet, or are done."""

QUIET_SECONDS = 2.0
"""A log on which nothing is confirmed is in doubt so often: its stream may have been evicted, or
taken over by another process. Also one whose run has just ended, while it is retained."""

WIDER_LOOK_SECONDS = 1.0
"""Where the store lost one stream it may have lost others: all are in doubt, at most so often."""

FLUSH_STEP_SECONDS = 0.02

_log = logging.getLogger(__name__)

Taken = list[tuple[StreamLog, Work]]


class Sender:
    """Owns the loops and the logs; `run` is its body, which the composition starts."""

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
                on_work=self._note_work,
            )
            log.epoch = self._store.epoch_of(stream)
        return log

    def streams(self) -> list[StreamKey]:
        """Return the streams whose runs this process looks after."""
        return [
            log.stream for log in self._logs.values() if log.live is not None or log.is_starting
        ]

    async def flush(self, seconds: float, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Wait until there is nothing to append, at most `seconds`; once in a process's life.

        Returns at once when `is_urgent` becomes true: a signal, which is no event, may make it so.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.unpublished() and loop.time() < until and not is_urgent():  # noqa: ASYNC110
            await asyncio.sleep(FLUSH_STEP_SECONDS)

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

    async def run(self) -> None:
        """Send for ever. A failure belongs to the streams it concerns, never to a loop."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(ROUNDS_AT_ONCE):
                tasks.create_task(self._send())
            tasks.create_task(self._keep_time())

    async def _send(self) -> None:
        failures = 0
        while True:
            await self._work.wait()
            taken = self._take_round()
            if not taken:
                self._work.clear()
                continue
            failures = 0 if await self._go_round(taken) else failures + 1
            if failures:
                await asyncio.sleep(retry_seconds(failures))

    async def _go_round(self, taken: Taken) -> bool:
        """Send what was taken; False if the store was not reached."""
        sent_at = self._clock.monotonic()
        appends = [work for _, work in taken if type(work) is Append]
        probes = [work.stream for _, work in taken if type(work) is Probe]
        outcomes: list[Outcome] = []
        heads = Heads(0, ())
        try:
            async with answered_within():
                if appends:
                    outcomes = list(await self._store.append(appends))
                if probes:
                    heads = await self._store.heads(probes)
        except PublisherError as error:
            failed = Failed(error)
            unanswered = len(appends) - len(outcomes)
            self.note_failure()
            self._settle(
                taken,
                [*outcomes, *[failed] * unanswered],
                Heads(0, [failed] * len(probes)),
                is_reached=False,
            )
            return False
        self._settle(taken, outcomes, heads, is_reached=True)
        is_other_server = any(log.epoch != self._store.epoch_of(log.stream) for log, _ in taken)
        if self._is_in_doubt or is_other_server:
            self.note_alive(sent_at)
        else:
            self._alive_at = max(self._alive_at, sent_at)
        if self.is_proved:
            self.budget.let_go_of_old(sent_at)
        return True

    def _take_round(self) -> Taken:
        """Take what each log has to send, in turn, until it is enough for one round."""
        taken: Taken = []
        audio_bytes = entries = 0
        for log in list(self._with_work):
            if (
                audio_bytes >= ROUND_BYTES
                or entries >= ROUND_ENTRIES
                or len(taken) >= ROUND_STREAMS
            ):
                break
            del self._with_work[log]
            work = log.take()
            if work is None:
                continue
            taken.append((log, work))
            if type(work) is Append:
                audio_bytes += log.in_flight_bytes
                for segment in work.segments:
                    entries += len(segment.entries)
        return taken

    def _settle(
        self, taken: Taken, outcomes: list[Outcome], heads: Heads, *, is_reached: bool
    ) -> None:
        answers, probed = iter(outcomes), iter(heads.heads)
        for log, work in taken:
            answer: Outcome | Head | None = None
            try:
                if type(work) is Append:
                    answer = next(answers)
                    log.settle_append(answer)
                else:
                    answer = next(probed)
                    log.settle_probe(answer, heads.now_ms)
            except Exception:  # noqa: BLE001
                # A session that listens to one stream must not stop the others.
                names = {"tenant_id": log.stream.tenant_id, "stream_id": log.stream.stream_id}
                _log.exception("outcome not taken", extra=names)
            if self._unproved and (log.is_proved or _is_refused(answer)):
                self._unproved.discard(log)
            if log.has_lost:
                self._look_wider()
            if log.is_settled:
                continue
            if is_reached and isinstance(answer, Failed):
                self._pause(log)
            else:
                self._note_work(log)

    def _look_wider(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked_wider_at >= WIDER_LOOK_SECONDS:
            self._looked_wider_at = now
            for log in self._logs.values():
                log.doubt()

    def _note_work(self, log: StreamLog) -> None:
        if log not in self._paused:
            self._with_work[log] = None
            self._work.set()

    def _pause(self, log: StreamLog) -> None:
        """Send nothing of a stream that failed by itself before it is tried again."""
        self._with_work.pop(log, None)
        self._paused.add(log)
        loop = asyncio.get_running_loop()
        loop.call_later(retry_seconds(log.failures), self._try_again, log)

    def _try_again(self, log: StreamLog) -> None:
        self._paused.discard(log)
        self._note_work(log)

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

    async def _keep_time(self) -> None:
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


def _is_refused(answer: Outcome | Head | None) -> bool:
    """Tell a stream that is broken by itself from a store that is."""
    return isinstance(answer, Failed) and isinstance(answer.error, BrokerRefused)
