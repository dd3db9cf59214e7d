"""One log, the generation that it writes, and its store, by hand: nothing happens by itself."""

from collections.abc import Sequence

from batches import CheckedBudget
from stream_model import ModelStore, Process, Session, replace_entries
from stream_parts import STREAM, frame, opening, seqs_of
from virtual_time import HandDrivenClock

from application.delivery.byte_budget import BufferLimits
from application.delivery.linger import Linger
from application.delivery.live_stream import LiveStream
from application.delivery.log_state import LogState, Probe
from application.delivery.pending_start import PendingStart
from application.delivery.stream_log import StreamLog
from application.ports.store import Append
from domain.account import Account
from domain.entries import Entry
from domain.events import NEW_RUN, Continuation, EndReason, Signal
from domain.head import Access, Head
from domain.media import AudioFrame
from domain.starting import StartRequest

ROOMY = BufferLimits(45, 1 << 30, rewind_seconds=1e6)


class LogBench(Process):
    """A process with one log, and all that the log tells to others.

    Several share a store, and so are processes that write one stream.
    """

    def __init__(
        self,
        name: str = "a",
        *,
        beside: "LogBench | None" = None,
        limits: BufferLimits = ROOMY,
        retention_seconds: float = 1e9,
    ) -> None:
        store = ModelStore(HandDrivenClock()) if beside is None else beside.store
        super().__init__(store, name, limits)
        self.work: list[StreamLog] = []
        self.late: list[LiveStream] = []
        self.budget = CheckedBudget(limits, self.telemetry)
        self.log = StreamLog(
            STREAM,
            self.clock,
            self.telemetry,
            self.budget,
            Linger(limits.linger_seconds, self.clock),
            retention_seconds=retention_seconds,
        )
        self.log.note_work = lambda: self.work.append(self.log)

    # What a session does

    def request(
        self,
        continuation: Continuation = NEW_RUN,
        access: Access = Access.OPEN,
        requested_at: float | None = None,
    ) -> PendingStart:
        self.starts += 1
        asked = StartRequest(opening(continuation), f"{self.name}{self.starts}", access)
        at = self.clock.monotonic() if requested_at is None else requested_at
        pending = PendingStart(asked, at, self.late.append, self.log.on_start_given_up)
        self.log.request_start(pending)
        self.log.note_start_ready(pending)
        return pending

    def start(self, continuation: Continuation = NEW_RUN) -> LiveStream:
        pending = self.request(continuation)
        self.settle()
        return self.adopt(pending)

    def adopt(self, pending: PendingStart) -> LiveStream:
        live = pending.outcome.result()
        assert isinstance(live, LiveStream)
        live.note_caught_up()
        self.live, self.session = live, Session(live.run.name)
        live.listener = self.session
        return live

    @property
    def here(self) -> LiveStream:
        assert self.live is not None
        return self.live

    @property
    def heard_by(self) -> Session:
        assert self.session is not None
        return self.session

    def put(self, *entries: Entry, live: LiveStream | None = None) -> None:
        self.log.put(live or self.here, entries, self.clock.now)

    def hear(self, *seqs: int, live: LiveStream | None = None, size: int = 320) -> None:
        for seq in seqs:
            entries = (live or self.here).interaction.hear(frame(seq, size))
            if entries:
                self.put(*entries, live=live)

    def note(self) -> None:
        self.put(self.here.interaction.note(Signal.DTMF, "{}"))

    def cut(self) -> None:
        self.here.interaction.cut()
        self.log.put_account(self.here)

    def end(self) -> None:
        self.put(*self.here.interaction.end(EndReason.ENDED))

    def confirm(self, *seqs: int) -> None:
        """Have each frame confirmed in an append of its own, retained by itself."""
        for seq in seqs:
            self.hear(seq)
            self.settle()
            self.clock.now += 1.0

    # What is sent

    def append(self) -> Append:
        work = self.log.take()
        assert isinstance(work, Append)
        return replace_entries(work)

    def answer(self, append: Append) -> None:
        """Store an append that was taken, and hand over what came of it."""
        self.log.settle_append(self.store.append(append))

    def probe(self) -> Probe:
        work = self.log.take()
        assert isinstance(work, Probe)
        return work

    def answer_probe(self) -> None:
        self.log.settle_probe(self.store.head, self.clock.epoch_ms())

    def doubt(self) -> None:
        self.log.doubt()

    # What came of it

    @property
    def state(self) -> LogState:
        return self.log.state

    @property
    def head(self) -> Head:
        head = self.store.head
        assert head is not None
        return head

    @property
    def account(self) -> Account:
        return self.head.account

    def stored(self) -> list[Entry]:
        return [entry for _, entry in self.store.now.entries]

    def stored_seqs(self) -> list[int]:
        return seqs_of(self.stored())

    @property
    def unconfirmed(self) -> int:
        return self.budget.held_bytes.unconfirmed

    @property
    def retained(self) -> int:
        return self.budget.held_bytes.retained

    def lost(self) -> int:
        return self.telemetry.total("lost")

    def published(self) -> int:
        return self.telemetry.total("published")


def decide(bench: LogBench) -> None:
    """Have the first request decided on the store's head, and its append queued."""
    bench.probe()
    bench.answer_probe()


def frames_of(append: Append) -> Sequence[int]:
    entries = [entry for segment in append.segments for entry in segment.entries]
    return [entry.seq for entry in entries if isinstance(entry, AudioFrame)]


def entries_of(append: Append) -> list[Entry]:
    return [entry for segment in append.segments for entry in segment.entries]
