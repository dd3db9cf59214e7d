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

from collections.abc import Callable, Sequence

from application.delivery.batch import Batch
from application.delivery.byte_budget import ByteBudget
from application.delivery.holdings import Holdings
from application.delivery.live_stream import LiveStream
from application.delivery.log_inbox import LogInbox
from application.delivery.log_reports import LogReports
from application.delivery.log_state import UNPROVED, LogState, Probe, Work
from application.delivery.pending_start import PendingStart
from application.delivery.starts import Opened
from application.ports.clock import Clock
from application.ports.store import APPENDED, Append, Appended, Conflict, Failed, Outcome
from application.ports.telemetry import Telemetry
from domain.account import State
from domain.head import Head
from domain.identifiers import StreamKey
from domain.interaction import Interaction
from domain.placement import At, Newer


class StreamLog(LogInbox):
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
        holdings = Holdings(stream, budget, telemetry, retention_seconds=retention_seconds)
        super().__init__(clock, budget, holdings)
        self.stream = stream
        self.state = LogState.CLOSED
        self.epoch = 0
        self.has_lost = False
        """Whether the store was found without the stream by the answer that was settled last."""
        self._reports = LogReports(stream, holdings, telemetry)
        self._on_work = on_work
        self._sent: Work | None = None
        self._sent_doubt = 0
        self._asked_at = clock.monotonic()

    def note_work(self) -> None:
        """Have the log asked for what is to be sent."""
        self._on_work(self)

    @property
    def is_proved(self) -> bool:
        """Whether the store has proved that it has what was confirmed."""
        return not self.is_in_doubt and self.state not in UNPROVED

    @property
    def is_done(self) -> bool:
        """Whether nothing is held, and no one writes to it."""
        return self.is_settled and self._live is None and self._holdings.retained.is_empty

    @property
    def in_flight_bytes(self) -> int:
        """How much audio is in the append that was taken last."""
        return sum(batch.audio_bytes for batch in self._window.in_flight)

    def quiet_seconds(self, now: float) -> float:
        """For how long the store was not asked about what is held here."""
        is_asked = self.state is LogState.CLOSED or not self.is_empty
        return 0.0 if is_asked else now - self._asked_at

    def request_start(self, pending: PendingStart) -> None:
        """Decide a start request once everything before it is stored, the account included."""
        self._starts.add(pending)
        live = self._live
        if live is not None and live.interaction.state is not State.ENDED:
            account = live.interaction.account(self._published.next_position)
            self._account_due |= account != self._published
        self.note_work()

    def note_start_ready(self, pending: PendingStart) -> None:
        """Decide a start that was requested, in its turn."""
        pending.is_ready = True
        self.note_work()

    def on_start_given_up(self, pending: PendingStart) -> None:
        """Request a start no longer; one that may be stored is settled first."""
        if self._starts.is_queued(pending):
            self._withdraw_start()
        if self._starts.remove(pending):
            self._note_change()
            self.note_work()

    def doubt(self) -> None:
        """Have the store prove that it has what was confirmed."""
        if self.state is not LogState.CLOSED:
            self._doubt += 1
            self.note_work()

    def abandon(self) -> None:
        """Give up everything: the store was away for longer than the stream would live there."""
        self._starts.abandon()
        self._close()
        self._note_change()

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
        if self.failures == 1:
            self._reports.refused(failed)

    def _on_head(self, head: Head | None) -> None:
        """Find out what it means that the store stands there. Nothing is in flight."""
        if self._starts.is_begun:
            if head is not None and self._starts.is_stored(head):
                self._on_start_stored(head)
                return
            self._withdraw_start()
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
                if self._live is not None and self._window.is_empty:
                    self._account_due |= head.account != self._published
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
        now, retained, live = self._clock.monotonic(), self._holdings.retained, self._live
        frames = self._reports.confirmed(batches, now)
        for batch in batches:
            batch.received_at = None
            if not batch.is_foreign:
                retained.add(batch, now)
            if live is not None and live.run.name == batch.run.name:
                self._published = batch.account
        self._asked_at = now
        self._unconfirmed_since = now if self._window.count else None
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
        self._reports.rebased(rewritten, now)
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
            self._reports.fenced(self._holdings.retained.frames_from(head.begun_at))
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
        self._reports.superseded(lost)
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
        return self._starts.is_ready and (live is None or not live.is_catching_up)

    def _decide_start(self, head: Head | None, now_ms: int) -> None:
        opened = self._starts.decide(head, self._clock.monotonic(), now_ms)
        if opened is not None:
            self._open(opened)
        if self._window.queued or not self._starts.is_empty:
            self.note_work()

    def _withdraw_start(self) -> None:
        """Have the older generation go on, with what was held back of it."""
        for entries, received_at in self._starts.withdraw():
            if self._live is not None:
                self.put(self._live, entries, received_at)

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
        self._reports.superseded(opened.dropped_frames)
        interaction = Interaction(run.opening, opened.account)
        self._live = LiveStream(interaction, self, opened.lease, run, started_at)
        self.state, self._account_due = LogState.IN_SYNC, False
        self._published = opened.account
        bytes_per_second = run.opening.media.bytes_per_second
        self._max_bytes = round(self._budget.limits.buffer_seconds * bytes_per_second)
        opened.pending.settle(self._live)
        if older is not None:
            older.fence()
        if not self._starts.is_empty:
            self.note_work()
