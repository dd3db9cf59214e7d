"""A call over a lossy broker: the inside of a service, and the sender that speaks to it."""

import asyncio
import math
from dataclasses import dataclass, field

from counting_telemetry import CountingTelemetry
from lossy_broker import Broker, Connection

from application.background import Background
from application.cut_interaction import CutInteraction
from application.delivery.byte_budget import BufferLimits
from application.delivery.listener import DeliveryListener
from application.delivery.live_stream import LiveStream
from application.delivery.sender import Sender as LogSender
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.ports.clock import Clock
from application.recover_runs import RecoverRuns
from application.start_interaction import StartInteraction
from application.watch.broker_watch import BrokerWatch
from domain.account import State
from domain.events import EndReason, Signal

RESUME_SECONDS = 30.0
FRAME_BYTES = 48


class Process:
    """Everything between a session and the broker."""

    def __init__(self, broker: Broker, clock: Clock, limits: BufferLimits) -> None:
        self.connection = Connection(broker)
        self.telemetry = CountingTelemetry()
        self.sender = LogSender(
            self.connection, clock, self.telemetry, limits, retention_seconds=math.inf
        )
        self.background = Background()
        self.watch = BrokerWatch(
            self.connection,
            self.sender,
            clock,
            self.telemetry,
            find_parts_seconds=math.inf,  # a lossy broker is always one part
        )
        self.end = EndInteraction(clock, self.telemetry, self.background, expire_seconds=math.inf)
        self.cut = CutInteraction(
            self.end,
            self.background,
            clock,
            resume_seconds=RESUME_SECONDS,
            expire_seconds=1e9,
        )
        self.start = StartInteraction(self.connection, self.sender, self.cut, clock)
        self.ingest = IngestAudio(clock, self.telemetry)
        recover = RecoverRuns(
            self.connection,
            self.connection,
            self.sender,
            self.telemetry,
            resume_seconds=RESUME_SECONDS,
        )
        self.tasks = [
            asyncio.create_task(recover.run()),
            asyncio.create_task(self.sender.run()),
            asyncio.create_task(self.watch.run()),
        ]

    async def close(self) -> None:
        await self.background.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


# The sender


@dataclass
class Run:
    """What was sent in one run, and what became of it."""

    sent: list[int | str] = field(default_factory=list)
    left_out: set[int] = field(default_factory=set)
    received: int = 0
    acknowledged: int = -1


class Line(DeliveryListener):
    """A connection of the sender to a process."""

    def __init__(self, process: Process, stream: LiveStream, run: str, log: Run) -> None:
        self.process = process
        self.stream = stream
        self.run = run
        self.log = log
        last_seq = stream.interaction.last_seq
        self.next_seq = max(-1 if last_seq is None else last_seq, log.acknowledged) + 1
        self.is_fenced = stream.is_fenced
        stream.listener = self
        stream.note_caught_up()

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        if frames and last_seq is not None:
            self.log.acknowledged = max(self.log.acknowledged, last_seq)

    def on_fenced(self) -> None:
        self.is_fenced = True

    def on_stalled(self) -> None:
        """A sender that does not hang up."""

    @property
    def is_heard(self) -> bool:
        return self.stream.interaction.state is State.LIVE and not self.stream.is_fenced

    def speak(self, frames: int) -> None:
        for _ in range(frames):
            self._pass_over_what_was_left_out()
            self._say(self.next_seq)
            self.next_seq += 1

    def leave_out(self, seqs: int) -> None:
        """Skip some, now and when everything is sent again."""
        for _ in range(seqs):
            self._pass_over_what_was_left_out()
            if self.next_seq not in self.log.sent:
                self.log.left_out.add(self.next_seq)
            self.next_seq += 1

    def _pass_over_what_was_left_out(self) -> None:
        while self.next_seq in self.log.left_out:
            self.next_seq += 1

    def repeat(self, back: int) -> None:
        self._say(max(0, self.next_seq - back))

    def press(self, details: str) -> None:
        if self.is_heard:
            self.process.ingest.note(self.stream, Signal.DTMF, details)
            self.log.sent.append(details)

    def drop(self, frames: int) -> None:
        if self.is_heard:
            self.process.ingest.drop(self.stream, None, frames)
            self.log.received += frames
            self.next_seq = self.stream.interaction.unnumbered_seq

    def _say(self, seq: int) -> None:
        if not self.is_heard:
            return
        self.log.received += 1
        if self.process.ingest(self.stream, seq, audio(self.run, seq)):
            self.log.sent.append(seq)

    def hang_up(self) -> None:
        self.stream.listener = None
        if self.stream.interaction.state is State.LIVE:
            self.process.cut(self.stream)

    def end(self) -> None:
        self.stream.listener = None
        if self.is_heard:
            self.process.end(self.stream, EndReason.ENDED)


def audio(run: str, seq: int) -> bytes:
    """What is in a frame: no two are alike."""
    return f"{seq}/{run}".encode().ljust(FRAME_BYTES, b".")[:FRAME_BYTES]
