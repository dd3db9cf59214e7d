"""A start that is requested but not yet decided."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from application.delivery.live_stream import LiveStream
from domain.head import another_owner
from domain.starting import AwaitFirstFrame, StartRequest

Granted = LiveStream | AwaitFirstFrame


class PendingStart:
    """One start request on its way through the log of its stream.

    It keeps its order among the starts of the stream, and is decided once it `is_ready`.

    `outcome` is the stream, or `AwaitFirstFrame` if it cannot be decided yet; it raises
    `domain.errors.NotAllowed` or `Superseded`. If a request was given up while its append was in
    flight, it may still be granted: `on_late` is called with the stream then.
    """

    def __init__(
        self,
        request: StartRequest,
        requested_at: float,
        on_late: Callable[[LiveStream], None],
        on_give_up: Callable[["PendingStart"], None],
    ) -> None:
        self._request = request
        self._requested_at = requested_at
        self._on_late = on_late
        self._on_give_up = on_give_up
        self.outcome: asyncio.Future[Granted] = asyncio.get_running_loop().create_future()
        self.is_ready = False
        self.is_given_up = False
        self.is_attempted = False

    @property
    def owner(self) -> str:
        """The token of the requested lease."""
        return self._request.owner

    def retry(self, suffix: str) -> None:
        """Continue with another token, since it is unknown whether this one was stored."""
        self._request = replace(self._request, owner=another_owner(self.owner, suffix))

    def request(self, now: float) -> StartRequest:
        """Return the request as of `now`, monotonic seconds."""
        return replace(self._request, waited_ms=round((now - self._requested_at) * 1_000))

    def give_up(self) -> None:
        """Withdraw the request."""
        if not self.is_given_up and not self.outcome.done():
            self.is_given_up = True
            self.outcome.cancel()
            self._on_give_up(self)

    def settle(self, outcome: Granted) -> None:
        """Set the outcome."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        elif isinstance(outcome, LiveStream):
            self._on_late(outcome)

    def fail(self, error: Exception) -> None:
        """Set the error of a refusal."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
