"""The sending side of a process, over a store that does as it is told and without a real clock."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from counting_telemetry import CountingTelemetry
from stream_model import ModelStore, replace_entries
from stream_parts import OPENING, STREAM, opening, seqs_of
from virtual_time import HandDrivenClock, clock_of, timeless_runner

from application.audio_health import AudioHealth
from application.background import Background
from application.cut_interaction import CutInteraction
from application.delivery.byte_budget import BufferLimits
from application.delivery.live_stream import LiveStream
from application.delivery.pending_start import Granted
from application.delivery.sender import Sender
from application.delivery.stream_log import StreamLog
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.open_runs import OpenRuns
from application.ports.store import Append, Failed, Heads, Outcome, StreamStore
from application.start_interaction import RetryBudget, StartInteraction
from domain.access import Principal
from domain.entries import Ended, Entry
from domain.events import NEW_RUN, Continuation, Opening
from domain.head import Head
from domain.identifiers import StreamId, StreamKey, TenantId

RESUME_SECONDS = 30.0
EXPIRE_SECONDS = 900.0
SHORT = BufferLimits(buffer_seconds=10, buffer_bytes=1 << 20, rewind_seconds=5)


def stream_key(name: str) -> StreamKey:
    return StreamKey(TenantId("tenant"), StreamId(name))


@dataclass
class Call:
    """One call of the store: what it was asked, and when."""

    kind: str
    at: float
    streams: list[StreamKey]
    appends: list[Append] = field(default_factory=list)

    @property
    def seqs(self) -> list[int]:
        return [
            seq for append in self.appends for it in append.segments for seq in seqs_of(it.entries)
        ]


class Stores(StreamStore):
    """Many streams, each with its past. A call takes `seconds`.

    A stream is in the part that `parts` names; a part that is `stuck` answers no call of its
    streams, and one that is `parted` fails them.
    """

    def __init__(self, clock: HandDrivenClock) -> None:
        self.clock = clock
        self.streams: dict[StreamKey, ModelStore] = {}
        self.calls: list[Call] = []
        self.seconds = 0.0
        self.epochs: dict[StreamKey, int] = {}
        self.epoch = 0
        self.is_away = False
        self.answers_lost = 0
        self.takes_no_appends = False
        self.failing: dict[StreamKey, PublisherError] = {}
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.in_flight = self.most_in_flight = 0
        self.parts: dict[StreamKey, str] = {}
        self.stuck: set[str] = set()
        self.parted: set[str] = set()

    def of(self, stream: StreamKey = STREAM) -> ModelStore:
        return self.streams.setdefault(stream, ModelStore(self.clock))

    def entries(self, stream: StreamKey = STREAM) -> list[Entry]:
        return [entry for _, entry in self.of(stream).now.entries]

    def seqs(self, stream: StreamKey = STREAM) -> list[int]:
        return seqs_of(self.entries(stream))

    def ends(self, stream: StreamKey = STREAM) -> list[Ended]:
        return [entry for entry in self.entries(stream) if isinstance(entry, Ended)]

    def appended(self, stream: StreamKey) -> list[Call]:
        return [it for it in self.calls if it.kind == "append" and stream in it.streams]

    async def heads(self, streams: Sequence[StreamKey]) -> Heads:
        await self._pass(Call("heads", self.clock.now, list(streams)))
        found: list[Head | Failed | None] = [
            Failed(self.failing[key]) if key in self.failing else self.of(key).head
            for key in streams
        ]
        return Heads(self.clock.epoch_ms(), found)

    async def append(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        copies = [replace_entries(append) for append in appends]
        streams = [append.stream for append in copies]
        assert len(set(streams)) == len(streams), "at most one append for a stream"
        await self._pass(Call("append", self.clock.now, streams, copies))
        if self.takes_no_appends:
            raise BrokerUnavailable("away")
        outcomes: list[Outcome] = [
            Failed(self.failing[it.stream])
            if it.stream in self.failing
            else self.of(it.stream).append(it)
            for it in copies
        ]
        if self.answers_lost:
            self.answers_lost -= 1
            raise BrokerUnavailable("the answer was lost")
        return outcomes

    def epoch_of(self, stream: StreamKey) -> int:
        return self.epoch + self.epochs.get(stream, 0)

    def part_of(self, stream: StreamKey) -> str:
        return self.parts.get(stream, "")

    async def _pass(self, call: Call) -> None:
        self.calls.append(call)
        parts = {self.part_of(stream) for stream in call.streams}
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
            await self.may_answer.wait()
            while self.stuck & parts:
                await asyncio.sleep(0.01)
        finally:
            self.in_flight -= 1
        if self.is_away or self.parted & parts:
            raise BrokerUnavailable("away")


class Heartbeats(OpenRuns):
    """Remembers heartbeats; where an error is set it is raised instead."""

    def __init__(self) -> None:
        self.latest: dict[StreamKey, float] = {}
        self.given = self.looked = 0
        self.heartbeat_error: PublisherError | None = None
        self.look_error: PublisherError | None = None

    async def heartbeat(self, streams: Sequence[StreamKey]) -> None:
        self.given += 1
        if self.heartbeat_error is not None:
            raise self.heartbeat_error
        self.latest |= dict.fromkeys(streams, float(self.given))

    async def heartbeats(self) -> Mapping[StreamKey, float]:
        self.looked += 1
        if self.look_error is not None:
            raise self.look_error
        return dict(self.latest)

    async def forget(self, stream: StreamKey, heartbeat: float) -> None:
        if self.latest.get(stream) == heartbeat:
            del self.latest[stream]


class Listening:
    """A session that a generation tells what becomes of it."""

    def __init__(self) -> None:
        self.acked: list[int | None] = []
        self.fenced = self.stalled = 0

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:  # noqa: ARG002
        self.acked.append(last_seq)

    def on_fenced(self) -> None:
        self.fenced += 1

    def on_stalled(self) -> None:
        self.stalled += 1


class SenderBench:
    """One process: its use cases over a sender that runs. One `beside` another shares its store."""

    def __init__(
        self,
        clock: HandDrivenClock,
        *,
        limits: BufferLimits = SHORT,
        beside: "SenderBench | None" = None,
        retention_seconds: float = 300.0,
        frames_per_sample: int = 0,
    ) -> None:
        self.clock = clock
        self.store: Stores = Stores(clock) if beside is None else beside.store
        self.heartbeats: Heartbeats = Heartbeats() if beside is None else beside.heartbeats
        self.telemetry = CountingTelemetry()
        self.background = Background()
        self.sender = Sender(
            self.store, clock, self.telemetry, limits, retention_seconds=retention_seconds
        )
        self.health = AudioHealth(self.telemetry, frames_per_sample=frames_per_sample)
        self.end = EndInteraction(
            clock,
            self.telemetry,
            self.background,
            expire_seconds=EXPIRE_SECONDS,
            audio_health=self.health,
        )
        self.cut = CutInteraction(
            self.end,
            self.background,
            clock,
            resume_seconds=RESUME_SECONDS,
            expire_seconds=EXPIRE_SECONDS,
        )
        self.start = StartInteraction(self.heartbeats, self.sender, self.cut, clock)
        self.ingest = IngestAudio(clock, self.telemetry, self.health)
        self._running = asyncio.create_task(self.sender.run())
        self.measuring = asyncio.create_task(self.health.run())

    async def begin(
        self,
        continuation: Continuation = NEW_RUN,
        stream: StreamKey = STREAM,
        *,
        principal: Principal | None = None,
    ) -> LiveStream:
        """Start a stream, and have a session listen to it."""
        granted = await self.ask(opening(continuation, stream=stream), principal)
        return listened_to(granted)

    async def ask(
        self,
        of: Opening = OPENING,
        principal: Principal | None = None,
        budget: RetryBudget | None = None,
        requested_at: float | None = None,
    ) -> Granted:
        return await self.start(
            of, principal or Principal(), budget=budget, requested_at=requested_at
        )

    def asking(self, of: Opening = OPENING, **named: Any) -> "asyncio.Task[Granted]":
        return asyncio.create_task(self.ask(of, **named))

    def hear(self, live: LiveStream, *seqs: int, size: int = 320) -> None:
        for seq in seqs:
            self.ingest(live, seq, bytes([seq % 251]) * size)

    def log(self, stream: StreamKey = STREAM) -> StreamLog:
        return self.sender.log_of(stream)

    @property
    def logs(self) -> int:
        return len(self.sender._logs)

    async def close(self) -> None:
        await self.background.close()
        self._running.cancel()
        self.measuring.cancel()
        await asyncio.gather(self._running, self.measuring, return_exceptions=True)

    @property
    def is_running(self) -> bool:
        return not self._running.done()


def listened_to(granted: Granted) -> LiveStream:
    assert isinstance(granted, LiveStream)
    granted.note_caught_up()
    granted.listener = Listening()
    return granted


def ears(live: LiveStream) -> Listening:
    assert isinstance(live.listener, Listening)
    return live.listener


async def until(condition: Callable[[], object], seconds: float = 3_600.0) -> float:
    """Let time pass until a condition comes true; return how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() < began + seconds, "the condition did not come true in time"
        await asyncio.sleep(max(0.01, (loop.time() - began) / 1_000))
    return loop.time() - began


def timeless(**made: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Turn a story about a bench into a test; a bench is made with these arguments."""

    def decorate(story: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        def test(**arguments: object) -> None:
            with timeless_runner() as runner:
                runner.run(play(clock_of(runner), arguments))

        async def play(clock: HandDrivenClock, arguments: dict[str, object]) -> None:
            bench = SenderBench(clock, **made)
            try:
                await story(bench, **arguments)
                assert bench.is_running, "a failure belongs to a stream, never to a loop"
            finally:
                await bench.close()

        parameters = list(inspect.signature(story).parameters.values())[1:]
        test.__name__, test.__doc__, test.__module__ = (
            story.__name__,
            story.__doc__,
            story.__module__,
        )
        test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return test

    return decorate
