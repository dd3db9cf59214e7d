"""How far a log is: its unconfirmed entries, its room for more, and the waits for both."""

import asyncio
from collections.abc import Callable

from application.delivery.byte_budget import ByteBudget
from application.delivery.doubts import Doubts
from application.delivery.holdings import Holdings
from application.delivery.live_stream import LiveStream, Log
from application.delivery.starts import Starts
from application.ports.clock import Clock
from application.time_limit import store_backoff


class LogProgress(Log):
    """The part of a log that sessions wait for; `StreamLog` is the complete class."""

    note_work: Callable[[], None]
    """Notifies the `Lane` that serves the log that there is something to send."""

    def __init__(self, clock: Clock, budget: ByteBudget, holdings: Holdings) -> None:
        self.backoff = store_backoff()
        self._clock = clock
        self._budget = budget
        self._holdings = holdings
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
        return not self._doubts.are_settled

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
    def oldest_received_at(self) -> float | None:
        """When the first unconfirmed frame was received; None without one."""
        received_at = self._window.oldest_received_at
        return self._starts.held_back_since if received_at is None else received_at

    def stalled_seconds(self, now: float) -> float:
        """For how long entries have been queued without any confirmation."""
        return 0.0 if self._unconfirmed_since is None else now - self._unconfirmed_since

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
