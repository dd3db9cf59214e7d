"""What one process holds of one stream, and how it gets into the store.

One log per stream and process, whatever the number of connections, generations and runs. It appends
in order, one append at a time, each under the revision that it expects. When the store stands
elsewhere, the answer names where, and `domain.placement` tells what that means:

    state      appended    head ours, held  head elsewhere  head newer  failed     in doubt
    ─────────────────────────────────────────────────────────────────────────────────────────
    IN_SYNC    confirm     REPLAYING        REBASING        FENCED      again      PROBING
    PROBING    confirm     IN_SYNC if all   REBASING        FENCED      again      -
                           of it is there,
                           else REPLAYING
    REPLAYING  confirm,    from there       REBASING        FENCED      again      by number
               IN_SYNC at
               the end
    REBASING   REPLAYING   REPLAYING        anew, behind    FENCED      again      by number
               the rest                     that head
    FENCED     confirm     replay           CLOSED          stay        again      probe
    CLOSED     a start opens the log again: IN_SYNC

REPLAYING appends retained entries once more, from where the store stands. REBASING writes what is
held behind another head, under a new lease. A FENCED log keeps what is retained until it is old:
the store may come back to a time when this process held the stream. A CLOSED log holds nothing.

A doubt (the connection is another, or the stream was quiet) has a number, and what is in flight
remembers under which it was sent: the log is in sync when the answer proves the newest. A start is
decided on the head of the store once everything before it is stored, and is the next append; a
conflict decides it anew. While it is under way entries of the older generation are held back.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from application.delivery.batch import Batch
from application.delivery.byte_budget import ByteBudget
from application.delivery.live_stream import LiveStream
from application.delivery.pending_start import PendingStart
from application.delivery.retained import Retained
from application.delivery.rewriting import Rewritten, rewrite
from application.delivery.send_window import SendWindow
from application.delivery.trimming import Trimming
from application.ports.clock import Clock
from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.ports.store import APPENDED, Append, Appended, Conflict, Failed, Outcome
from application.ports.telemetry import Telemetry
from domain.account import Account, State
from domain.entries import Entry, SignalNoted
from domain.errors import NotAllowed, Superseded
from domain.head import Head, Lease, Run
from domain.identifiers import StreamKey
from domain.interaction import Interaction
from domain.media import AudioFrame
from domain.placement import At, Newer, Reach, place
from domain.starting import (
    AlreadyHeld,
    AwaitFirstFrame,
    Begin,
    TooLate,
    start,
)
from domain.starting import NotAllowed as NoToken

PACK_AFTER_SECONDS = 0.5
MAX_UNPACKED = 4
"""When nothing was confirmed for so long, or so many batches are queued already, what comes behind
is packed: it may have to wait for longer."""

_log = logging.getLogger(__name__)


class LogState(StrEnum):
    """Where a log stands towards its store; see the table above."""

    IN_SYNC = "in sync"
    PROBING = "probing"
    REPLAYING = "replaying"
    REBASING = "rebasing"
    FENCED = "fenced"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the store for the head of the stream."""

    stream: StreamKey


Work = Append | Probe


@dataclass(frozen=True, slots=True)
class _Tail:
    """Under which lease the log appends: what is put into it now belongs to it.

    `owners` are the tokens under which positions are numbered as they are, from `numbered_from` on.
    """

    run: Run
    lease: Lease
    begun_at: int
    owners: frozenset[str]
    numbered_from: int
    first_kept: int


@dataclass(frozen=True, slots=True)
class _Begun:
    """A start whose append is queued or in flight, and where the window stood before it."""

    pending: PendingStart
    begin: Begin
    continues: bool
    tail: _Tail
    next_position: int


class StreamLog:
    """The log of one stream. `on_work` is called when there is something to take."""

    def __init__(
        self,
        stream: StreamKey,
        clock: Clock,
        telemetry: Telemetry,
        budget: ByteBudget,
        *,
        retention_seconds: float,
        on_work: Callable[["StreamLog"], None],
    ) -> None:
        self.stream = stream
        self.state = LogState.CLOSED
        self.epoch = 0
        self.failures = 0
        self._clock = clock
        self._telemetry = telemetry
        self._budget = budget
        self._on_work = on_work
        self._trimming = Trimming(retention_seconds)
        self._window = SendWindow(0, budget)
        self._retained = Retained(budget, telemetry)
        self._tail: _Tail | None = None
        self._live: LiveStream | None = None
        self._revision: str | None = None
        self._revisions = 0
        self._published = Account()
        self._account_due = False
        self._sent: Work | None = None
        self._sent_doubt = self._doubt = self._proof = 0
        self._starts: list[PendingStart] = []
        self._begun: _Begun | None = None
        self._held_back: list[tuple[tuple[Entry, ...], float, int]] = []
        self._holds = 0
        self._max_bytes = 0
        self._unconfirmed_since: float | None = None
        self._asked_at = clock.monotonic()
        self._change: asyncio.Event | None = None

    # What its users see

    @property
    def published(self) -> Account:
        """The run as of the last confirmation."""
        return self._published

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read until something is confirmed."""
        window = self._window
        return (
            window.audio_bytes >= self._max_bytes
            or window.count >= self._budget.limits.stream_entries
            or self._budget.is_full
            or self._holds > 0
        )

    @property
    def is_in_doubt(self) -> bool:
        """Whether the store may have lost something of the log."""
        return self._proof < self._doubt

    @property
    def is_empty(self) -> bool:
        """Whether everything put so far is confirmed, and nothing is in doubt."""
        return self._window.is_empty and not (self._account_due or self.is_in_doubt)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to append, to ask, or to start."""
        return self.is_empty and not (self._starts or self._held_back)

    @property
    def is_done(self) -> bool:
        """Whether nothing is held, and no one writes to it."""
        return self.is_settled and self._live is None and self._retained.is_empty

    @property
    def live(self) -> LiveStream | None:
        """The generation that is written now."""
        return self._live

    @property
    def in_flight_bytes(self) -> int:
        """How much audio is in the append that was taken last."""
        return sum(batch.audio_bytes for batch in self._window.in_flight)

    def stalled_seconds(self, now: float) -> float:
        """For how long something is queued and nothing was confirmed."""
        return 0.0 if self._unconfirmed_since is None else now - self._unconfirmed_since

    def quiet_seconds(self, now: float) -> float:
        """For how long the store was not asked about what is held here."""
        is_asked = self.state is LogState.CLOSED or not self.is_empty
        return 0.0 if is_asked else now - self._asked_at

    def put(self, live: LiveStream, entries: tuple[Entry, ...], received_at: float) -> None:
        """Append entries of a generation, received at monotonic `received_at`."""
        if live.is_fenced:
            return
        size = 0
        for entry in entries:
            if type(entry) is AudioFrame:
                size += len(entry.audio)
            elif type(entry) is SignalNoted:
                size += len(entry.details)
        if self._begun is not None:
            self._held_back.append((entries, received_at, size))
            return
        window = self._window
        is_first = not window.open_entries
        if self._unconfirmed_since is None:
            self._unconfirmed_since = received_at
        if window.put(entries, received_at, size):
            self._close_open(received_at)
        if is_first:
            self._on_work(self)

    def put_account(self) -> None:
        """Append the run's account although there is no entry for it."""
        if self._live is not None:
            self._account_due = True
            self._on_work(self)

    def request_start(self, pending: PendingStart) -> None:
        """Decide a start request once everything before it is stored."""
        self._starts.append(pending)
        self._on_work(self)

    def doubt(self) -> None:
        """Have the store prove that it has what was confirmed."""
        if self.state is not LogState.CLOSED:
            self._doubt += 1
            self._on_work(self)

    def hold(self) -> None:
        """Have the sender not read: a start of its stream is requested."""
        self._holds += 1

    def release(self) -> None:
        """Undo one `hold`."""
        self._holds -= 1
        self._note_change()

    def leave(self, live: LiveStream) -> None:
        """Write nothing more of a generation; what is retained of it gets old."""
        if self._live is live:
            self._live = None
            self._account_due = False

    def abandon(self) -> None:
        """Give up everything: the store was away for longer than the stream would live there."""
        for pending in self._starts:
            pending.fail(BrokerUnavailable("the start could not be stored"))
        self._starts.clear()
        self._begun = None
        self._held_back.clear()
        self._close()

    async def wait_for_room(self, live: LiveStream) -> None:
        """Wait until the sender may be read again, or nothing more of it is appended."""
        while not live.is_fenced and self.is_full:
            if self._budget.is_full:
                await self._budget.wait_for_room()
            else:
                await self._wait_for_change()

    async def wait_until_empty(self, live: LiveStream) -> None:
        """Wait until everything put so far is confirmed, or nothing more of it is appended."""
        while not (live.is_fenced or (self.is_empty and not self._held_back)):
            await self._wait_for_change()

    async def wait_until_fenced(self, live: LiveStream) -> None:
        """Wait until a newer generation holds the stream."""
        while not live.is_fenced:
            await self._wait_for_change()

    # What is taken, and what became of it

    def take(self) -> Work | None:
        """Return what is to be sent next; None if there is nothing, or something is in flight."""
        if self._sent is not None:
            return None
        self._sent_doubt = self._doubt
        window = self._window
        if not window.queued:
            if window.open_entries or self._account_due:
                self._close_open(self._clock.monotonic())
            else:
                return self._take_probe()
        batches = window.take()
        if self._begun is not None:
            self._begun.pending.is_attempted = True
        last = batches[-1]
        now, end = self._clock.monotonic(), last.account.next_position
        keep_from = self._trimming.first_to_keep(now, last.lease.generation, end)
        first_kept = self._note_trimmed(keep_from.position)
        self._revisions += 1
        revision = f"{last.lease.owner}:{self._revisions}"
        segments = [batch.rest() for batch in batches if batch.count > batch.stored]
        self._sent = Append(
            self.stream, self._revision, segments, last.head(revision, first_kept), keep_from
        )
        return self._sent

    def settle_append(self, outcome: Outcome) -> None:
        """Note what became of the append that was taken last."""
        sent, self._sent = self._sent, None
        if not isinstance(sent, Append):
            raise AssertionError("an append is answered that was not taken")
        if isinstance(outcome, Conflict):
            head = outcome.head
            if head is not None and head.revision == sent.head.revision:
                outcome = APPENDED  # it was stored by a call whose answer was lost
        match outcome:
            case Appended():
                self._on_appended(sent)
            case Conflict(head):
                self._window.put_back()
                self._on_head(head)
            case Failed():
                self._window.put_back()
                self._on_failed(outcome)
        self._note_change()

    def settle_probe(self, head: Head | Failed | None, now_ms: int) -> None:
        """Note where the store says that the stream stands, at its time `now_ms`."""
        self._sent = None
        if isinstance(head, Failed):
            self._on_failed(head)
        else:
            self.failures = 0
            self._on_head(head)
            if self._starts and self._window.is_empty and not self._account_due:
                self._decide_start(head, now_ms)
        self._note_change()

    # Answers

    def _take_probe(self) -> Probe | None:
        if not (self._starts or self.is_in_doubt):
            return None
        if self.state is LogState.IN_SYNC:
            self.state = LogState.PROBING
        self._sent = probe = Probe(self.stream)
        return probe

    def _on_appended(self, sent: Append) -> None:
        self.failures = 0
        self._revision = sent.head.revision
        self._proof = max(self._proof, self._sent_doubt)
        begun = self._begun
        if begun is not None and not begun.continues:
            self._retained.reset(begun.begin.run, begun.begin.account)
        self._confirm(self._window.confirm())
        if begun is not None:
            self._finish_start(begun)
        elif self.state is not LogState.FENCED:
            self._note_progress()

    def _on_failed(self, failed: Failed) -> None:
        """Have it sent again; log the first failure in a row of a stream that fails by itself."""
        self.failures += 1
        if self.failures == 1 and isinstance(failed.error, BrokerRefused):
            _log.warning(
                "the broker refuses a stream: its audio is buffered and sent again",
                extra={**self._context(), "error": str(failed.error)},
            )

    def _on_head(self, head: Head | None) -> None:
        """Find out what it means that the store stands there. Nothing is in flight."""
        if self._begun is not None:
            self._on_head_of_start(self._begun, head)
            return
        tail = self._tail
        if tail is None or self.state is LogState.CLOSED:
            return
        self._proof, self._asked_at = max(self._proof, self._sent_doubt), self._clock.monotonic()
        if head is not None and head.revision == self._revision:
            if self.state is not LogState.FENCED:
                self._note_progress()
            return
        match place(head, self._reach(tail)):
            case At(position) if head is not None:
                self._replay(head, position)
            case Newer() if head is not None:
                self._fence(head)
            case _ if self.state is LogState.FENCED:
                self._close()
            case _:
                self._rebase(head, tail)

    def _reach(self, tail: _Tail) -> Reach:
        window = self._window
        numbered = [*self._retained.numbered, *window.queued]
        first = numbered[0].first_position if numbered else window.next_position
        return Reach(
            tail.owners,
            max(first, tail.numbered_from),
            window.next_position,
            tail.lease,
            [(batch.first_position, batch.lease.generation) for batch in numbered],
        )

    def _note_progress(self) -> None:
        """Be in sync, unless retained entries are still to be appended once more."""
        queued = self._window.queued
        is_replaying = bool(queued) and queued[0].received_at is None and queued[0].count > 0
        self.state = LogState.REPLAYING if is_replaying else LogState.IN_SYNC

    def _confirm(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        now, frames = self._clock.monotonic(), 0
        for batch in batches:
            if batch.received_at is None:
                self._telemetry.refilled(batch.frames)
            elif batch.received_at:
                frames += len(batch.received_at)
                self._telemetry.confirmed([now - at for at in batch.received_at])
            batch.received_at = None
            if not batch.is_foreign:
                self._retained.add(batch, now)
        self._published, self._asked_at = batches[-1].account, now
        self._unconfirmed_since = now if self._window.count else None
        live = self._live
        if live is not None and live.listener is not None:
            live.listener.on_confirmed(frames, self._published.last_seq)

    # What the store says of the past

    def _replay(self, head: Head, position: int) -> None:
        """Append again what the store lacks; what it has of the queue is confirmed."""
        self._revision = head.revision
        self._confirm(self._window.confirm_below(position))
        replays = self._retained.take_from(position)
        for batch in replays:
            batch.received_at = None
        self._window.replay(replays, position)
        if self.state is not LogState.FENCED:
            self._note_progress()

    def _rebase(self, head: Head | None, tail: _Tail) -> None:
        """Write all that is held behind another head, under a new lease."""
        live, now = self._live, self._clock.monotonic()
        if live is not None:
            self._close_open(now)
        run, base = self._retained.run or tail.run, self._retained.base
        batches = [*self._retained.take_all(), *self._window.drop()]
        if live is None and not batches:
            self._close()
            return
        lease = tail.lease.rebased(secrets.token_hex(8))
        rewritten = rewrite(head, run, base, batches, lease)
        if rewritten.standing or not rewritten.batches:
            self._retained.reset(run, base)
        else:
            self._retained.reset(rewritten.batches[0].run, rewritten.rebased.base)
        for batch in rewritten.standing:
            self._retained.add(batch, now)
        self._telemetry.confirmed([now - at for at in rewritten.found_at])
        self._revision = None if head is None else head.revision
        self._log_rebased(rewritten)
        if rewritten.batches:
            self._append_rewritten(rewritten, live)
        else:
            self._retire(live, tail)

    def _append_rewritten(self, rewritten: Rewritten, live: LiveStream | None) -> None:
        first, last = rewritten.batches[0], rewritten.batches[-1]
        for batch in rewritten.batches:
            self._window.queue(batch)
        self._tail = _Tail(
            last.run,
            last.lease,
            last.begun_at,
            frozenset({last.lease.owner}),
            first.first_position,
            rewritten.rebased.first_kept,
        )
        self._trimming.reset_to(first.first_position)
        self.state = LogState.REBASING
        if live is not None and last.run.name == live.run.name:
            live.interaction.rebase(last.account)
        elif live is not None and last.run.name == last.lease.owner:  # the run was ended elsewhere
            live.run = last.run
            live.interaction.rebase(last.account)
        else:
            self._fence_live()

    def _retire(self, live: LiveStream | None, tail: _Tail) -> None:
        """Append nothing more: the store has the end of the last run that is held."""
        self._tail = replace(tail, owners=frozenset(), numbered_from=self._window.next_position)
        self.state = LogState.IN_SYNC
        self._unconfirmed_since, self._account_due = None, False
        if live is not None and live.interaction.state is State.ENDED:
            self._live = None  # its end is stored
        else:
            self._fence_live()

    def _log_rebased(self, rewritten: Rewritten) -> None:
        lost = rewritten.rebased.lost
        self._telemetry.began_again()
        self._telemetry.frames("lost", lost, reason="forgotten")
        self._telemetry.frames("missing", lost)
        _log.warning(
            "stream rebased: the broker came back without what was confirmed",
            extra={
                **self._context(),
                "generation": rewritten.rebased.lease.generation,
                "lost_frames": lost,
            },
        )

    def _fence(self, head: Head) -> None:
        """Append nothing new: a newer lease holds the stream. What is retained stays so."""
        self._drop_unconfirmed()
        if self.state is not LogState.FENCED:
            self.state = LogState.FENCED
            self._tell_of_lost(self._retained.frames_from(head.begun_at))
        self._fence_live()

    def _tell_of_lost(self, frames: int) -> None:
        """Count what another process has begun without: it was confirmed, and is gone."""
        if frames:
            self._telemetry.frames("lost", frames, reason="forgotten")
            _log.error(
                "audio is lost: the broker came back without it, and another process began",
                extra={**self._context(), "lost_frames": frames},
            )

    def _close(self) -> None:
        """Hold nothing any more."""
        self.state = LogState.CLOSED
        self._retained.take_all()
        self._drop_unconfirmed()
        self._retained.take_all()
        self._fence_live()
        self._proof = self._doubt

    def _drop_unconfirmed(self) -> None:
        """Drop what was never confirmed: it is lost. What was confirmed is retained."""
        now = self._clock.monotonic()
        lost = len(self._window.open_received_at)
        for batch in self._window.drop():
            if batch.received_at is None:
                self._retained.add(batch, now)
            else:
                lost += batch.frames
        self._telemetry.frames("lost", lost, reason="superseded")
        self._unconfirmed_since = None
        self._account_due = False

    def _fence_live(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.fence()

    # Starts

    def _decide_start(self, head: Head | None, now_ms: int) -> None:
        pending = self._starts[0]
        held_ms = 0 if self._tail is None else self._tail.lease.granted_at_ms
        request = pending.request(self._clock.monotonic())
        match start(head, request, now_ms, later_than_ms=held_ms):
            case Begin() as begin:
                if not pending.is_given_up:
                    self._begin(pending, head, begin)
                    return
            case AlreadyHeld() if head is not None and head.run is not None:
                self._adopt_start(pending, head, head.run)
                return
            case AwaitFirstFrame() as undecided:
                pending.settle(undecided)
            case NoToken():
                pending.fail(NotAllowed("the open run was begun with a token"))
            case TooLate():
                pending.fail(Superseded("a newer connection has begun the stream"))
        self._starts.pop(0)

    def _begin(self, pending: PendingStart, head: Head | None, begin: Begin) -> None:
        """Queue the start."""
        tail, window = self._tail, self._window
        next_position = 0 if head is None else head.next_position
        continues = (
            tail is not None
            and place(head, self._reach(tail)) == At(window.next_position)
            and self.state is not LogState.CLOSED
        )
        begun_tail = tail or _Tail(begin.run, begin.lease, 0, frozenset(), 0, 0)
        self._begun = _Begun(pending, begin, continues, begun_tail, window.next_position)
        self._revision = None if head is None else head.revision
        window.next_position = next_position
        owners = begun_tail.owners if continues else frozenset()
        numbered_from = begun_tail.numbered_from if continues else next_position
        self._tail = _Tail(
            begin.run,
            begin.lease,
            begin.begun_at,
            owners | {pending.owner},
            numbered_from,
            begin.first_kept,
        )
        own_run = begun_tail.run.name if continues else None
        for segment in begin.segments:
            lease = begin.lease
            if segment.generation != lease.generation:
                lease = replace(lease, generation=segment.generation)
            window.queue(
                Batch(
                    segment.run,
                    lease,
                    begin.begun_at,
                    list(segment.entries),
                    segment.account,
                    len(segment.entries),
                    received_at=[],
                    is_foreign=segment.run.name not in (begin.run.name, own_run),
                )
            )
        self._on_work(self)

    def _on_head_of_start(self, begun: _Begun, head: Head | None) -> None:
        """The start was stored by a call whose answer was lost, or it is decided anew."""
        if head is not None and head.lease.owner == begun.pending.owner:
            self._revision = head.revision
            if not begun.continues:
                self._retained.reset(begun.begin.run, begun.begin.account)
            self._confirm(self._window.confirm_below(head.next_position))
            self._finish_start(begun)
            if head.entries_lost:
                self._revision = None
                self._on_head(head)
            return
        self._withdraw_start(begun)
        self._on_head(head)

    def _withdraw_start(self, begun: _Begun) -> None:
        """Have the older generation go on, with what was held back of it."""
        begun.pending.retry(secrets.token_hex(8))
        self._window.drop()
        self._window.next_position = begun.next_position
        self._begun, self._tail = None, begun.tail
        held_back, self._held_back = self._held_back, []
        for entries, received_at, _ in held_back:
            if self._live is not None:
                self.put(self._live, entries, received_at)

    def _finish_start(self, begun: _Begun) -> None:
        self._begun = None
        self._open_live(begun.pending, begun.begin.run, begun.begin.lease, begun.begin.account)

    def _adopt_start(self, pending: PendingStart, head: Head, run: Run) -> None:
        """Take over a start that an earlier call of the same request has stored."""
        position = head.next_position
        self._retained.reset(run, head.account)
        self._window.next_position = position
        self._revision, self._published = head.revision, head.account
        owners = frozenset({pending.owner})
        self._tail = _Tail(run, head.lease, head.begun_at, owners, position, head.first_kept)
        self._open_live(pending, run, head.lease, head.account)

    def _open_live(self, pending: PendingStart, run: Run, lease: Lease, account: Account) -> None:
        """Have a new generation written; the older one of this process is superseded."""
        self._starts.pop(0)
        older, now = self._live, self._clock.monotonic()
        started_at = now
        if older is not None and older.run.name == run.name:
            started_at = older.run_started_at
        held_back, self._held_back = self._held_back, []
        lost = sum(type(entry) is AudioFrame for entries, *_ in held_back for entry in entries)
        self._telemetry.frames("lost", lost, reason="superseded")
        self._live = LiveStream(Interaction(run.opening, account), lease, run, started_at)
        self.state, self._account_due = LogState.IN_SYNC, False
        limits, media = self._budget.limits, run.opening.media
        self._max_bytes = round(limits.buffer_seconds * media.bytes_per_second)
        if older is not None:
            older.fence()
        pending.settle(self._live)
        if self._starts:
            self._on_work(self)

    # Small things

    def _close_open(self, now: float) -> None:
        """Queue what is open, with the account of the run as it is now."""
        live, tail, window = self._live, self._tail, self._window
        if live is None or tail is None:
            raise AssertionError("nothing is put without a generation")
        account = live.interaction.account(window.next_position + len(window.open_entries))
        batch = window.close(tail.run, tail.lease, tail.begun_at, account)
        waits_long = self.failures or len(window.queued) > MAX_UNPACKED
        if waits_long or self.stalled_seconds(now) > PACK_AFTER_SECONDS:
            batch.pack()
        self._account_due = False

    def _note_trimmed(self, keep_from: int) -> int:
        """Return the first position kept, once what is in front of `keep_from` is trimmed."""
        tail = self._tail
        if tail is None:
            raise AssertionError("nothing is appended before a start")
        if keep_from > tail.first_kept:
            self._tail = replace(tail, first_kept=keep_from)
            return keep_from
        return tail.first_kept

    def _context(self) -> dict[str, object]:
        """Which call a log line is about."""
        tail = self._tail
        if tail is None:
            return {"stream": str(self.stream)}
        opening = tail.run.opening
        return {
            "stream": str(self.stream),
            "interaction_id": opening.interaction_id,
            "dialect": opening.dialect,
        }

    async def _wait_for_change(self) -> None:
        if self._change is None:
            self._change = asyncio.Event()
        await self._change.wait()

    def _note_change(self) -> None:
        """Wake whoever waits; the event is there only then, since nearly always none does."""
        change, self._change = self._change, None
        if change is not None:
            change.set()
