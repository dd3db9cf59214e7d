"""The actions of a session: replies, starts, ends, and the close of the connection."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.reports import Reports
from adapters.inbound.websocket.replies import Replies
from application.call.actions import Attempt
from application.call.call_trace import CallTrace
from application.call.closing import Closing
from application.call.messages import OddStart
from application.call.services import Services
from application.call.start_attempt import Settled, StartAttempt
from application.delivery.live_stream import LiveStream
from application.start_interaction import RetryBudget
from domain.access import Principal
from domain.events import EndReason, Opening


class ConnectionActions:
    """The `Actions` of one connection.

    `closing` is the requested close, None without one. The reader waits in `alarm`; when the peer
    is gone, `woken` is awaited instead. An event of the session ends both.
    """

    def __init__(
        self,
        services: Services,
        reports: Reports,
        principal: Principal,
        origin: Origin,
        replies: Replies,
        trace: CallTrace,
    ) -> None:
        self._services = services
        self._reports = reports
        self._principal = principal
        self._origin = origin
        self._replies = replies
        self._trace = trace
        self.closing: Closing | None = None
        self.alarm: asyncio.Timeout | None = None
        self.woken = asyncio.Event()

    def reply(self, text: str) -> None:
        """Send text. See `Actions`."""
        self._replies.put(text)

    def ack(self, text: str) -> None:
        """Send an ack. See `Actions`."""
        self._replies.put_ack(text)

    def close(self, closing: Closing) -> None:
        """Close once all replies are sent. See `Actions`."""
        self.closing = self.closing or closing
        self.wake()

    def wake(self) -> None:
        """Wake the loop to look at the session again. See `Actions`."""
        self.woken.set()
        if self.alarm is not None and not self.alarm.expired():
            self.alarm.reschedule(asyncio.get_running_loop().time())

    def start(
        self,
        opening: Opening,
        requested_at: float,
        budget: RetryBudget,
        on_settled: Callable[[Settled], None],
    ) -> Attempt:
        """Try to start a stream. See `Actions`."""

        def settle(settled: Settled) -> None:
            self._trace.note_settled(settled)
            on_settled(settled)

        return StartAttempt(
            self._services.start,
            self._trace.note_start(opening),
            self._principal,
            requested_at=requested_at,
            budget=budget,
            context=self._origin.context(),
            on_settled=settle,
        )

    def end(self, live: LiveStream, reason: EndReason) -> None:
        """End a run. See `Actions`."""
        self._services.end(live, reason)

    def cut(self, live: LiveStream, reason: EndReason) -> None:
        """Have a run wait for its sender. See `Actions`."""
        self._services.cut(live, reason)

    def report_odd_start(self, odd: Sequence[OddStart], context: Mapping[str, object]) -> None:
        """Report an odd start. See `Actions`."""
        self._reports.odd_start(odd, self._origin, context)

    def report_dropping(self, context: Mapping[str, object]) -> None:
        """Report that audio is dropped. See `Actions`."""
        self._reports.dropping(self._origin, context)

    def report_dropped(self, frames: int, context: Mapping[str, object]) -> None:
        """Report that audio is no longer dropped. See `Actions`."""
        self._reports.dropped(frames, self._origin, context)
