"""A session whose connection is a record of what it was told to do."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from application.call.actions import Attempt
from application.call.closing import Closing
from application.call.messages import Message, OddStart
from application.call.services import Services
from application.call.session import Session
from application.call.start_attempt import Settled, StartAttempt
from application.call.wire import Wire
from application.delivery.live_stream import LiveStream
from application.start_interaction import RetryBudget
from domain.access import Principal
from domain.events import EndReason, Opening


class RecordingConnection:
    """Carries out the actions of its session: replies are recorded, use cases are called."""

    def __init__(self, services: Services, wire: Wire, principal: Principal | None = None) -> None:
        self._services = services
        self._principal = principal or Principal()
        self.replies: list[str] = []
        self.acks: list[str] = []
        self.odd: list[OddStart] = []
        self.told_drops: list[tuple[object, object, int | None]] = []
        """Stream and dialect of each drop that was told, and its frames when it was over."""
        self.closing: Closing | None = None
        self.starts: list[Opening] = []
        self.session = Session(services, self, self._principal.token_names)
        self.session.on_wire(wire)

    # What a sender does

    def send(self, *messages: Message) -> None:
        """Take messages in, as one read."""
        self.session.note_heard()
        for message in messages:
            self.session.on_message(message)

    def leave(self) -> None:
        """Be gone; what is left to be done is done in the background."""
        self.session.on_gone()
        if not self.session.is_done:
            self._services.background.own(self.finish_alone())

    async def finish_alone(self) -> None:
        """Put early messages until the session is done."""
        while not self.session.is_done:
            self.put_early()
            await asyncio.sleep(0.001)

    def put_early(self) -> None:
        """Put all early messages of streams that are granted."""
        while self.session.is_catching_up:
            self.session.put_early()

    @property
    def live(self) -> LiveStream | None:
        """The stream itself, once it is granted."""
        main = self.session._tracks.main
        return None if main is None else main.live

    @property
    def streams(self) -> dict[str | None, LiveStream | None]:
        """The streams that are open, by track; None for one that is not granted yet."""
        return {stream.track: stream.live for stream in self.session._tracks}

    @property
    def is_idle(self) -> bool:
        """Whether no start is pending."""
        return not self.session._tracks.is_pending

    def drop(self) -> None:
        """Drop all audio from now on, as if buffers were full."""
        for stream in self.session._tracks:
            stream.is_dropping = True
            stream._tell_dropping()

    # Actions

    def reply(self, text: str) -> None:
        self.replies.append(text)

    def ack(self, text: str) -> None:
        self.acks.append(text)

    def close(self, closing: Closing) -> None:
        self.closing = self.closing or closing

    def wake(self) -> None:
        pass

    def start(
        self,
        opening: Opening,
        requested_at: float,
        budget: RetryBudget,
        on_settled: Callable[[Settled], None],
    ) -> Attempt:
        self.starts.append(opening)
        return StartAttempt(
            self._services.start,
            opening,
            self._principal,
            requested_at=requested_at,
            budget=budget,
            context={},
            on_settled=on_settled,
        )

    def end(self, live: LiveStream, reason: EndReason) -> None:
        self._services.end(live, reason)

    def cut(self, live: LiveStream, reason: EndReason) -> None:
        self._services.cut(live, reason)

    def report_odd_start(self, odd: Sequence[OddStart], context: Mapping[str, object]) -> None:
        del context
        self.odd += odd

    def report_dropping(self, context: Mapping[str, object]) -> None:
        self.told_drops.append((context.get("stream_id"), context["dialect"], None))

    def report_dropped(self, frames: int, context: Mapping[str, object]) -> None:
        self.told_drops.append((context.get("stream_id"), context["dialect"], frames))
