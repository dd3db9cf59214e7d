"""The loops of a process that hand the logs' appends to the store.

A frame only marks its log as having work. A loop takes one append of each such log, passes all of
them to the store in one call, and gives each log its outcome. During a call new frames gather, so
batches grow with the load. Each part of the store has its own loops.

A failed call is retried after a short pause; no entry is dropped.
"""

import asyncio
import logging
from collections.abc import Callable

from application.delivery.lane import Lane
from application.delivery.log_registry import LogRegistry
from application.delivery.log_state import Probe, Work
from application.delivery.stream_log import StreamLog
from application.ports.errors import BrokerRefused, PublisherError
from application.ports.store import Append, Failed, Heads, Outcome
from application.time_limit import answered_within, store_backoff
from domain.head import Head

ROUND_BYTES = 2 * 1024 * 1024
ROUND_ENTRIES = 2_048
ROUND_STREAMS = 512
"""The limits of one round: the store has to finish it within the time limit, and preparing it
blocks everything else."""

ROUNDS_AT_ONCE = 2
"""While the store handles one round, the next is prepared; a log is in one round at a time."""

FLUSH_STEP_SECONDS = 0.02

_log = logging.getLogger(__name__)

Taken = list[tuple[StreamLog, Work]]


class Sender(LogRegistry):
    """Owns the loops and the logs; the composition root starts `run`."""

    _tasks: asyncio.TaskGroup | None = None

    async def flush(self, seconds: float, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Wait at most `seconds` until there is nothing to append; once in the life of a process.

        Returns at once when `is_urgent` becomes true, which a signal may cause.
        """
        for log in self._logs.values():
            log.hurry()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.unpublished() and loop.time() < until and not is_urgent():  # noqa: ASYNC110
            await asyncio.sleep(FLUSH_STEP_SECONDS)

    async def run(self) -> None:
        """Send for ever. A failure affects its streams, never a loop."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for lane in self._lanes.values():
                    self._serve(lane)
                self._tasks.create_task(self.keep_time())
        finally:
            self._tasks = None
            self._linger.close()

    def _serve(self, lane: Lane) -> None:
        if self._tasks is not None:
            for _ in range(ROUNDS_AT_ONCE):
                self._tasks.create_task(self._send(lane))

    async def _send(self, lane: Lane) -> None:
        backoff = store_backoff()
        while True:
            taken = self._take_round(lane)
            if not taken:
                await lane.wait_for_work()
                continue
            if lane.with_work:  # more than one round takes
                lane.wake_one()
            if await self._go_round(lane, taken):
                backoff.reset()
            else:
                await asyncio.sleep(backoff.note_failure())

    async def _go_round(self, lane: Lane, taken: Taken) -> bool:
        """Send the taken appends; return False if the part was not reached."""
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
            self.note_failure(lane.part)
            self._settle(
                taken,
                [*outcomes, *[failed] * unanswered],
                Heads(0, [failed] * len(probes)),
                is_reached=False,
            )
            return False
        self._settle(taken, outcomes, heads, is_reached=True)
        if all(isinstance(it, Failed) for answers in (outcomes, heads.heads) for it in answers):
            return True  # a refusal proves nothing
        if lane.is_in_doubt or self._may_be_another(lane, taken[0][0]):
            self.note_alive(sent_at, lane.part)
        else:
            lane.alive_at = max(lane.alive_at, sent_at)
        self._let_go_of_old(lane)
        return True

    def _may_be_another(self, lane: Lane, log: StreamLog) -> bool:
        """Return whether the server of a part, or of one log, may have changed."""
        witness, epoch_of = lane.witness, self._store.epoch_of
        if witness is None:
            lane.witness = next(iter(lane.logs), None)
            return True
        return epoch_of(witness.stream) != witness.epoch or epoch_of(log.stream) != log.epoch

    def _take_round(self, lane: Lane) -> Taken:
        """Take the work of each log in turn, up to the limits of one round."""
        taken: Taken = []
        audio_bytes = entries = 0
        for log in list(lane.with_work):
            if (
                audio_bytes >= ROUND_BYTES
                or entries >= ROUND_ENTRIES
                or len(taken) >= ROUND_STREAMS
            ):
                break
            del lane.with_work[log]
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
            lane = self._lanes[log.part]
            if lane.out_of_sync or lane.refused:
                self._note_proof(lane, log, is_refused=_is_refused(answer))
            if log.has_lost:
                self.look_wider(log.part)
            if log.is_settled or log.is_lingering:
                continue
            if is_reached and isinstance(answer, Failed):
                self.pause(log)
            else:
                log.note_work()

    @staticmethod
    def _note_proof(lane: Lane, log: StreamLog, *, is_refused: bool) -> None:
        """Note whether the store has proved the confirmed entries of a log, or refuses it."""
        if log.is_in_sync:
            lane.out_of_sync.discard(log)
            lane.refused.discard(log)
        elif is_refused:
            lane.out_of_sync.discard(log)
            lane.refused.add(log)


def _is_refused(answer: Outcome | Head | None) -> bool:
    """Return whether a stream failed alone, or with its store."""
    return isinstance(answer, Failed) and isinstance(answer.error, BrokerRefused)
