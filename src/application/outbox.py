"""The way of one stream's events to the destination: in order, in bounded batches, kept after.

    open ──▶ waiting ──▶ under way ──▶ kept ──▶ gone
               ▲                        │
               └──── was forgotten ─────┘

Events gather in the *open* batch. It is closed when it is full, or when the publication takes it;
at that moment every frame that the interaction has accepted is in this batch or an earlier one,
so the interaction's account is exactly the account after the batch. One batch is *under way* at a
time. What is confirmed is *kept* for a while: a destination that comes back younger than it was
is given it again. Nothing is dropped because a destination fails; it is tried again.

When the destination stands before everything that is held, or knows the stream no more, or knows
only an older generation, the stream is *reclaimed*: it begins again under a newer generation. The
outboxes of one stream in a process, one a generation, do that in their order.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

from application.beginning_again import begin_again
from application.buffer import Buffer, HeldBatch
from application.call_context import call_context
from application.ports.clock import Clock
from application.ports.errors import BrokerRefused
from application.ports.publisher import (
    Appended,
    Batch,
    Failed,
    Fenced,
    Hole,
    Lease,
    Outcome,
    Reclaim,
    Reclaimed,
    Vanished,
)
from application.ports.telemetry import Telemetry
from application.publication_listener import PublicationListener
from application.retention import Retention
from application.rewind import BATCH_BYTES, BATCH_EVENTS, Rewind
from domain.account import Account, Grant, State
from domain.events import AudioAccepted, EndReason, Event, InteractionEnded, SignalReceived
from domain.interaction import Interaction

LONG_SECONDS = 0.5
MOST_UNPACKED = 4
"""When nothing was confirmed for so long, or so many batches wait already, what comes behind is
packed: it may have to wait for longer."""

_log = logging.getLogger(__name__)


class _Open:
    """The batch that still takes events: what of a `HeldBatch` is known before it is closed."""

    __slots__ = ("audio_bytes", "events", "received_at")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.received_at: list[float] = []
        self.audio_bytes = 0


class Outbox:
    """What one generation of a stream has still to publish, and has published lately."""

    __slots__ = (
        "_account_due",
        "_audio_bytes",
        "_buffer",
        "_change",
        "_clock",
        "_confirmed_at",
        "_events",
        "_failures",
        "_fenced",
        "_forgotten",
        "_forgotten_of_run",
        "_has_token",
        "_holds",
        "_interaction",
        "_is_over",
        "_is_overtaken",
        "_is_reclaiming",
        "_is_released",
        "_is_suspect",
        "_lease",
        "_listener",
        "_most_bytes",
        "_most_events",
        "_on_work",
        "_open",
        "_published",
        "_reclaim_owner",
        "_retention",
        "_rewind",
        "_run",
        "_stands",
        "_suspected_meanwhile",
        "_telemetry",
        "_unconfirmed_since",
        "_under_way",
        "_waiting",
        "newer",
        "older",
    )

    def __init__(
        self,
        interaction: Interaction,
        lease: Lease,
        clock: Clock,
        telemetry: Telemetry,
        buffer: Buffer,
        *,
        run: str,
        has_token: bool,
        retention: Retention,
        on_work: Callable[["Outbox"], None],
    ) -> None:
        self._interaction = interaction
        self._lease = lease
        self._clock = clock
        self._telemetry = telemetry
        self._buffer = buffer
        self._run = run
        self._has_token = has_token
        self._retention = retention
        self._on_work = on_work
        self._listener: PublicationListener | None = None
        self._published = interaction.account
        self._rewind = Rewind(self._published, interaction.opening.media, buffer, telemetry)
        self._open = _Open()
        self._waiting: list[HeldBatch] = []
        self._under_way: HeldBatch | None = None
        self._reclaim_owner: str | None = None
        self._is_reclaiming = False
        self._account_due = False
        self._is_suspect = False
        self._suspected_meanwhile = False
        self._failures = 0
        self._events = 0
        self._audio_bytes = 0
        limits = buffer.limits
        self._most_events = limits.stream_events
        self._most_bytes = round(limits.buffer_seconds * interaction.opening.media.bytes_per_second)
        self._unconfirmed_since: float | None = None
        self._confirmed_at = clock.monotonic()
        self._fenced: Fenced | None = None
        self._is_overtaken = False
        self._stands: int | None = None
        self._forgotten = 0
        self._forgotten_of_run = 0
        self._is_over = False
        self._is_released = False
        self._holds = 0
        self._change: asyncio.Event | None = None
        self.older: Outbox | None = None
        self.newer: Outbox | None = None

    @property
    def context(self) -> dict[str, object]:
        """Whose call it is, for log lines."""
        return call_context(self._interaction.opening)

    @property
    def lease(self) -> Lease:
        """The right under which the events are published."""
        return self._lease

    @property
    def owners(self) -> tuple[str, ...]:
        """Who the destination may know as the holder of what is published here."""
        owner, reclaim_owner = self._lease.owner, self._reclaim_owner
        return (owner,) if reclaim_owner is None else (owner, reclaim_owner)

    @property
    def retention(self) -> Retention:
        """The ages of the stream's positions."""
        return self._retention

    @property
    def is_fenced(self) -> bool:
        """Whether a newer generation holds the stream: nothing new is published here."""
        return self._fenced is not None

    @property
    def published(self) -> Account:
        """The run as of the last confirmation."""
        return self._published

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read until something is confirmed."""
        return (
            self._audio_bytes >= self._most_bytes
            or self._events >= self._most_events
            or self._buffer.is_full
            or self._holds > 0
        )

    @property
    def is_empty(self) -> bool:
        """Whether everything put so far is published, and nothing about it is in doubt."""
        return not (
            self._open.events
            or self._account_due
            or self._waiting
            or self._under_way
            or self._is_suspect
        )

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing more to be done here, at least for now."""
        return self._is_over or self.is_empty

    @property
    def is_done(self) -> bool:
        """Whether nothing is held here any more, and nothing will be."""
        return self._is_over or (self._is_released and self.is_empty and self._rewind.is_empty)

    @property
    def is_over(self) -> bool:
        """Whether nothing is held here, for good."""
        return self._is_over

    @property
    def may_have_reclaimed(self) -> bool:
        """Whether a reclaim has been sent, or will be, whose answer is not known."""
        return self._reclaim_owner is not None

    @property
    def is_suspect(self) -> bool:
        """Whether the destination may have forgotten what was published."""
        return self._is_suspect and not self._is_over

    @property
    def under_way_bytes(self) -> int:
        """How much audio is in the batch that was taken last."""
        return 0 if self._under_way is None else self._under_way.audio_bytes

    @property
    def failures(self) -> int:
        """How many attempts in a row have failed by now."""
        return self._failures

    def stalled_seconds(self, now: float) -> float:
        """For how long something has been waiting and nothing was confirmed."""
        return 0.0 if self._unconfirmed_since is None else now - self._unconfirmed_since

    def quiet_seconds(self, now: float) -> float:
        """For how long the destination was not asked about what is held here."""
        is_asked = self._fenced is not None or not self.is_empty
        return 0.0 if is_asked else now - self._confirmed_at

    @property
    def listener(self) -> PublicationListener | None:
        """Who is told what becomes of the events."""
        return self._listener

    def listen(self, listener: PublicationListener | None) -> None:
        """Tell `listener`, and nobody else, what becomes of the events."""
        self._listener = listener

    def put(self, events: tuple[Event, ...], received_at: float) -> None:
        """Add the events of one verb of the interaction, heard at monotonic `received_at`."""
        open_batch, size = self._open, 0
        held = open_batch.events
        is_first = not held
        for event in events:
            held.append(event)
            if type(event) is AudioAccepted:
                open_batch.received_at.append(received_at)
                size += len(event.frame.audio)
            elif type(event) is SignalReceived:
                size += len(event.details)
        open_batch.audio_bytes += size
        self._audio_bytes += size
        self._events += len(events)
        self._buffer.add(size)
        if self._unconfirmed_since is None:
            self._unconfirmed_since = received_at
        if len(held) >= BATCH_EVENTS or open_batch.audio_bytes >= BATCH_BYTES:
            self._close_open(received_at)
        if is_first:
            self._on_work(self)

    def put_account(self) -> None:
        """Have the interaction's account published although there is no event for it."""
        self._account_due = True
        self._on_work(self)

    def suspect(self) -> None:
        """Ask the destination whether what was published is still there, and mend it if not."""
        if not self._is_over:
            self._is_suspect = True
            self._suspected_meanwhile = self._under_way is not None or self._is_reclaiming
            self._on_work(self)

    def take(self) -> Batch | Reclaim | None:
        """Return what is to be done next; None when there is nothing or something is under way."""
        if self._under_way is not None or self._is_over or self._is_reclaiming:
            return None
        if self.older is not None and any(older.is_suspect for older in self._older()):
            return None
        if self._reclaim_owner is not None:
            self._is_reclaiming = True
            return self._reclaim(self._reclaim_owner)
        now = self._clock.monotonic()
        if not self._waiting:
            if not (self._open.events or self._account_due or self._is_suspect):
                return None
            self._close_open(now)
        held = self._under_way = self._waiting.pop(0)
        if held.packed is not None:
            held.unpack()
        lease, account = self._lease, held.account
        return Batch(
            lease,
            self._interaction.opening.interaction_id,
            held.first_position,
            held.events,
            account,
            self._retention.first_to_keep(now, lease.generation, account.next_position),
        )

    def settle(self, outcome: Outcome | Reclaimed) -> None:
        """Take note of what became of what was taken last."""
        if self._is_over:
            return
        held = self._under_way
        if type(outcome) is Appended and held is not None:  # as nearly always
            self._under_way = None
            self._failures = 0
            self._confirm(held)
            self._suspected_meanwhile = False
            self._note_change()
            return
        has_reclaimed, self._is_reclaiming = self._is_reclaiming, False
        self._put_back()
        self._count_failure(outcome)
        match outcome:
            case Hole(next_position):
                self._go_back_to(next_position)
            case Vanished():
                self._ask_for_reclaim()
            case Fenced():
                self._on_fenced(outcome, is_final=has_reclaimed)
            case Grant():
                self._begin_again(outcome)
        self._suspected_meanwhile = False
        self._note_change()

    def hold(self) -> None:
        """Have the sender not read: its stream is about to be taken over."""
        self._holds += 1

    def release(self) -> None:
        """Undo one `hold`: the sender is read again when none is left."""
        self._holds -= 1
        self._note_change()

    def follow(self, older: "Outbox") -> None:
        """Take over from the outbox of an older generation, which publishes nothing new."""
        self.older, older.newer = older, self
        if older._run == self._run:  # noqa: SLF001  # of ours
            self._forgotten_of_run = older._forgotten_of_run  # noqa: SLF001
        older.supersede(self._lease.generation)

    def supersede(self, generation: int) -> None:
        """Publish nothing new: a newer generation holds the stream. What is kept stays so."""
        self._is_released = True
        self._drop_unconfirmed()
        self._note_fenced(generation)

    def let_go(self) -> None:
        """Note that nobody will put anything more."""
        self._is_released = True

    def abandon(self) -> None:
        """Give up what is not published."""
        self._finish()

    def unlink(self) -> None:
        """Leave the row of the stream's outboxes."""
        if self.newer is not None:
            self.newer.older = self.older
        if self.older is not None:
            self.older.newer = self.newer

    async def wait_for_room(self) -> None:
        """Wait until the sender may be read again, or nothing more will be published."""
        while self._fenced is None and self.is_full:
            if self._buffer.is_full:
                await self._buffer.wait_for_room()
            else:
                await self._wait_for_change()

    async def wait_until_empty(self) -> None:
        """Wait until everything put so far is published, or nothing more will be."""
        while not self.is_empty and self._fenced is None and not self._is_over:
            await self._wait_for_change()

    async def wait_until_settled(self) -> None:
        """Wait until there is nothing to be done here."""
        while not self.is_settled:
            await self._wait_for_change()

    async def wait_until_fenced(self) -> None:
        """Wait until a newer generation holds the stream."""
        while self._fenced is None:
            await self._wait_for_change()

    # What is held

    def _close_open(self, now: float) -> None:
        # What was heard after a newer generation had begun is nobody's: the account is as it was.
        account = self._interaction.account if self._fenced is None else self._published
        opened, self._open = self._open, _Open()
        events, received_at = opened.events, opened.received_at
        first_position = account.next_position - len(events)
        frames = len(received_at)
        held = HeldBatch(first_position, events, account, opened.audio_bytes, frames, received_at)
        waits_long = self._failures or len(self._waiting) >= MOST_UNPACKED
        if waits_long or self.stalled_seconds(now) > LONG_SECONDS:
            held.pack(self._interaction.opening.media)
        self._waiting.append(held)
        self._account_due = False

    def _put_back(self) -> None:
        """Have what was under way published once more; it may be an account alone."""
        held, self._under_way = self._under_way, None
        if held is None:
            return
        if held.count:
            self._waiting.insert(0, held)
        else:
            self._account_due = True

    def _count_failure(self, outcome: Outcome | Reclaimed) -> None:
        """Count, and log the first failure in a row of a stream that fails by itself."""
        if not isinstance(outcome, Failed):
            self._failures = 0
            return
        self._failures += 1
        if self._failures == 1 and isinstance(outcome.error, BrokerRefused):
            _log.warning(
                "the broker refuses a stream: its audio is kept and tried again",
                extra={**self.context, "error": str(outcome.error)},
            )

    def _confirm(self, held: HeldBatch) -> None:
        now = self._clock.monotonic()
        account, frames = held.account, 0
        self._published, self._confirmed_at = account, now
        self._count(held.first_position - account.next_position, -held.audio_bytes)
        if held.is_refill:
            held.is_refill = False
            self._telemetry.refilled(held.frames)
        elif held.received_at:
            frames = len(held.received_at)
            self._telemetry.confirmed([now - at for at in held.received_at])
        held.received_at = None
        self._rewind.keep(held, now)
        self._unconfirmed_since = now if self._events else None
        if not self._suspected_meanwhile and not (self._waiting and self._waiting[0].is_refill):
            self._is_suspect = False
        if self._listener is not None:
            self._listener.on_confirmed(frames, account.last_seq)

    def _count(self, events: int, audio_bytes: int) -> None:
        self._events += events
        self._audio_bytes += audio_bytes
        if audio_bytes:
            self._buffer.add(audio_bytes)

    def _take_back(self, position: int = 0) -> None:
        """Have what was confirmed above `position` published once more."""
        back = self._rewind.take_back(position)
        self._waiting[:0] = back
        for held in back:
            self._count(held.count, held.audio_bytes)

    # A destination that has forgotten

    def _go_back_to(self, next_position: int) -> None:
        self._is_suspect = True
        if next_position < self._rewind.base.next_position:
            self._ask_for_reclaim()
        else:
            self._take_back(next_position)

    def _on_fenced(self, fenced: Fenced, *, is_final: bool) -> None:
        """Tell a newer writer from a past that the destination has come back to.

        The answer to a reclaim is final: the destination has told them apart. Either way what was
        published before a newer writer began is known; it is kept on, for the destination may yet
        come back to a past in which it is not.
        """
        generation = fenced.generation
        self._stands = self._stands if fenced.stands is None else fenced.stands
        is_of_newer = any(newer.lease.generation == generation for newer in self._newer())
        is_asked_for = any(newer.may_have_reclaimed for newer in self._newer())
        is_of_older = any(older.lease.generation == generation for older in self._older())
        is_past = fenced.is_past or generation < self._lease.generation or is_of_older
        if is_past and not (is_of_newer or is_final or self._is_overtaken):
            self._ask_for_reclaim()
            return
        self._is_overtaken = self._is_overtaken or not (is_of_newer or is_asked_for)
        self._note_fenced(generation)
        self._is_suspect = self._account_due = False
        self._reclaim_owner = None
        self._drop_unconfirmed()
        refills, self._waiting = self._waiting, []
        self._recount()
        for held in refills:
            self._rewind.keep(held, self._clock.monotonic())
        if not (is_of_newer or is_asked_for):
            self._tell_of_forgotten()

    def _tell_of_forgotten(self) -> None:
        """Count what another process has begun without: it was confirmed, and is lost now."""
        if self._stands is None:
            return
        frames = self._rewind.frames_from(self._stands) - self._forgotten
        if frames <= 0:
            return
        self._forgotten += frames
        self._telemetry.frames("lost", frames, reason="forgotten")
        _log.error(
            "audio is lost: the broker had forgotten it when another process took the stream over",
            extra={
                **self.context,
                "generation": self._lease.generation,
                "lost_frames": frames,
            },
        )

    def _ask_for_reclaim(self) -> None:
        """Reclaim the stream once the older outboxes have what they held.

        Not if another process has taken it over, which is the one to reclaim it then; nor if its
        run has ended, or a newer generation of ours will reclaim it, and nothing is held here.
        """
        goes_on = self._fenced is None and self._interaction.state is not State.ENDED
        if self._is_overtaken or not (goes_on or self._waiting or not self._rewind.is_empty):
            self._finish()
            return
        self._is_suspect = True
        self._take_back()  # from now on it does not age
        self._reclaim_owner = self._reclaim_owner or secrets.token_hex(16)
        for older in self._older():
            older.suspect()

    def _reclaim(self, owner: str) -> Reclaim:
        row = (self, *self._older(), *self._newer())
        before = next((older for older in self._older() if not older.is_over), None)
        return Reclaim(
            self._lease,
            self._run,
            self._interaction.opening,
            self._has_token,
            max(outbox.lease.generation for outbox in row),
            owner,
            None if before is None else before.lease.owner,
            tuple(owner for newer in self._newer() for owner in newer.owners),
        )

    def _begin_again(self, grant: Grant) -> None:
        if self._reclaim_owner is None:
            raise AssertionError("only a reclaim is granted")
        if self._open.events:
            self._close_open(self._clock.monotonic())
        self._take_back()
        media = self._interaction.opening.media
        begun = begin_again(self._rewind.base, self._waiting, grant, media)
        end = begun.batches[-1].account if begun.batches else begun.base
        self._interaction.begin_again(grant.generation, end.next_position, begun.recount)
        self._waiting = begun.batches
        self._recount()
        self._rewind.base = begun.base
        self._account_due = True
        self._retention.go_back_to(grant.account.next_position)
        self._lease = Lease(
            self._lease.stream, grant.generation, self._reclaim_owner, grant.said_at_ms
        )
        self._reclaim_owner = None
        self._tell_of_beginning_again(self._new_of_run(begun.recount.forgotten))
        if self._fenced is not None:
            self._published = self._close_run_of_nobody(end)
        for newer in self._newer():
            newer.suspect()

    def _close_run_of_nobody(self, end: Account) -> Account:
        """End the run, as its successor's start had done, unless a newer outbox goes on with it."""
        goes_on = any(newer._run == self._run for newer in self._newer())  # noqa: SLF001  # of ours
        if goes_on or end.state is State.ENDED:
            return end
        position = end.next_position
        ended = InteractionEnded(position, EndReason.DISCONNECTED, end.ledger)
        end = replace(end, next_position=position + 1, state=State.ENDED)
        self._waiting.append(HeldBatch(position, [ended], end))
        self._recount()
        return end

    def _new_of_run(self, forgotten: int) -> int:
        """Return how many of these frames no other outbox of the run has told of.

        The account of a newer generation has the frames of the older ones in it.
        """
        row = (self, *self._older(), *self._newer())
        told = max(it._forgotten_of_run for it in row if it._run == self._run)  # noqa: SLF001
        self._forgotten_of_run += forgotten
        return max(0, self._forgotten_of_run - told)

    def _tell_of_beginning_again(self, lost_frames: int) -> None:
        self._telemetry.began_again()
        self._telemetry.frames("lost", lost_frames, reason="forgotten")
        self._telemetry.frames("missing", lost_frames)
        _log.warning(
            "stream begun again: the broker had forgotten it",
            extra={
                **self.context,
                "generation": self._lease.generation,
                "lost_frames": lost_frames,
            },
        )

    def _older(self) -> Iterator["Outbox"]:
        outbox = self.older
        while outbox is not None:
            yield outbox
            outbox = outbox.older

    def _newer(self) -> Iterator["Outbox"]:
        outbox = self.newer
        while outbox is not None:
            yield outbox
            outbox = outbox.newer

    # The end

    def _note_fenced(self, generation: int) -> None:
        if self._fenced is None:
            self._fenced = Fenced(generation)
            self._note_change()
            if self._listener is not None:
                self._listener.on_fenced()

    def _finish(self) -> None:
        """Let go of everything: nothing more is published here."""
        self._is_over = True
        self._is_suspect = self._account_due = False
        if self._under_way is not None:
            self._waiting.insert(0, self._under_way)
            self._under_way = None
        self._drop_unconfirmed()
        self._waiting.clear()
        self._recount()
        self._rewind.take_back()
        self._note_change()

    def _drop_unconfirmed(self) -> None:
        """Drop what waits and was never confirmed: it is lost. What is under way may succeed."""
        never = [held for held in self._waiting if not held.is_refill]
        lost = sum(held.frames for held in never) + len(self._open.received_at)
        self._telemetry.frames("lost", lost, reason="superseded")
        self._waiting = [held for held in self._waiting if held.is_refill]
        self._open = _Open()
        self._unconfirmed_since = None
        self._recount()

    def _recount(self) -> None:
        held = [*self._waiting, self._under_way] if self._under_way else [*self._waiting]
        events = sum(it.count for it in held) + len(self._open.events)
        audio_bytes = sum(it.audio_bytes for it in held) + self._open.audio_bytes
        self._count(events - self._events, audio_bytes - self._audio_bytes)

    async def _wait_for_change(self) -> None:
        if self._change is None:
            self._change = asyncio.Event()
        await self._change.wait()

    def _note_change(self) -> None:
        """Wake whoever waits; the event is there only then, since nearly always nobody does."""
        change, self._change = self._change, None
        if change is not None:
            change.set()
