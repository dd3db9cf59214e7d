"""The in-memory log of one stream in one process.

One log per stream and process, whatever the number of connections, generations and runs. It
appends in order, one append at a time, each under the revision that it expects. Sessions put
entries, and the `Sender` takes appends (`log_queue`). This module decides starts and settles
outcomes; `log_table` defines what each answer means.
"""

from application.delivery.byte_budget import ByteBudget
from application.delivery.linger import Linger
from application.delivery.log_reports import LossTally
from application.delivery.log_state import OUT_OF_SYNC, LogState
from application.delivery.log_table import LogTable
from application.delivery.pending_start import PendingStart
from application.delivery.retained import Retained
from application.ports.clock import Clock
from application.ports.store import Append, Appended, Conflict, Failed, Outcome
from application.ports.telemetry import Telemetry
from domain.account import State
from domain.head import Head
from domain.identifiers import StreamKey


class StreamLog(LogTable):
    """The log of one stream; the lane that serves it sets `note_work`."""

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
        super().__init__(
            stream, clock, telemetry, budget, linger, retention_seconds=retention_seconds
        )
        self.epoch = 0

    @property
    def part(self) -> str:
        """The part of the store that has the stream."""
        return self._holdings.retained.part

    def join(self, part: str, losses: LossTally) -> None:
        """Move to a part, and count losses there from now on."""
        self._holdings.retained.part = part
        self._reports.losses = losses

    @property
    def is_in_sync(self) -> bool:
        """Whether the store has proved that it has the confirmed entries."""
        return not self.is_in_doubt and self.state not in OUT_OF_SYNC

    @property
    def is_done(self) -> bool:
        """Whether it holds nothing and has no writer."""
        return self.is_settled and self._live is None and self._holdings.retained.is_empty

    @property
    def retained(self) -> Retained:
        """Its retained entries."""
        return self._holdings.retained

    @property
    def replayed_bytes(self) -> int:
        """The audio that is replayed, in bytes."""
        return self._window.replayed_bytes

    @property
    def unconfirmed_bytes(self) -> int:
        """The audio that was never confirmed, in bytes."""
        return self._window.audio_bytes - self._window.replayed_bytes

    def quiet_seconds(self, now: float) -> float:
        """For how long no request for this log was sent."""
        is_closed_or_asked = self.state is LogState.CLOSED or not self.is_empty
        return 0.0 if is_closed_or_asked else now - self._asked_at

    def request_start(self, pending: PendingStart) -> None:
        """Decide a start request once everything before it is stored, including the account."""
        self._starts.add(pending)
        live = self._live
        if live is not None and live.interaction.state is not State.ENDED:
            account = live.interaction.account(live.published.next_position)
            self._account_due |= account != live.published
        self.note_work()

    def note_start_ready(self, pending: PendingStart) -> None:
        """Decide the next pending start."""
        pending.is_ready = True
        self.note_work()

    def on_start_given_up(self, pending: PendingStart) -> None:
        """Withdraw a start; one that may be stored is settled first."""
        if self._starts.is_queued(pending):
            self._withdraw_start()
        if self._starts.remove(pending):
            self._note_change()
            self.note_work()

    def doubt(self) -> None:
        """Put the log in doubt, so that the store must prove that it has the confirmed entries."""
        if self.state is not LogState.CLOSED:
            self._doubts.add()
            self.note_work()

    def note_dropped(self, frames: int) -> None:
        """Note accepted frames that are dropped: the caller counts them as lost."""
        self._reports.losses.lost += frames

    def abandon(self) -> None:
        """Give up everything: the store was away for longer than the stream's expiry."""
        self._reports.lost(self._starts.abandon(), "not_stored")
        self._close("not_stored")
        self._note_change()

    def settle_append(self, outcome: Outcome) -> None:
        """Handle the outcome of the append that was taken last."""
        sent, self._sent = self._sent, None
        self.has_lost = False
        if type(sent) is not Append:
            raise AssertionError("an append is answered that was not taken")
        if isinstance(outcome, Appended) or _was_stored(sent, outcome):
            self._on_appended(sent)
        else:
            self._window.put_back()
            if isinstance(outcome, Conflict):
                self._on_head(outcome.head)
            else:
                self._on_failed(outcome)
        self._note_change()

    def settle_probe(self, head: Head | Failed | None, now_ms: int) -> None:
        """Handle the head that the store returned, at the store's time `now_ms`."""
        self._sent = None
        self.has_lost = False
        if isinstance(head, Failed):
            self._on_failed(head)
        else:
            self.backoff.reset()
            self._on_head(head)
            if self._may_decide_start and self._window.is_empty and not self._account_due:
                self._decide_start(head, now_ms)
        self._note_change()

    def _decide_start(self, head: Head | None, now_ms: int) -> None:
        opened = self._starts.decide(head, self._clock.monotonic(), now_ms)
        if opened is not None:
            self._open(opened)
        if self._window.queued or self._starts.requested:
            self.note_work()


def _was_stored(sent: Append, outcome: Conflict | Failed) -> bool:
    """Return whether a conflict is with the append itself, which was stored before."""
    head = outcome.head if isinstance(outcome, Conflict) else None
    return head is not None and head.revision == sent.head.revision
