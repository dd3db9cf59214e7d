"""The loops of a process that hand the streams' batches to the publisher.

Frames only mark their stream as having work; a loop takes one batch of each such stream, gives all
of them to the publisher in one call, and tells each outbox what became of its own. While calls of
the publisher are under way new frames gather, so batches grow with the load by themselves.

Nothing is given up because a call fails: it is made again, after a short wait. When the
destination may have forgotten something, every stream that is held, a quiet one and one that has
just ended as well, is *suspect* until the destination has shown that it knows its tail.
"""

import asyncio
import logging
from collections.abc import Callable

from application.buffer import Buffer, BufferLimits
from application.outbox import Outbox
from application.pending_starts import PendingStarts
from application.ports.clock import Clock
from application.ports.errors import BrokerRefused, PublisherError
from application.ports.publisher import (
    Batch,
    Failed,
    Lease,
    Outcome,
    Reclaim,
    Reclaimed,
    StreamPublisher,
    Vanished,
)
from application.ports.telemetry import Telemetry
from application.retention import Retention
from application.time_limit import answered_within, retry_seconds
from domain.account import Grant
from domain.identifiers import StreamKey
from domain.interaction import Interaction

ROUND_BYTES = 2 * 1024 * 1024
ROUND_EVENTS = 2_048
ROUND_BATCHES = 512
"""How much is given to the publisher at once: it has to be through within its time limit, and
nothing else gets its turn while it is made ready."""

ROUNDS_AT_ONCE = 2
"""While the destination takes one round the next is made ready; a stream is only ever in one."""

TICK_SECONDS = 1.0
"""How often is looked for senders that wait too long and for outboxes that are done."""

QUIET_SECONDS = 2.0
"""A stream on which nothing is published is looked after so often: it may have been evicted, or
taken over by another process. Also one that has ended a moment ago, while it is kept."""

WIDER_LOOK_SECONDS = 1.0
"""Where one stream was forgotten others may be: all are looked after, at most so often."""

FLUSH_STEP_SECONDS = 0.02

_log = logging.getLogger(__name__)

Taken = list[tuple[Outbox, Batch | Reclaim]]


class Publication:
    """Owns the loops and the outboxes; `run` is its body, which the composition starts."""

    def __init__(
        self,
        publisher: StreamPublisher,
        clock: Clock,
        telemetry: Telemetry,
        limits: BufferLimits,
        *,
        retention_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._telemetry = telemetry
        self._retention_seconds = retention_seconds
        self.buffer = Buffer(limits, telemetry)
        self.starts = PendingStarts()
        self._with_work: dict[Outbox, None] = {}
        self._work = asyncio.Event()
        self._newest: dict[StreamKey, Outbox] = {}
        self._suspects: set[Outbox] = set()
        self._announcements_due = self._is_announcing = False
        self._is_in_doubt = False
        self._epoch = publisher.epoch
        self._alive_at = clock.monotonic()
        self._looked_wider_at = -WIDER_LOOK_SECONDS
        self.on_doubt: Callable[[], None] = _tell_nobody

    @property
    def is_proved(self) -> bool:
        """Whether the destination has shown that it knows what it once confirmed."""
        return not (
            self._is_in_doubt
            or self._announcements_due
            or self._is_announcing
            or self._suspects
            or self._publisher.epoch != self._epoch
        )

    @property
    def alive_at(self) -> float:
        """When the call was made that the destination has answered last, monotonic."""
        return self._alive_at

    def outbox(
        self, interaction: Interaction, grant: Grant, owner: str, *, has_token: bool
    ) -> Outbox:
        """Create the outbox of a stream that was just granted to `owner`."""
        stream = interaction.opening.stream
        older = self._newest.get(stream)
        return Outbox(
            interaction,
            Lease(stream, grant.generation, owner, grant.said_at_ms),
            self._clock,
            self._telemetry,
            self.buffer,
            run=grant.run,
            has_token=has_token,
            retention=Retention(self._retention_seconds) if older is None else older.retention,
            on_work=self._note_work,
        )

    def hold(self, outbox: Outbox) -> None:
        """Publish what is put into `outbox`, which follows those of the stream held already."""
        older = self._newest.get(outbox.lease.stream)
        if older is not None:
            outbox.follow(older)
        self._newest[outbox.lease.stream] = outbox

    async def flush(self, seconds: float, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Wait until there is nothing to publish, at most `seconds`; once in a process's life.

        Returns at once when `is_urgent` becomes true: a signal, which is no event, may make it so.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.unpublished() and loop.time() < until and not is_urgent():  # noqa: ASYNC110
            await asyncio.sleep(FLUSH_STEP_SECONDS)

    def unpublished(self) -> int:
        """Return how many streams have something that is not published, or not even a start."""
        return len(self.starts) + sum(not outbox.is_settled for outbox in self._held())

    async def flush_stream(self, stream: StreamKey) -> None:
        """Wait until the destination has all that is held of a stream, its account included."""
        held = self._row(stream)
        for outbox in held:
            outbox.suspect()
            if not outbox.is_fenced:
                outbox.put_account()
        for outbox in held:
            await outbox.wait_until_settled()

    def note_alive(self, since: float) -> None:
        """Note that the destination answered a call made at monotonic `since`."""
        self._alive_at = max(self._alive_at, since)
        if self._is_in_doubt or self._publisher.epoch != self._epoch:
            self._suspect_all()

    def note_failure(self) -> None:
        """Note that the destination failed: it may have forgotten something when it is back."""
        self._is_in_doubt = True
        self.on_doubt()

    async def run(self) -> None:
        """Publish for ever. A failure belongs to the streams it concerns, never to a loop."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(ROUNDS_AT_ONCE):
                tasks.create_task(self._publish())
            tasks.create_task(self._keep_time())

    async def _publish(self) -> None:
        failures = 0
        while True:
            await self._work.wait()
            if self._publisher.epoch != self._epoch:
                self._suspect_all()
            taken = self._take_round()
            if not taken and not self._is_time_to_announce:
                self._work.clear()
                continue
            failures = 0 if await self._go_round(taken) else failures + 1
            if failures:
                await asyncio.sleep(retry_seconds(failures))

    async def _go_round(self, taken: Taken) -> bool:
        """Publish what was taken; False if the destination was not reached."""
        sent_at = self._clock.monotonic()
        try:
            async with answered_within():
                outcomes = await self._call(taken)
                if self._is_time_to_announce:
                    await self._announce_again()
        except PublisherError as error:
            self.note_failure()
            self._settle(taken, [Failed(error)] * len(taken), retry_alone=False)
            return False
        self._settle(taken, outcomes, retry_alone=True)
        self.note_alive(sent_at)
        if self._is_time_to_announce:
            self._work.set()
        if self.is_proved:
            self.buffer.let_go_of_old(sent_at)
        return True

    async def _announce_again(self) -> None:
        self._announcements_due, self._is_announcing = False, True
        try:
            await self._publisher.announce_again()
        except BaseException:
            self._announcements_due = True
            raise
        finally:
            self._is_announcing = False

    @property
    def _is_time_to_announce(self) -> bool:
        """Whether the streams are mended, and with them most of their announcements."""
        return self._announcements_due and not self._suspects

    def _take_round(self) -> Taken:
        """Take one thing to do of each stream in turn, until it is enough for one round."""
        taken: Taken = []
        audio_bytes = events = 0
        for outbox in list(self._with_work):
            if audio_bytes >= ROUND_BYTES or events >= ROUND_EVENTS or len(taken) >= ROUND_BATCHES:
                break
            del self._with_work[outbox]
            work = outbox.take()
            if work is None:
                continue
            taken.append((outbox, work))
            if type(work) is Batch:
                audio_bytes += outbox.under_way_bytes
                events += len(work.events)
        return taken

    async def _call(self, taken: Taken) -> list[Outcome | Reclaimed]:
        epoch = self._epoch
        batches = [work for _, work in taken if isinstance(work, Batch)]
        reclaims = [work for _, work in taken if isinstance(work, Reclaim)]
        appended = iter(await self._publisher.append(batches) if batches else ())
        if reclaims:  # the older outboxes have shown what they had in this epoch
            reclaimed = iter(await self._publisher.reclaim(reclaims, epoch=epoch))
        else:
            reclaimed = iter(())
        return [next(appended if isinstance(work, Batch) else reclaimed) for _, work in taken]

    def _settle(
        self, taken: Taken, outcomes: list[Outcome | Reclaimed] | list[Failed], *, retry_alone: bool
    ) -> None:
        for (outbox, _), outcome in zip(taken, outcomes, strict=True):
            try:
                outbox.settle(outcome)
            except Exception:  # noqa: BLE001
                # Whoever listens to one stream must not stop the publication of the others.
                _log.exception("outcome not taken", extra=outbox.context)
            if self._suspects and (not outbox.is_suspect or _is_refused(outcome)):
                self._suspects.discard(outbox)
            if isinstance(outcome, Vanished):
                self._look_wider()
            newer = outbox.newer
            while newer is not None:
                self._note_work(newer)
                newer = newer.newer
            if outbox.is_settled:
                continue
            if retry_alone and isinstance(outcome, Failed):
                loop = asyncio.get_running_loop()
                loop.call_later(retry_seconds(outbox.failures), self._note_work, outbox)
            else:
                self._note_work(outbox)

    def _look_wider(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked_wider_at >= WIDER_LOOK_SECONDS:
            self._looked_wider_at = now
            for outbox in self._held():
                outbox.suspect()

    def _note_work(self, outbox: Outbox) -> None:
        self._with_work[outbox] = None
        self._work.set()

    # Time

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            if self.is_proved:
                self.buffer.let_go_of_old(self._alive_at)
            if self._is_time_to_announce:
                self._work.set()
            patience = self.buffer.limits.patience_seconds
            for outbox in self._held():
                if outbox.is_done:
                    self._leave(outbox)
                elif outbox.quiet_seconds(now) >= QUIET_SECONDS:
                    outbox.suspect()
                elif outbox.listener is not None and outbox.stalled_seconds(now) >= patience:
                    outbox.listener.on_stalled()

    def _leave(self, outbox: Outbox) -> None:
        stream = outbox.lease.stream
        if self._newest[stream] is outbox:
            del self._newest[stream]
            if outbox.older is not None:
                self._newest[stream] = outbox.older
        outbox.unlink()
        self._suspects.discard(outbox)

    def _suspect_all(self) -> None:
        self._epoch = self._publisher.epoch
        self._is_in_doubt = False
        self._announcements_due = True
        self.on_doubt()
        for outbox in self._held():
            outbox.suspect()
            if outbox.is_suspect:
                self._suspects.add(outbox)
        self._work.set()

    def _held(self) -> list[Outbox]:
        return [outbox for stream in list(self._newest) for outbox in self._row(stream)]

    def _row(self, stream: StreamKey) -> list[Outbox]:
        """Return the outboxes of a stream, oldest generation first."""
        row: list[Outbox] = []
        outbox = self._newest.get(stream)
        while outbox is not None:
            row.insert(0, outbox)
            outbox = outbox.older
        return row


def _tell_nobody() -> None:
    pass


def _is_refused(outcome: Outcome | Reclaimed) -> bool:
    """Tell a stream that is broken by itself from a destination that is."""
    return isinstance(outcome, Failed) and isinstance(outcome.error, BrokerRefused)
