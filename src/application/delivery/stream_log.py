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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from application.delivery.batch import Batch
from application.delivery.byte_budget import ByteBudget
from application.delivery.holdings import Holdings
from application.delivery.live_stream import LiveStream, Log
from application.delivery.pending_start import PendingStart
from application.delivery.rewriting import Rewritten
from application.delivery.starts import Opened, Starts
from application.ports.clock import Clock
from application.ports.errors import BrokerRefused
from application.ports.store import APPENDED, Append, Appended, Conflict, Failed, Outcome
from application.ports.telemetry import Telemetry
from domain.account import Account, State
from domain.entries import Entry, SignalNoted
from domain.head import Head
from domain.identifiers import StreamKey
from domain.interaction import Interaction
from domain.media import AudioFrame
from domain.placement import At, Newer

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


_UNPROVED = frozenset({LogState.PROBING, LogState.REPLAYING, LogState.REBASING})


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the store for the head of the stream."""

    stream: StreamKey


Work = Append | Probe


class StreamLog(Log):
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
        self.has_lost = False
        """Whether the store was found without the stream by the answer that was settled last."""
        self._clock = clock
        self._telemetry = telemetry
        self._budget = budget
        self._on_work = on_work
        self._holdings = Holdings(stream, budget, telemetry, retention_seconds=retention_seconds)
        self._window = self._holdings.window
        self._starts = Starts(self._holdings)
        self._live: LiveStream | None = None
        self._published = Account()
        self._account_due = False
        self._sent: Work | None = None
        self._sent_doubt = self._doubt = self._proof = 0
        self._holds = self._max_bytes = 0
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
    def is_starting(self) -> bool:
        """Whether a start is requested, or entries that waited for one are still to be put."""
        live = self._live
        return not self._starts.is_empty or (live is not None and live.is_catching_up)

    @property
    def is_proved(self) -> bool:
        """Whether the store has proved that it has what was confirmed."""
        return not self.is_in_doubt and self.state not in _UNPROVED

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to append, to ask, or to start."""
        return self.is_empty and not self.is_starting

    @property
    def is_done(self) -> bool:
        """Whether nothing is held, and no one writes to it."""
        return self.is_settled and self._live is None and self._holdings.retained.is_empty

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
        if self._starts.is_begun:
            self._starts.hold_back(entries, received_at)
            return
        size = 0
        for entry in entries:
            if type(entry) is AudioFrame:
                size += len(entry.audio)
            elif type(entry) is SignalNoted:
                size += len(entry.details)
        window = self._window
        is_first = not window.open_entries
        if self._unconfirmed_since is None:
            self._unconfirmed_since = received_at
        if window.put(entries, received_at, size):
            self._close_open(received_at)
        if is_first:
            self._on_work(self)

    def put_account(self, live: LiveStream) -> None:
        """Append the run's account although there is no entry for it."""
        if self._live is live:
            self._account_due = True
            self._on_work(self)

    def note_caught_up(self) -> None:
        """Decide further starts: what was held behind the last one is put."""
        if not self._starts.is_empty:
            self._on_work(self)

    def request_start(self, pending: PendingStart) -> None:
        """Decide a start request once everything before it is stored."""
        self._starts.add(pending)
        self._on_work(self)

    def on_start_given_up(self, pending: PendingStart) -> None:
        """Request a start no longer; one that may be stored is settled first."""
        if self._starts.remove(pending):
            self._note_change()
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
        live.note_caught_up()
        if self._live is live:
            self._live = None
            self._account_due = False

    def abandon(self) -> None:
        """Give up everything: the store was away for longer than the stream would live there."""
        self._starts.abandon()
        self._close()
        self._note_change()

    async def wait_for_room(self, live: LiveStream) -> None:
        """Wait until the sender may be read again, or nothing more of it is appended."""
        while not live.is_fenced and self.is_full:
            if self._budget.is_full:
                await self._budget.wait_for_room()
            else:
                await self._wait_for_change()

    async def wait_until_empty(self, live: LiveStream) -> None:
        """Wait until everything put so far is confirmed, or nothing more of it is appended."""
        while not (live.is_fenced or self.is_empty):
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
            if not (window.open_entries or self._account_due):
                return self._take_probe()
            self._close_open(self._clock.monotonic())
        if self._starts.is_begun:
            self._starts.note_attempt()
        append = self._sent = self._holdings.append(self._clock.monotonic())
        return append

    def settle_append(self, outcome: Outcome) -> None:
        """Note what became of the append that was taken last."""
        sent, self._sent = self._sent, None
        self.has_lost = False
        if type(sent) is not Append:
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
        self.has_lost = False
        if isinstance(head, Failed):
            self._on_failed(head)
        else:
            self.failures = 0
            self._on_head(head)
            if self._may_decide_start and self._window.is_empty and not self._account_due:
                self._decide_start(head, now_ms)
        self._note_change()

    def _take_probe(self) -> Probe | None:
        if not (self._may_decide_start or self.is_in_doubt):
            return None
        if self.state is LogState.IN_SYNC:
            self.state = LogState.PROBING
        probe = self._sent = Probe(self.stream)
        return probe

    # The table

    def _on_appended(self, sent: Append) -> None:
        self.failures = 0
        self._holdings.revision = sent.head.revision
        self._proof = max(self._proof, self._sent_doubt)
        self._starts.prepare_confirmation()
        self._confirm(self._window.confirm())
        if self._starts.is_begun:
            self._open(self._starts.finish())
        else:
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
        if self._starts.is_begun:
            if head is not None and self._starts.is_stored(head):
                self._on_start_stored(head)
                return
            for entries, received_at in self._starts.withdraw():
                if self._live is not None:
                    self.put(self._live, entries, received_at)
        holdings = self._holdings
        if self.state is LogState.CLOSED:
            return
        self._proof, self._asked_at = max(self._proof, self._sent_doubt), self._clock.monotonic()
        if head is not None and head.revision == holdings.revision:
            self._note_progress()
            return
        match holdings.place(head):
            case At(position) if head is not None:
                self._confirm(holdings.align(head, position))
                self._note_progress()
            case Newer() if head is not None:
                self._fence(head)
            case _ if self.state is LogState.FENCED:
                self._close()
            case _:
                self._rebase(head)

    def _note_progress(self) -> None:
        """Be in sync, unless retained entries are still to be appended once more."""
        if self.state is not LogState.FENCED:
            queued = self._window.queued
            is_replaying = bool(queued) and queued[0].received_at is None and queued[0].count > 0
            self.state = LogState.REPLAYING if is_replaying else LogState.IN_SYNC

    def _confirm(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        now, frames, retained = self._clock.monotonic(), 0, self._holdings.retained
        for batch in batches:
            if batch.received_at is None:
                self._telemetry.refilled(batch.frames)
            elif batch.received_at:
                frames += len(batch.received_at)
                self._telemetry.confirmed([now - at for at in batch.received_at])
            batch.received_at = None
            if not batch.is_foreign:
                retained.add(batch, now)
        self._published, self._asked_at = batches[-1].account, now
        self._unconfirmed_since = now if self._window.count else None
        live = self._live
        if live is not None and live.listener is not None:
            live.listener.on_confirmed(frames, self._published.last_seq)

    def _rebase(self, head: Head | None) -> None:
        """Write all that is held behind another head, under a new lease."""
        live, now = self._live, self._clock.monotonic()
        self.has_lost = True
        if live is not None:
            self._close_open(now)
        rewritten = self._holdings.rewrite(head, now)
        if rewritten is None:
            self._close()
            return
        self._telemetry.confirmed([now - at for at in rewritten.found_at])
        self._tell_of_rebase(rewritten)
        if rewritten.batches:
            self.state = LogState.REBASING
            self._go_on(live, rewritten.batches[-1])
        else:
            self.state = LogState.IN_SYNC
            self._unconfirmed_since, self._account_due = None, False
            self._finish_live(live)

    def _go_on(self, live: LiveStream | None, last: Batch) -> None:
        """Have the generation that is written go on behind the last batch that is rewritten."""
        if live is None:
            return
        if last.run.name not in (live.run.name, last.lease.owner):
            self._fence_live()
            return
        live.run = last.run  # another one if an older writer has ended it
        live.interaction.rebase(last.account)

    def _finish_live(self, live: LiveStream | None) -> None:
        """Let go of a generation whose end the store has."""
        if live is not None and live.interaction.state is State.ENDED:
            self._live = None
        else:
            self._fence_live()

    def _fence(self, head: Head) -> None:
        """Append nothing new: a newer lease holds the stream. What is retained stays so."""
        self._drop_unconfirmed()
        if self.state is not LogState.FENCED:
            self.state = LogState.FENCED
            self._tell_of_lost(self._holdings.retained.frames_from(head.begun_at))
        self._fence_live()

    def _close(self) -> None:
        """Hold nothing any more."""
        self.state = LogState.CLOSED
        self._drop_unconfirmed()
        self._holdings.retained.take_all()
        self._fence_live()
        self._proof = self._doubt

    def _drop_unconfirmed(self) -> None:
        """Drop what was never confirmed: it is lost. What was confirmed is retained."""
        now = self._clock.monotonic()
        lost = len(self._window.open_received_at)
        for batch in self._window.drop():
            if batch.received_at is None:
                self._holdings.retained.add(batch, now)
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

    @property
    def _may_decide_start(self) -> bool:
        """Whether a start is requested, and nothing more comes before it."""
        live = self._live
        return not self._starts.is_empty and (live is None or not live.is_catching_up)

    def _decide_start(self, head: Head | None, now_ms: int) -> None:
        opened = self._starts.decide(head, self._clock.monotonic(), now_ms)
        if opened is not None:
            self._published = opened.account
            self._open(opened)
        if self._window.queued or not self._starts.is_empty:
            self._on_work(self)

    def _on_start_stored(self, head: Head) -> None:
        """Open the generation whose start was stored by a call whose answer was lost."""
        self._holdings.revision = head.revision
        self._starts.prepare_confirmation()
        self._confirm(self._window.confirm_below(head.next_position))
        self._open(self._starts.finish())
        if head.entries_lost:
            self._holdings.revision = None
            self._on_head(head)

    def _open(self, opened: Opened) -> None:
        """Write a new generation; the older one of this process is superseded."""
        older, now, run = self._live, self._clock.monotonic(), opened.run
        started_at = now
        if older is not None and older.run.name == run.name:
            started_at = older.run_started_at
        self._telemetry.frames("lost", opened.dropped_frames, reason="superseded")
        interaction = Interaction(run.opening, opened.account)
        self._live = LiveStream(interaction, self, opened.lease, run, started_at)
        self.state, self._account_due = LogState.IN_SYNC, False
        bytes_per_second = run.opening.media.bytes_per_second
        self._max_bytes = round(self._budget.limits.buffer_seconds * bytes_per_second)
        if older is not None:
            older.fence()
        opened.pending.settle(self._live)
        if not self._starts.is_empty:
            self._on_work(self)

    # Small things

    def _close_open(self, now: float) -> None:
        """Queue what is open, with the account of the run as it is now."""
        live, window = self._live, self._window
        if live is None:
            raise AssertionError("nothing is put without a generation")
        account = live.interaction.account(window.next_position + len(window.open_entries))
        batch = self._holdings.close_open(account)
        waits_long = self.failures or len(window.queued) > MAX_UNPACKED
        if waits_long or self.stalled_seconds(now) > PACK_AFTER_SECONDS:
            batch.pack()
        self._account_due = False

    def _tell_of_rebase(self, rewritten: Rewritten) -> None:
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

    def _tell_of_lost(self, frames: int) -> None:
        """Count what another process has begun without: it was confirmed, and is gone."""
        if frames:
            self._telemetry.frames("lost", frames, reason="forgotten")
            _log.error(
                "audio is lost: the broker came back without it, and another process began",
                extra={**self._context(), "lost_frames": frames},
            )

    def _context(self) -> dict[str, object]:
        """Which call a log line is about."""
        tail = self._holdings.tail
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
        """Wake what waits; the event is there only then, since nearly always nothing does."""
        change, self._change = self._change, None
        if change is not None:
            change.set()
