"""The outbox against a ledger that is counted anew after each step."""

from dataclasses import dataclass, field
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.outbound.prometheus import PrometheusTelemetry
from application.buffer import Buffer, BufferLimits
from application.outbox import Outbox
from application.ports.clock import Clock
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import Appended, Batch, Failed, Lease
from application.retention import Retention
from application.rewind import BATCH_BYTES, BATCH_EVENTS
from domain.account import Account, Grant, State
from domain.events import AudioAccepted, Event, GapDetected, Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
OPENING = Opening(STREAM, InteractionId("call"), "exostreamkit", MEDIA, 0)

Step = tuple[Literal["hear", "burst", "refuse", "account", "take", "confirm", "fail"], int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.integers(0, 60), st.sampled_from([2, 320, 3_200, 100_000])),
        st.tuples(st.just("burst"), st.integers(1, 150), st.just(320)),
        st.tuples(st.just("refuse"), st.just(0), st.just(0)),
        st.tuples(st.just("account"), st.just(0), st.just(0)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
        st.tuples(st.just("confirm"), st.just(0), st.just(0)),
        st.tuples(st.just("fail"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class StoppedClock(Clock):
    def monotonic(self) -> float:
        return 0.0

    def epoch_ms(self) -> int:
        return 0


@dataclass
class Log:
    """All that was heard, in order, to be counted when somebody asks."""

    heard: list[tuple[int, int]] = field(default_factory=list)
    refused: int = 0

    def account(self) -> Account:
        accepted: list[tuple[int, int]] = []
        gaps = 0
        for seq, size in self.heard:
            if not accepted or seq > accepted[-1][0]:
                gaps += bool(accepted) and seq > accepted[-1][0] + 1
                accepted.append((seq, size))
        size = sum(size for _, size in accepted)
        seqs = {seq for seq, _ in accepted}
        span = range(min(seqs), max(seqs) + 1) if seqs else range(0)
        ledger = Ledger(
            received=len(self.heard) + self.refused,
            published=len(accepted),
            duplicate=len(self.heard) - len(accepted),
            rejected=self.refused,
            missing=sum(seq not in seqs for seq in span),
            bytes=size,
            audio_ms=size // 16,
        )
        next_position = 1 + len(accepted) + gaps
        return Account(
            next_position, min(seqs, default=None), max(seqs, default=None), ledger, State.LIVE
        )


class Bench:
    """An outbox beside a model that knows when batches must be closed."""

    def __init__(self) -> None:
        self.interaction = Interaction(OPENING)
        self.interaction.start(Grant(1, resumed=False, account=Account()))
        self.log = Log()
        self.telemetry = PrometheusTelemetry()
        self.waiting: list[Event] = []
        self.closed: list[tuple[list[Event], Account]] = []
        self.account_due = False
        self.under_way: Batch | None = None
        self.taken: list[Event] = []
        self.buffer = Buffer(BufferLimits(), self.telemetry)
        self.outbox = Outbox(
            self.interaction,
            Lease(STREAM, 1, "owner"),
            StoppedClock(),
            self.telemetry,
            self.buffer,
            run="run",
            has_token=False,
            retention=Retention(300),
            on_work=lambda _: None,
        )

    @property
    def buffered(self) -> int:
        return self.buffer.held_bytes.unconfirmed

    def hear(self, seq: int, size: int) -> None:
        events = self.interaction.hear(AudioFrame(MEDIA, seq, 0, bytes(size)))
        self.log.heard.append((seq, size))
        if events:
            self.outbox.put(events, 0.0)
            self.waiting += events
            audio = sum(len(e.frame.audio) for e in self.waiting if isinstance(e, AudioAccepted))
            if len(self.waiting) >= BATCH_EVENTS or audio >= BATCH_BYTES:
                self._close()

    def _close(self) -> None:
        self.closed.append((self.waiting, self.log.account()))
        self.waiting, self.account_due = [], False

    def take(self) -> None:
        batch = self.outbox.take()
        if self.under_way is not None:
            assert batch is None
            return
        if not self.closed and (self.waiting or self.account_due):
            self._close()
        if not self.closed:
            assert batch is None
            return
        events, account = self.closed.pop(0)
        assert isinstance(batch, Batch)
        assert batch.events == events
        assert batch.account == account
        assert batch.first_position + len(events) == account.next_position
        assert batch.first_position == 1 + len(self.taken)
        assert len(events) <= BATCH_EVENTS + 1
        self.taken += events
        self.under_way = batch

    def confirm(self) -> None:
        if self.under_way is not None:
            account = self.under_way.account
            self.outbox.settle(Appended(account.next_position))
            assert self.outbox.published == account
            self.under_way = None

    def fail(self) -> None:
        if self.under_way is not None:
            batch, self.under_way = self.under_way, None
            self.outbox.settle(Failed(BrokerUnavailable("gone")))
            if batch.events:
                self.closed.insert(0, (list(batch.events), batch.account))
                del self.taken[-len(batch.events) :]
            else:
                self.account_due = True

    def step(self, step: Step) -> None:
        kind, number, size = step
        if kind == "hear":
            self.hear(number, size)
        elif kind == "burst":
            first = max((seq for seq, _ in self.log.heard), default=-1) + 1
            for seq in range(first, first + number):
                self.hear(seq, size)
        elif kind == "refuse":
            self.interaction.refuse()
            self.log.refused += 1
        elif kind == "account":
            self.outbox.put_account()
            self.account_due = True
        elif kind == "take":
            self.take()
        elif kind == "fail":
            self.fail()
        else:
            self.confirm()

    @property
    def unconfirmed(self) -> list[AudioAccepted]:
        under_way = self.under_way.events if self.under_way is not None else []
        events = [*under_way, *(e for batch, _ in self.closed for e in batch), *self.waiting]
        return [event for event in events if isinstance(event, AudioAccepted)]


@settings(deadline=None, max_examples=100)
@given(STEPS)
def test_each_batch_carries_the_account_after_exactly_its_own_events(steps: list[Step]) -> None:
    bench = Bench()
    for step in steps:
        bench.step(step)
        assert bench.buffered == sum(len(event.frame.audio) for event in bench.unconfirmed)
        events_wait = bool(bench.closed or bench.waiting or bench.account_due)
        assert bench.outbox.is_empty == (not events_wait and bench.under_way is None)
    while not bench.outbox.is_empty:
        bench.confirm()
        bench.take()
    positions = [event.position for event in bench.taken]
    assert positions == list(range(1, len(positions) + 1))
    accepted = [e.frame.seq for e in bench.taken if isinstance(e, AudioAccepted)]
    assert accepted == sorted(set(accepted))
    assert sum(e.missing for e in bench.taken if isinstance(e, GapDetected)) == (
        bench.log.account().ledger.missing
    )
    assert bench.buffered == 0
