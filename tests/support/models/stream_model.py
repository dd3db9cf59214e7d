"""A stream, the store that keeps it, and processes that write it: everything by hand, no time.

The store is a list of the states it has been in. Each process has one log; calls and their answers
are delivered, lost or late as the test says.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from counting_telemetry import CountingTelemetry
from virtual_time import HandDrivenClock

from application.delivery.byte_budget import BufferLimits, ByteBudget
from application.delivery.linger import Linger
from application.delivery.live_stream import LiveStream
from application.delivery.log_state import Probe
from application.delivery.pending_start import PendingStart
from application.delivery.stream_log import StreamLog
from application.ports.errors import BrokerUnavailable
from application.ports.store import Append, Appended, Conflict, Failed, Outcome
from domain.account import State
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import NEW_RUN, Continuation, EndReason, Opening, Resume, Signal
from domain.head import Access, Head, Lease
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat
from domain.starting import StartRequest

MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
FRAME_BYTES = 16
LOST = Failed(BrokerUnavailable("no answer"))


@dataclass(frozen=True)
class Stored:
    """One state of the store: entries with the generation that each was written under."""

    head: Head | None = None
    entries: tuple[tuple[int, Entry], ...] = ()


class ModelStore:
    """Compares and appends; and loses what it is told to lose."""

    def __init__(self, clock: HandDrivenClock) -> None:
        self.clock = clock
        self.past = [Stored()]
        self.late: list[Append] = []

    @property
    def now(self) -> Stored:
        return self.past[-1]

    @property
    def head(self) -> Head | None:
        return self.now.head

    def append(self, append: Append) -> Outcome:
        now = self.now
        revision = None if now.head is None else now.head.revision
        if revision != append.expected:
            return Conflict(now.head)
        entries = list(now.entries)
        if now.head is not None and now.head.entries_lost:
            entries = entries[:0]
        for segment in append.segments:
            generation = segment.generation
            position = segment.account.next_position - len(segment.entries)
            for entry in segment.entries:
                if isinstance(entry, Started):
                    generation = entry.generation
                first = append.head.next_position - sum(len(s.entries) for s in append.segments)
                assert position >= first
                entries.append((generation, entry))
                position += 1
            assert position == segment.account.next_position
        head = append.head
        self.past.append(Stored(head, tuple(entries)))
        return Appended()

    def roll_back(self, states: int) -> None:
        del self.past[max(1, len(self.past) - states) :]

    def wipe(self) -> None:
        self.past = [Stored()]

    def evict_entries(self) -> None:
        head = self.head
        if head is not None and not head.entries_lost and not head.account_lost:
            lost = replace(head, revision=f"lost!{head.revision}", entries_lost=True)
            self.past.append(Stored(lost, ()))

    def evict_head(self) -> None:
        head, entries = self.head, self.now.entries
        if head is None or not entries or head.entries_lost or head.account_lost:
            return
        generation = entries[-1][0]
        made = Head(
            f"last!{generation}-{head.next_position - 1}",
            Lease(generation, "", 0),
            0,
            None,
            replace(head.account, first_seq=None, last_seq=None, state=State.ENDED),
            account_lost=True,
        )
        self.past.append(Stored(made, entries))

    def arrive_late(self) -> None:
        for append in self.late:
            self.append(append)
        self.late.clear()


@dataclass(eq=False)
class Session:
    """A sender's connection: what it has sent, and what was acked."""

    run: str
    seqs: list[int] = field(default_factory=list)
    acked: int = -1
    is_fenced: bool = False
    granted: int = 0

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        assert frames >= 0
        if last_seq is not None:
            self.acked = max(self.acked, last_seq)

    def on_fenced(self) -> None:
        self.is_fenced = True

    def on_stalled(self) -> None:
        raise AssertionError


class Process:
    """One log, and the sender that writes to it."""

    def __init__(self, store: ModelStore, name: str, limits: BufferLimits) -> None:
        self.store = store
        self.name = name
        self.clock = store.clock
        self.telemetry = CountingTelemetry()
        self.budget = ByteBudget(limits, self.telemetry)
        self.log = StreamLog(
            STREAM,
            self.clock,
            self.telemetry,
            self.budget,
            Linger(limits.linger_seconds, self.clock),
            retention_seconds=1e9,
        )
        self.log.note_work = lambda: None
        self.pending: PendingStart | None = None
        self.live: LiveStream | None = None
        self.session: Session | None = None
        self.starts = 0

    def request_start(self, continuation: Continuation) -> PendingStart:
        self.starts += 1
        opening = Opening(STREAM, InteractionId("call"), "d", MEDIA, 0, continuation)
        request = StartRequest(opening, f"{self.name}{self.starts}", Access.OPEN)
        pending = PendingStart(request, self.clock.monotonic(), self._on_late, lambda _: None)
        self.log.request_start(pending)
        self.log.note_start_ready(pending)
        self.pending = pending
        return pending

    def _on_late(self, live: LiveStream) -> None:
        live.interaction.cut()
        self.log.leave(live)

    def step(self, fate: str = "ok") -> bool:
        """Send what the log has to send next; False if it has nothing."""
        work = self.log.take()
        if work is None:
            return False
        if isinstance(work, Probe):
            if fate == "ok":
                self.log.settle_probe(self.store.head, self.store.clock.epoch_ms())
            else:
                self.log.settle_probe(LOST, 0)
            return True
        sent = replace_entries(work)
        match fate:
            case "ok":
                self.log.settle_append(self.store.append(sent))
            case "answer lost":
                self.store.append(sent)
                self.log.settle_append(LOST)
            case "late":
                self.store.late.append(sent)
                self.log.settle_append(LOST)
            case _:
                self.log.settle_append(LOST)
        return True

    def settle(self, limit: int = 200) -> None:
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError(f"{self.name} has always something to send: {self.log.state}")


def replace_entries(append: Append) -> Append:
    """Copy what a log may change later."""
    segments = [replace(segment, entries=tuple(segment.entries)) for segment in append.segments]
    return Append(append.stream, append.expected, segments, append.head, append.keep_from)


def frame(run: str, seq: int) -> AudioFrame:
    return AudioFrame(MEDIA, seq, 0, f"{run}/{seq}".encode().ljust(FRAME_BYTES, b".")[:FRAME_BYTES])


__all__ = [
    "NEW_RUN",
    "STREAM",
    "Callable",
    "EndReason",
    "Ended",
    "Gap",
    "ModelStore",
    "Process",
    "Resume",
    "Session",
    "Signal",
    "SignalNoted",
    "Stored",
    "frame",
]  # fmt: skip
