"""How a log handles the answers of its store; `domain.placement` classifies a head.

    state      appended   head as     head ours,  head elsewhere  head newer  failed  in doubt
                          expected    held
    ───────────────────────────────────────────────────────────────────────────────────────────────
    IN_SYNC    confirm    stay        REPLAYING   REBASING        FENCED      again   PROBING
    PROBING    confirm,   IN_SYNC     REPLAYING   REBASING        FENCED      again   -
               IN_SYNC
    REPLAYING  confirm,   -           from there  REBASING        FENCED      again   next answer
               at last IN_SYNC
    REBASING   REPLAYING  -           REPLAYING   once more,      FENCED      again   next answer
               the rest                           from that head
    FENCED     confirm,   stay        replay,     CLOSED          stay        again   probe
               stay                   stay
    CLOSED     ignores heads; a start opens the log again: IN_SYNC

"Ours, held" leads to IN_SYNC if nothing is left to replay. "Elsewhere" includes a missing head: the
store does not know the stream. It leads to CLOSED if nothing is held, and to IN_SYNC if the store
has the end of the last run. REPLAYING appends retained entries once more, from the position in the
store's head. REBASING writes the held entries after another head, under a new lease. A FENCED log
holds its retained entries until they are old: the store may be rolled back to a time when this
process held the stream.

A log is in doubt after a new connection, or if the stream was quiet (`doubts`). The next answer
settles the doubt; only a log that has nothing to append sends a probe. A start is decided on the
head once everything before it is stored, and is the next append; after a conflict it is decided
again. While it is pending, entries of the older generation are held back.
"""

from collections.abc import Sequence

from application.delivery.batch import Batch
from application.delivery.byte_budget import ByteBudget
from application.delivery.holdings import Holdings
from application.delivery.linger import Linger
from application.delivery.live_stream import LiveStream
from application.delivery.log_queue import LogQueue
from application.delivery.log_reports import LogReports
from application.delivery.log_state import LogState
from application.delivery.starts import Opened
from application.ports.clock import Clock
from application.ports.store import Append, Failed
from application.ports.telemetry import Telemetry
from domain.account import State
from domain.head import Head
from domain.identifiers import StreamKey
from domain.interaction import Interaction
from domain.placement import At, Newer


class LogTable(LogQueue):
    """The part of a log that handles answers of the store; `StreamLog` is the complete class."""

    def __init__(
        self,
        stream: StreamKey,
        clock: Clock,
        telemetry: Telemetry,
        budget: ByteBudget,
        linger: Linger,
        *,
        retention_seconds: float,
    ) -> None:
        holdings = Holdings(stream, budget, telemetry, retention_seconds=retention_seconds)
        super().__init__(stream, clock, budget, holdings, linger)
        self.has_lost = False
        """Whether the last answer showed that the store has lost the stream."""
        self._reports = LogReports(stream, holdings, telemetry)
        self._asked_at = clock.monotonic()

    def _on_appended(self, sent: Append) -> None:
        if self.backoff.failures:
            self.backoff.reset()
        self._holdings.revision = sent.head.revision
        self._doubts.note_answer()
        if self._starts.begun:
            self._starts.prepare_confirmation()
            self._confirm(self._window.confirm())
            self._open(self._starts.finish())
        else:
            self._confirm(self._window.confirm())
            self._note_progress()

    def _on_failed(self, failed: Failed) -> None:
        """Queue it again; log the first failure in a row of a stream that fails alone."""
        self.backoff.note_failure()
        if self.backoff.failures == 1:
            self._reports.refused(failed)

    def _on_head(self, head: Head | None) -> None:
        """Handle a head of the store. Nothing is in flight."""
        if self._starts.begun:
            if head is not None and self._starts.is_stored(head):
                self._on_start_stored(head)
                return
            self._withdraw_start()
        holdings = self._holdings
        if self.state is LogState.CLOSED:
            return
        self._doubts.note_answer()
        self._asked_at = self._clock.monotonic()
        if head is not None and head.revision == holdings.revision:
            self._note_progress()
            self._tell_if_empty(self._live)
            return
        match holdings.place(head):
            case At(position) if head is not None:
                self._confirm(holdings.align(head, position))
                live = self._live
                if live is not None and self._window.is_empty:
                    self._account_due |= head.account != live.published
                self._note_progress()
                self._tell_if_empty(self._live)
            case Newer() if head is not None:
                self._enter_fenced(head)
            case _ if self.state is LogState.FENCED:  # elsewhere, and another process held it
                self._reports.fenced(None)
                self._close()
            case _:
                self._rebase(head)

    def _note_progress(self) -> None:
        """Become in sync, unless retained entries must still be replayed."""
        if self.state is not LogState.FENCED:
            queued = self._window.queued
            is_replaying = bool(queued) and queued[0].was_confirmed and queued[0].count > 0
            self.state = LogState.REPLAYING if is_replaying else LogState.IN_SYNC

    def _confirm(self, batches: Sequence[Batch], *, is_acked: bool = True) -> None:
        if not batches:
            return
        now, live = self._clock.monotonic(), self._live if is_acked else None
        frames = self._reports.confirmed(batches, now)
        is_of_live = False
        self._holdings.note_stored(batches[-1], now)
        for batch in batches:
            batch.note_confirmed()
            if not batch.is_foreign:
                self._holdings.retained.add(batch, now)
            if live is not None and live.run.name == batch.run.name:
                live.published, is_of_live = batch.account, True
        self._asked_at = now
        self._unconfirmed_since = now if self._window.count else None
        if is_of_live and live is not None and live.listener is not None:
            live.listener.on_confirmed(frames, live.published.last_seq)

    def _rebase(self, head: Head | None) -> None:
        """Rebase all held entries after another head, under a new lease."""
        live, now = self._live, self._clock.monotonic()
        self.has_lost = True
        if live is not None:
            self._close_open(now)
        rewritten = self._holdings.rewrite(head, now)
        if rewritten is None:
            self._close()
            return
        self._reports.rebased(rewritten, now)
        if rewritten.batches:
            self.state = LogState.REBASING
            self._continue(live, rewritten.batches[-1])
        else:
            self.state = LogState.IN_SYNC
            self._unconfirmed_since, self._account_due = None, False
            self._finish_live(live)

    def _continue(self, live: LiveStream | None, last: Batch) -> None:
        """Let the current generation continue after the last rebased batch."""
        if live is None:
            return
        if last.run.name not in (live.run.name, last.lease.owner):
            self._let_go_of_live()
            return
        live.lease, live.run = last.lease, last.run  # another run if an older writer has ended it
        live.interaction.rebase(last.account)

    def _finish_live(self, live: LiveStream | None) -> None:
        """Detach a generation whose end the store has."""
        if live is not None and live.interaction.state is State.ENDED:
            self._live = None
            self._tell_if_empty(live)
        else:
            self._let_go_of_live()

    def _enter_fenced(self, head: Head) -> None:
        """Append nothing new, since a newer lease holds the stream. Retained entries stay."""
        self._confirm(self._holdings.stored_before(head), is_acked=False)  # it is not proved
        self._drop_unconfirmed("superseded")
        self.state = LogState.FENCED
        self._reports.fenced(head)
        self._let_go_of_live()

    def _close(self, lost_reason: str = "superseded") -> None:
        """Drop all entries; `lost_reason` is the reason under which unconfirmed frames are lost."""
        self.state = LogState.CLOSED
        self._drop_unconfirmed(lost_reason)
        self._holdings.retained.take_all()
        self._let_go_of_live()
        self._doubts.drop()

    def _drop_unconfirmed(self, lost_reason: str) -> None:
        """Drop entries that were never confirmed: they are lost. Confirmed ones stay retained."""
        now = self._clock.monotonic()
        lost = len(self._window.open_received_at)
        for batch in self._window.drop():
            if batch.was_confirmed:
                self._holdings.retained.add(batch, now)
            else:
                lost += batch.frames
        self._reports.lost(lost, lost_reason)
        self._unconfirmed_since = None
        self._account_due = False

    def _withdraw_start(self) -> None:
        """Let the older generation continue, with its entries that were held back."""
        if self._live is None:  # its session has left: nothing continues
            self._reports.lost(self._starts.drop_held_back(), "not_stored")
        for entries, received_at in self._starts.withdraw():
            if self._live is not None:
                self.put(self._live, entries, received_at)

    def _on_start_stored(self, head: Head) -> None:
        """Open a generation whose start was stored, but whose answer was lost."""
        self._holdings.revision = head.revision
        self._starts.prepare_confirmation()
        self._confirm(self._window.confirm_below(head.next_position))
        self._open(self._starts.finish())
        if head.entries_lost or head.account_lost:
            self._holdings.revision = None
            self._on_head(head)

    def _open(self, opened: Opened) -> None:
        """Switch to a new generation; this process's older one is superseded."""
        older, now, run = self._live, self._clock.monotonic(), opened.run
        started_at, audio_meter = now, None
        if older is not None and older.run.name == run.name:
            started_at, audio_meter = older.run_started_at, older.audio_meter
        self._reports.opened(opened)
        interaction = Interaction(run.opening, opened.account)
        self._live = LiveStream(interaction, self, opened.lease, run, started_at, opened.account)
        self._live.audio_meter = audio_meter
        self.state, self._account_due = LogState.IN_SYNC, False
        bytes_per_second = run.opening.media.bytes_per_second
        self._max_bytes = round(self._budget.limits.buffer_seconds * bytes_per_second)
        opened.pending.settle(self._live)
        if older is not None:
            older.tell_fenced()
        if self._starts.requested:
            self.note_work()
