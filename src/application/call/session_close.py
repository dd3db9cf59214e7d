"""Closes a session: the cause, the last replies, and the end of its run."""

import logging
from collections.abc import Mapping

from application.call.actions import Actions
from application.call.closing import ENDED, RESTART, SHUTDOWN, CloseCode, Closing, closing_of
from application.call.deadlines import Deadlines
from application.call.services import Services
from application.call.tracks import Tracks
from application.call.wire import Wire
from application.call_context import call_context
from domain.events import EndReason

CLOSE_SECONDS = 5.0
"""How long a close waits for the confirmation of received frames. During a drain it waits for the
drain's time instead, if that is longer."""

AFTER_DRAIN_SECONDS = 2.0
"""How long it waits once the drain is over."""

_log = logging.getLogger(__name__)


class SessionClose:
    """The part of a session that does not handle messages; `Session` is the complete class."""

    _tracks: Tracks

    def __init__(
        self, services: Services, actions: Actions, token_names: Mapping[str, str]
    ) -> None:
        self.services = services
        self.actions = actions
        self.heard = services.clock.instant()
        self.is_gone = False
        self.catching_up = 0
        self._token_names = token_names
        self._wire: Wire | None = None
        self._deadlines = Deadlines(services.limits, self.heard.monotonic)
        self._remarks: dict[str, None] = {}
        self._has_ended = False
        self._closing: Closing | None = None
        self._is_closed = False
        self._leave_at = 0.0  # 0 until all that was held is put
        self._is_draining = False
        self._flush_seconds = CLOSE_SECONDS
        self._reason_if_lost = EndReason.DISCONNECTED

    # What it is

    @property
    def wire(self) -> Wire:
        """The wire that the sender speaks, once its first message has come."""
        if self._wire is None:
            raise AssertionError("the wire is known with the first message")
        return self._wire

    @property
    def dialect(self) -> str:
        """The name of the wire, once it is known."""
        return "unknown" if self._wire is None else self._wire.name

    @property
    def context(self) -> dict[str, object]:
        """The names of the call, for the log; before the start those of the sender's token."""
        main = self._tracks.main
        if main is not None and main.live is not None:
            return call_context(main.live.interaction.opening)
        context = {**self._token_names, **({} if main is None else main.names)}
        return context if self._wire is None else {**context, "dialect": self._wire.name}

    @property
    def call(self) -> Mapping[str, object] | None:
        """The live call, for the log; None before the start and after the end."""
        main = self._tracks.main
        is_live = main is not None and main.live is not None and not self._has_ended
        return self.context if is_live else None

    @property
    def is_started(self) -> bool:
        """Whether a start has come."""
        return self._tracks.main is not None and self._tracks.main.is_started

    @property
    def is_catching_up(self) -> bool:
        """Whether early messages remain: `put_early` is called until none does."""
        return self.catching_up > 0

    @property
    def is_done(self) -> bool:
        """Whether the session is over: the connection is gone, and no start is pending."""
        return self.is_gone and not self.is_catching_up and not self._tracks.is_pending

    @property
    def due_at(self) -> float:
        """When to call `on_time`, in monotonic seconds."""
        return self._deadlines.due_at if self._closing is None else self._leave_at

    # Events

    def on_progress(self) -> None:
        """Close once everything that must be confirmed first is confirmed. See `CallStream`."""
        if self._is_closed or self.is_gone or self.is_catching_up:
            return
        if self._closing is not None:
            if self._tracks.is_flushed:
                self._finish(self._closing)
        elif self._has_ended and self._tracks.is_ended:
            self.close(ENDED)

    def on_drain(self) -> None:
        """Close, so that the sender resumes elsewhere, unless it cannot.

        Closes now, or once a pending start is stored.
        """
        self._is_draining = True
        self._flush_seconds = max(self.services.limits.drain_seconds, CLOSE_SECONDS)
        is_starting = self._tracks.main is not None and self._tracks.main.is_starting
        if self._continues_elsewhere and not is_starting:
            self.close(RESTART)

    def on_drain_over(self) -> None:
        """End the run and close now: there is no time to wait for the broker."""
        self._flush_seconds = AFTER_DRAIN_SECONDS
        now = self.services.clock.monotonic()
        self._leave_at = min(self._leave_at, now + AFTER_DRAIN_SECONDS)
        self.close(SHUTDOWN)
        self.actions.wake()

    def on_time(self) -> None:
        """Close if it is time."""
        now = self.services.clock.monotonic()
        if self._closing is not None:
            if now >= self._leave_at and not self.is_catching_up:
                self._finish(self._closing)
            return
        closing = self._deadlines.overdue(now)
        if closing is not None:
            self.close(closing)

    def fail(self, bug: Exception) -> None:
        """Ack and close at once because of a bug; if it is closing, only cancel remaining work."""
        if self.is_gone or self._is_closed:
            _log.error("a call failed after its close", exc_info=bug, extra=self.context)
            self.abandon()
            for stream in self._tracks:
                stream.cut()
            self.actions.wake()
            return
        self._closing = closing_of(bug, keeps_on=False)
        self._finish(self._closing)

    def note_end(self, *, is_deferred: bool) -> None:
        """Undo the end while it is deferred to a newer connection, which may fail."""
        self._has_ended = self._deadlines.has_ended = not is_deferred

    def on_gone(self) -> None:
        """Continue muted: the connection is closed, by either side."""
        if self.is_gone:
            return
        self.is_gone = True
        for stream in self._tracks:
            stream.release(self._reason_if_lost)

    def abandon(self) -> None:
        """Cancel the remaining work."""
        self.on_gone()
        for stream in self._tracks:
            stream.abandon()

    # Replies and the close

    def reply(self, text: str | None) -> None:
        """Send a reply, if there is one and the sender is there."""
        if text is not None and not self.is_gone:
            self.actions.reply(text)

    def last_ack(self) -> str | None:
        """Return the ack that must precede the close for a broken frame."""
        main = self._tracks.main
        if main is None or main.live is None:
            return None
        return main.due_ack(main.live.published.last_seq)

    def remark(self, remark: str) -> None:
        """Log each oddity of the call once; before the start they wait for it.

        The texts are of a closed set, which bounds them.
        """
        if remark not in self._remarks:
            self._remarks[remark] = None
            if self._tracks.main is not None and self._tracks.main.live is not None:
                _log.warning(remark, extra=self.context)

    def close(self, closing: Closing) -> None:
        """Close the connection, unless it is closing or its wire excludes this code."""
        if self.is_gone or self._closing is not None:
            return
        if self._wire is not None and closing.code in self._wire.never_closed_with:
            return
        self._closing = closing
        if not self.is_catching_up:
            self._leave(closing)

    @property
    def _continues_elsewhere(self) -> bool:
        """Whether the sender can resume, and has not sent its end."""
        return self._wire is not None and self._wire.comes_back and not self._has_ended

    def _leave(self, closing: Closing) -> None:
        """End the runs, and close once everything is confirmed."""
        main = self._tracks.main
        if self._is_closed:
            return
        is_given_up = closing.code is CloseCode.NOT_CONFIRMED
        if is_given_up:
            self._reason_if_lost = EndReason.BROKER_LOST
        if main is None or main.live is None:
            if closing.end is not None and main is not None and not self.wire.comes_back:
                self._end(closing.end)
            self._finish(closing)
            return
        if closing.end is not None:
            self._end(closing.end)
        self._tracks.hurry()
        if not self._leave_at:  # or a track that is granted now would begin it again
            self._leave_at = self.services.clock.monotonic() + self._flush_seconds
        if self._tracks.is_flushed or is_given_up:
            self._finish(closing)
        else:
            self.actions.wake()

    def _finish(self, closing: Closing) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        main = self._tracks.main
        live = None if main is None else main.live
        if main is not None and live is not None:
            main.ack(live.published.last_seq)
            if main.is_ended and not live.is_fenced:
                opening, ledger = live.interaction.opening, live.interaction.ledger
                self.reply(self.wire.ended(opening.interaction_id, ledger))
        self.actions.close(closing)

    def _end(self, reason: EndReason) -> None:
        self._has_ended = self._deadlines.has_ended = True
        self._tracks.end(reason)
