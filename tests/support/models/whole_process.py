"""One process of the service on a simulated clock, with connections whose peers are in memory."""

import asyncio
import json
from collections.abc import Callable, MutableMapping
from typing import Any

from lossy_broker import Broker
from lossy_call import Process

from adapters.inbound.dialects import DIALECTS
from adapters.inbound.handshake import Handshake
from adapters.inbound.reporting.reports import Reports
from adapters.inbound.websocket.connection import Connection
from adapters.inbound.websocket.frame_reader import Message as Frame
from adapters.inbound.websocket.inbox import Inbox, TakeIn
from application.call.closing import Closing
from application.call.deadlines import TimeLimits
from application.call.messages import Audio, BadStart, Message, Refused, Start
from application.call.roster import Roster
from application.call.services import Services
from application.call.session import Session
from application.delivery.byte_budget import BufferLimits
from application.ports.clock import Clock
from domain.access import Principal

LIMITS = TimeLimits(10, 20, 200, 10, 5)
ADDRESS = "10.0.0.1"
HANDSHAKE = Handshake(peer=ADDRESS)


class MemoryPeer:
    """The service's end of a socket. The sender puts frames in, and reads what was `replies`."""

    def __init__(self) -> None:
        self.messages: list[Frame] = []
        self.inbox = Inbox(self.messages, asyncio.get_running_loop())
        self.last_reply: Callable[[], str | None] | None = None
        self.on_closed: Callable[[Closing], None] | None = None
        self.replies: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_gone = False
        self.close_code: int | None = None

    def take(self) -> Frame | None:
        return self.messages.pop(0) if self.messages else None

    async def listen(self, take_in: TakeIn) -> bool:
        inbox, wants_more = self.inbox, True
        while wants_more and inbox.messages:
            wants_more = take_in()
            if wants_more and inbox.messages:
                await asyncio.sleep(0)
        if wants_more and inbox.is_empty:
            await inbox.wait(take_in)
        return bool(inbox.messages) or inbox.is_empty

    def say(self, text: str) -> bool:
        if self.is_gone or not self.reads.is_set():
            return False
        self.replies.append(json.loads(text))
        return True

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if not self.is_gone:
            await self.reads.wait()
        if self.is_gone:
            raise OSError
        if message["type"] == "websocket.close":
            self.close_code = message["code"]
            self.leave()
        else:
            self.replies.append(json.loads(message["text"]))

    # The sender's side

    def put(self, *frames: Frame) -> None:
        if not self.is_gone:
            self.messages.extend(frames)
            self.inbox.hand_over()

    def leave(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.reads.set()
            self.inbox.put_nowait({"type": "websocket.disconnect"})


class Served:
    """A connection that a process serves."""

    def __init__(self, process: "WholeProcess", principal: Principal) -> None:
        self.peer = MemoryPeer()
        self._process = process
        self._connection = Connection(
            process.services,
            process.reports,
            DIALECTS,
            principal,
            process.reports.origin(ADDRESS, []),
            HANDSHAKE,
            self.peer,
            self.peer.send,
        )
        process.count_messages(self._connection.session)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with self._process.roster.entered(self._connection.session):
            await self._connection.run()


class WholeProcess(Process):
    """All of the service but its sockets; `heard` counts the messages that have to be counted."""

    def __init__(
        self, broker: Broker, clock: Clock, limits: BufferLimits, frames_per_ack: int
    ) -> None:
        super().__init__(broker, clock, limits)
        self.heard = 0
        self.reports = Reports(self.telemetry, trusted_proxy_hops=0)
        self.roster = Roster(self.telemetry)
        self.services = Services(
            self.start,
            self.ingest,
            self.end,
            self.cut,
            self.background,
            self.sender.budget,
            clock,
            self.telemetry,
            frames_per_ack,
            LIMITS,
        )

    def count_messages(self, session: Session) -> None:
        on_message = session.on_message

        def counted(message: Message) -> bool:
            is_late_start = isinstance(message, Start | BadStart) and session.is_started
            if session.state.value != "ending":
                self.heard += isinstance(message, Audio | Refused) or is_late_start
            return on_message(message)

        session.on_message = counted  # type: ignore[method-assign]
