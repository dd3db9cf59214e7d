"""The session's side of a log: appends entries, and waits until they are confirmed."""

import asyncio
from collections.abc import Callable

from application.delivery.byte_budget import ByteBudget
from application.delivery.doubts import Doubts
from application.delivery.holdings import Holdings
from application.delivery.linger import Linger
from application.delivery.live_stream import LiveStream, Log
from application.delivery.starts import Starts
from application.ports.clock import Clock
from application.time_limit import store_backoff
from domain.entries import Ended, Entry, SignalNoted
from domain.media import AudioFrame

PACK_AFTER_SECONDS = 0.5
MAX_UNPACKED = 4
"""When nothing was confirmed for this long, or this many batches are queued, later batches are
packed, since they may have to wait for long."""


class LogInbox(Log):
    """The part of a log that sessions write to; `StreamLog` is the complete class."""

    note_work: Callable[[], None]
    """Notifies the `Lane` that serves the log that there is something to send."""

    def __init__(
        self, clock: Clock, budget: ByteBudget, holdings: Holdings, linger: Linger
    ) -> None:
        self.backoff = store_backoff()
        self._clock = clock
        self._budget = budget
        self._holdings = holdings
        self._linger = linger
        self._due_at: float | None = None
        self._window = holdings.window
        self._starts = Starts(holdings)
        self._live: LiveStream | None = None
        self._account_due = False
        self._doubts = Doubts()
        self._holds = self._max_bytes = 0
        self._max_entries = budget.limits.stream_entries
        self._unconfirmed_since: float | None = None
        self._change: asyncio.Event | None = None

    @property
    def live(self) -> LiveStream | None:
        """The current generation."""
        return self._live

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read until something is confirmed."""
        window = self._window
        return (
            window.audio_bytes >= self._max_bytes
            or window.count >= self._max_entries
            or self._budget.is_full
            or self._holds > 0
            or self._starts.begun is not None
        )

    @property
    def is_in_doubt(self) -> bool:
        """Whether the store may have lost entries of the log."""
        return not self._doubts.are_proved

    @property
    def is_empty(self) -> bool:
        """Whether all entries so far are confirmed, and the log is not in doubt."""
        return self._window.is_empty and not (self._account_due or self.is_in_doubt)

    @property
    def is_start_requested(self) -> bool:
        """Whether a further start of the stream waits for its decision."""
        return bool(self._starts.requested)

    @property
    def is_starting(self) -> bool:
        """Whether a start is pending, or messages held for one are not yet in the log."""
        live = self._live
        return bool(self._starts.requested) or (live is not None and live.is_catching_up)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to append, to probe, or to start."""
        return self.is_empty and not self.is_starting

    @property
    def is_lingering(self) -> bool:
        """Whether the only work is an open batch that waits for more frames."""
        return (
            self._due_at is not None
            and not self._window.queued
            and not (self._account_due or self.is_starting or self.is_in_doubt)
        )

    @property
    def oldest_received_at(self) -> float | None:
        """When the first unconfirmed frame was received; None without one."""
        received_at = self._window.oldest_received_at
        return self._starts.held_back_since if received_at is None else received_at

    def stalled_seconds(self, now: float) -> float:
        """For how long entries have been queued without any confirmation."""
        return 0.0 if self._unconfirmed_since is None else now - self._unconfirmed_since

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

    def note_caught_up(self) -> None:
        """Allow the decision of further starts: all messages held for the last are in the log."""
        if self._starts.requested:
            self.note_work()

    def hold(self) -> None:
        """Stop reading the sender, since a start of its stream is requested."""
        self._holds += 1

    def release(self) -> None:
        """Undo one `hold`."""
        self._holds -= 1
        self._note_change()

    def leave(self, live: LiveStream) -> None:
        """Detach a generation that writes no more; its retained entries age."""
        live.note_caught_up()
        if self._live is live:
            if self._window.open_entries:  # they need the account that only it has
                self._close_open(self._clock.monotonic())
                self.note_work()
            self._live = None
            self._account_due = False

    async def wait_for_room(self, live: LiveStream) -> None:
        """Wait until the sender may be read again, or the generation is fenced."""
        while not live.is_fenced and self.is_full:
            if self._budget.is_full:
                await self._budget.wait_for_room()
            else:
                await self._wait_for_change()

    async def wait_until_empty(self, live: LiveStream) -> None:
        """Wait until all entries so far are confirmed, or the generation is fenced."""
        while not (live.is_fenced or self.is_empty):
            await self._wait_for_change()

    async def wait_until_fenced(self, live: LiveStream) -> None:
        """Wait until a newer generation holds the stream."""
        while not live.is_fenced:
            await self._wait_for_change()

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

    def _tell_if_empty(self, live: LiveStream | None) -> None:
        """Tell a session that all is confirmed: a doubt may end after its last entries."""
        if live is not None and live.listener is not None and self.is_empty:
            live.listener.on_confirmed(0, live.published.last_seq)

    def _let_go_of_live(self) -> None:
        """Detach the current generation, and notify its session."""
        live, self._live = self._live, None
        if live is not None:
            live.tell_fenced()

    async def _wait_for_change(self) -> None:
        if self._change is None:
            self._change = asyncio.Event()
        await self._change.wait()

    def _note_change(self) -> None:
        """Wake waiting tasks; the event exists only if there are any, which is rare."""
        change, self._change = self._change, None
        if change is not None:
            change.set()
