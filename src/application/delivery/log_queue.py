"""The way of entries through a log: into the open batch, and out of it as an append.

    put ──▶ open batch ──closed──▶ queued batches ──taken──▶ append

A session puts the entries of a frame. The batch is closed when it is full, or when the `Sender`
takes the next append of the log.
"""

from application.delivery.byte_budget import ByteBudget
from application.delivery.holdings import Holdings
from application.delivery.linger import Linger
from application.delivery.live_stream import LiveStream
from application.delivery.log_progress import LogProgress
from application.delivery.log_state import LogState, Probe, Work
from application.ports.clock import Clock
from domain.entries import Ended, Entry, SignalNoted
from domain.identifiers import StreamKey
from domain.media import AudioFrame

PACK_AFTER_SECONDS = 0.5
MAX_UNPACKED = 4
"""When nothing was confirmed for this long, or this many batches are queued, later batches are
packed, since they may have to wait for long."""


class LogQueue(LogProgress):
    """The part of a log that queues entries and gives them out; `StreamLog` is the whole."""

    def __init__(
        self,
        stream: StreamKey,
        clock: Clock,
        budget: ByteBudget,
        holdings: Holdings,
        linger: Linger,
    ) -> None:
        super().__init__(clock, budget, holdings)
        self.stream = stream
        self.state = LogState.CLOSED
        self._linger = linger
        self._due_at: float | None = None
        self._sent: Work | None = None

    @property
    def is_lingering(self) -> bool:
        """Whether the only work is an open batch that waits for more frames."""
        return (
            self._due_at is not None
            and not self._window.queued
            and not (self._account_due or self.is_starting or self.is_in_doubt)
        )

    def put(self, live: LiveStream, entries: tuple[Entry, ...], received_at: float) -> None:
        """Append entries of a generation, received at monotonic `received_at`."""
        if live.is_fenced:
            return
        if self._unconfirmed_since is None:  # early entries were received long ago
            early = live.is_catching_up
            self._unconfirmed_since = self._clock.monotonic() if early else received_at
        if self._starts.begun:
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
        is_full = window.put(entries, received_at, size)
        if is_full:
            self._close_open(received_at)
        if self._linger.seconds:
            is_due = is_full or type(entries[-1]) is Ended or live.is_ack_due(window.count)
            self._send_or_wait(received_at, is_first=is_first, is_due=is_due)
        elif is_first:
            self.note_work()

    def _send_or_wait(self, received_at: float, *, is_first: bool, is_due: bool) -> None:
        """Send the open batch, now or after its linger."""
        if is_due:
            self._due_at = None
            self.note_work()
        elif is_first:
            self._due_at = self._linger.add(self, received_at)

    def hurry(self) -> None:
        """Send the open batch without waiting for more frames."""
        if self._due_at is not None:
            self._due_at = None
            self.note_work()

    def note_due(self, due_at: float) -> None:
        """Send the batch that is due at this time, if it is still open."""
        if self._due_at == due_at:
            self.hurry()

    def put_account(self, live: LiveStream) -> None:
        """Append the run's account without an entry."""
        if self._live is live:
            self._account_due = True
            self.note_work()

    def _close_open(self, now: float) -> None:
        """Queue the open batch, with the current account of the run."""
        live, window = self._live, self._window
        if live is None:
            raise AssertionError("nothing is put without a generation")
        account = live.interaction.account(window.next_position + len(window.open_entries))
        batch = self._holdings.close_open(account)
        waits_long = self.backoff.failures or len(window.queued) > MAX_UNPACKED
        if waits_long or self.stalled_seconds(now) > PACK_AFTER_SECONDS:
            batch.pack()
        self._account_due = False
        self._due_at = None

    def take(self) -> Work | None:
        """Return the next append or probe; None if there is none, or one is in flight."""
        if self._sent is not None:
            return None
        self._doubts.note_sent()
        window, now = self._window, self._clock.monotonic()
        if not window.queued:
            if not (window.open_entries or self._account_due):
                return self._take_probe()
            self._close_open(now)
        if self._starts.begun:
            self._starts.note_attempt()
        append = self._sent = self._holdings.append(now)
        return append

    @property
    def in_flight_bytes(self) -> int:
        """The audio in the append that was taken last, in bytes."""
        return self._window.in_flight_bytes

    def _take_probe(self) -> Probe | None:
        if not (self._may_decide_start or self.is_in_doubt):
            return None
        if self.state is LogState.IN_SYNC:
            self.state = LogState.PROBING
        probe = self._sent = Probe(self.stream)
        return probe

    @property
    def _may_decide_start(self) -> bool:
        """Whether a start is pending, and nothing precedes it."""
        live = self._live
        return self._starts.is_ready and (live is None or not live.is_catching_up)

    def leave(self, live: LiveStream) -> None:
        """Detach a generation that writes no more; its retained entries age."""
        live.note_caught_up()
        if self._live is live:
            if self._window.open_entries:  # they need the account that only it has
                self._close_open(self._clock.monotonic())
                self.note_work()
            self._live = None
            self._account_due = False
