import asyncio
from dataclasses import replace

import pytest

from adapters.outbound.prometheus import PrometheusTelemetry
from application.buffer import KEPT_TOGETHER_SECONDS, Buffer, BufferLimits
from application.outbox import Outbox
from application.ports.clock import Clock
from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.ports.publisher import (
    Appended,
    Batch,
    Failed,
    Fenced,
    Hole,
    Lease,
    Outcome,
    Reclaim,
    Vanished,
)
from application.publication_listener import PublicationListener
from application.retention import STEP_SECONDS, Retention
from application.rewind import BATCH_BYTES, BATCH_EVENTS
from domain.account import Account, Grant, State
from domain.events import (
    AudioAccepted,
    EndReason,
    Event,
    GapDetected,
    InteractionEnded,
    Opening,
    Signal,
    SignalReceived,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
OPENING = Opening(STREAM, InteractionId("call"), "exostreamkit", MEDIA, 0)
LEASE = Lease(STREAM, 1, "owner 1")
LIMITS = BufferLimits(buffer_seconds=45, buffer_bytes=1024 * 1024, rewind_seconds=5)
FAILED = Failed(BrokerUnavailable("gone"))


class HandDrivenClock(Clock):
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def epoch_ms(self) -> int:
        return round(self.now * 1_000)


class CheckedBuffer(Buffer):
    """Holds never less than nothing."""

    def add(self, audio_bytes: int) -> None:
        super().add(audio_bytes)
        assert min(self.held_bytes) >= 0

    def grow_kept(self, audio_bytes: int) -> None:
        super().grow_kept(audio_bytes)
        assert min(self.held_bytes) >= 0


class Bench(PublicationListener):
    """An outbox, the interaction that fills it, and everything it says to others."""

    def __init__(
        self,
        *,
        retention_seconds: float = 300.0,
        limits: BufferLimits = LIMITS,
        generation: int = 1,
        account: Account | None = None,
        older: "Bench | None" = None,
    ) -> None:
        self.interaction = Interaction(OPENING)
        self.interaction.start(
            Grant(generation, resumed=account is not None, account=account or Account())
        )
        self.clock: HandDrivenClock = HandDrivenClock() if older is None else older.clock
        self.telemetry: PrometheusTelemetry = (
            PrometheusTelemetry() if older is None else older.telemetry
        )
        self.buffer: Buffer = (
            CheckedBuffer(limits, self.telemetry) if older is None else older.buffer
        )
        self.work: list[Outbox] = []
        self.confirmed: list[tuple[int, int | None]] = []
        self.fenced = 0
        self.outbox = Outbox(
            self.interaction,
            Lease(STREAM, generation, f"owner {generation}", 1_000 * generation),
            self.clock,
            self.telemetry,
            self.buffer,
            run="run",
            has_token=False,
            retention=Retention(retention_seconds),
            on_work=self.work.append,
        )
        self.outbox.listen(self)
        if older is not None:
            self.outbox.follow(older.outbox)

    @property
    def buffered(self) -> int:
        return self.buffer.held_bytes.unconfirmed

    @property
    def kept(self) -> int:
        return self.buffer.held_bytes.kept

    def counted(self, outcome: str) -> int:
        if outcome == "published":
            return sum(self.telemetry._tally.confirm_counts)
        counts = self.telemetry._tally.frames.items()
        return sum(count for (name, _), count in counts if name == outcome)

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        self.confirmed.append((frames, last_seq))

    def on_fenced(self) -> None:
        self.fenced += 1

    def on_stalled(self) -> None:
        raise AssertionError("the publication tells of that, not the outbox")

    def hear(self, *seqs: int, size: int = 320) -> None:
        for seq in seqs:
            events = self.interaction.hear(AudioFrame(MEDIA, seq, 0, bytes(size)))
            if events:
                self.outbox.put(events, self.clock.now)

    def is_empty(self) -> bool:
        return self.outbox.is_empty

    def is_full(self) -> bool:
        return self.outbox.is_full

    def is_suspect(self) -> bool:
        return self.outbox.is_suspect

    def is_done(self) -> bool:
        return self.outbox.is_done

    def failures(self) -> int:
        return self.outbox.failures

    def take(self) -> Batch:
        batch = self.outbox.take()
        assert isinstance(batch, Batch)
        return batch

    def take_reclaim(self) -> Reclaim:
        reclaim = self.outbox.take()
        assert isinstance(reclaim, Reclaim)
        return reclaim

    def publish(self) -> Batch:
        batch = self.take()
        self.outbox.settle(Appended(batch.account.next_position))
        return batch

    def publish_all(self) -> list[Event]:
        events: list[Event] = []
        while not self.outbox.is_settled:
            events += self.publish().events
        return events


def positions(batch: Batch) -> list[int]:
    return [event.position for event in batch.events]


def test_an_outbox_without_events_is_empty_and_has_nothing_to_take() -> None:
    bench = Bench()
    assert bench.is_empty()
    assert not bench.is_full()
    assert bench.outbox.take() is None
    assert bench.outbox.lease == LEASE
    assert bench.outbox.published == bench.interaction.account


def test_events_leave_in_the_order_they_came_and_at_dense_positions() -> None:
    bench = Bench()
    bench.hear(0, 1, 5, 6)
    first = bench.publish()
    assert positions(first) == [1, 2, 3, 4, 5]
    bench.hear(7)
    second = bench.publish()
    assert (first.first_position, second.first_position) == (1, 6)
    assert positions(second) == [6]
    assert first.lease == LEASE
    assert first.interaction_id == "call"


def test_the_owner_is_told_of_work() -> None:
    bench = Bench()
    bench.hear(0)
    assert bench.work == [bench.outbox]
    bench.outbox.put_account()
    assert bench.work == [bench.outbox] * 2


def test_one_batch_is_under_way_at_a_time() -> None:
    bench = Bench()
    bench.hear(0)
    bench.take()
    bench.hear(1)
    assert bench.outbox.take() is None
    assert not bench.is_empty()
    bench.outbox.settle(Appended(2))
    assert positions(bench.take()) == [2]


def test_a_batch_is_closed_when_it_has_many_events() -> None:
    bench = Bench()
    bench.hear(*range(3 * BATCH_EVENTS + 1))
    sizes = [len(bench.publish().events) for _ in range(4)]
    assert sizes == [BATCH_EVENTS] * 3 + [1]
    assert bench.is_empty()


def test_a_batch_is_closed_when_it_has_much_audio() -> None:
    bench = Bench()
    frames = -(-BATCH_BYTES // 100_000)
    bench.hear(*range(frames + 2), size=100_000)
    assert len(bench.publish().events) == frames
    assert len(bench.publish().events) == 2
    assert bench.is_empty()


def test_a_batch_carries_the_account_after_exactly_its_own_events() -> None:
    bench = Bench()
    bench.hear(*range(BATCH_EVENTS))
    bench.hear(BATCH_EVENTS, BATCH_EVENTS)
    bench.interaction.refuse()
    count, size = BATCH_EVENTS, 320
    assert bench.publish().account == Account(
        count + 1,
        0,
        count - 1,
        Ledger(count, count, bytes=count * size, audio_ms=count * 20),
    )
    count += 1
    assert bench.publish().account == Account(
        count + 1,
        0,
        count - 1,
        Ledger(count + 2, count, duplicate=1, rejected=1, bytes=count * size, audio_ms=count * 20),
    )


def test_an_account_can_be_published_without_an_event() -> None:
    bench = Bench()
    bench.hear(0)
    bench.publish()
    bench.interaction.refuse()
    bench.interaction.cut()
    assert bench.outbox.take() is None
    bench.outbox.put_account()
    assert not bench.is_empty()
    batch = bench.take()
    assert batch.events == []
    assert batch.first_position == batch.account.next_position == 2
    assert batch.account.state is State.CUT
    assert batch.account.ledger.rejected == 1
    assert not bench.is_empty()
    bench.outbox.settle(Appended(2))
    assert bench.is_empty()
    assert bench.outbox.take() is None
    assert bench.outbox.published.state is State.CUT


def test_an_account_that_is_due_travels_with_the_events_that_wait() -> None:
    bench = Bench()
    bench.hear(0)
    bench.outbox.put_account()
    assert positions(bench.publish()) == [1]
    assert bench.is_empty()


def test_an_account_that_became_due_after_a_full_batch_is_not_forgotten() -> None:
    bench = Bench()
    bench.hear(*range(BATCH_EVENTS))
    bench.interaction.refuse()
    bench.outbox.put_account()
    assert bench.publish().account.ledger.rejected == 0
    assert not bench.is_empty()
    assert bench.publish().account.ledger.rejected == 1
    assert bench.is_empty()


def test_what_is_confirmed_is_told_to_the_listener_and_leaves_the_buffer() -> None:
    bench = Bench()
    bench.clock.now = 5.0
    bench.hear(3, 4)
    bench.clock.now = 6.0
    bench.hear(9)
    assert bench.buffered == 960
    bench.publish()
    assert bench.confirmed == [(3, 9)]
    assert bench.telemetry._tally.confirm_sum == 2.0
    assert bench.buffered == 0
    assert bench.outbox.published == bench.interaction.account


def test_a_listener_is_replaced_by_the_next() -> None:
    bench = Bench()
    bench.outbox.listen(None)
    bench.hear(0)
    bench.publish()
    bench.outbox.supersede(2)
    assert bench.confirmed == []
    assert bench.fenced == 0


@pytest.mark.parametrize(("count", "size"), [(4_500, 2), (8, 100_000)])
def test_a_stream_is_not_read_while_it_has_as_much_as_it_may_have(count: int, size: int) -> None:
    bench = Bench(limits=BufferLimits(45, 1 << 30))
    bench.hear(*range(count - 1), size=size)
    assert not bench.is_full()  # 45 s at 8 kHz are 720,000 bytes
    bench.hear(count - 1, size=size)
    assert bench.is_full()
    bench.publish()
    assert not bench.is_full()


def test_a_batch_that_failed_is_taken_again_as_it_was() -> None:
    bench = Bench()
    bench.hear(0, 1)
    first = bench.take()
    bench.hear(2)
    bench.outbox.settle(FAILED)
    assert bench.failures() == 1
    assert bench.confirmed == []
    assert bench.buffered == 3 * 320
    again = bench.take()
    assert (again.first_position, again.events) == (first.first_position, first.events)
    bench.outbox.settle(Appended(3))
    assert bench.failures() == 0
    assert positions(bench.publish()) == [3]
    assert bench.confirmed == [(2, 1), (1, 2)]


def test_a_stream_that_is_refused_by_itself_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", "application.outbox")
    bench = Bench()
    bench.hear(0)
    for _ in range(3):
        bench.take()
        bench.outbox.settle(Failed(BrokerRefused("WRONGTYPE")))
    (told,) = caplog.records
    assert "refuses a stream" in told.message
    assert told.error == "WRONGTYPE"  # type: ignore[attr-defined]
    bench.take()
    bench.outbox.settle(Appended(1))
    bench.hear(1)
    bench.take()
    bench.outbox.settle(Failed(BrokerRefused("WRONGTYPE")))
    assert len(caplog.records) == 2


def test_what_waits_for_long_is_packed_and_comes_out_as_it_went_in() -> None:
    bench = Bench()
    bench.hear(0)
    bench.take()
    bench.outbox.settle(FAILED)
    bench.hear(*range(1, 600), 700)
    bench.outbox.put((bench.interaction.note(Signal.DTMF, "{}"),), 0.0)
    assert any(held.packed is not None for held in bench.outbox._waiting)
    events = bench.publish_all()
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    frames = [event.frame for event in events if isinstance(event, AudioAccepted)]
    assert frames == [AudioFrame(MEDIA, seq, 0, bytes(320)) for seq in (*range(600), 700)]
    assert isinstance(events[-1], SignalReceived)
    assert isinstance(events[-3], GapDetected)
    assert bench.buffered == 0


def publish_in_turns(bench: Bench, *seqs: int) -> None:
    """Publish each frame as a batch of its own that is kept by itself."""
    for seq in seqs:
        bench.hear(seq)
        bench.publish()
        bench.clock.now += KEPT_TOGETHER_SECONDS


def test_what_was_forgotten_is_given_again_under_the_same_lease_and_counted_once() -> None:
    bench = Bench()
    publish_in_turns(bench, 0, 1, 2, 3)
    bench.hear(4)
    bench.take()
    bench.outbox.settle(Hole(3))  # positions 3 and 4 were confirmed, and are not there any more
    assert bench.is_suspect()
    assert bench.buffered == 3 * 320
    events = bench.publish_all()
    assert [event.position for event in events] == [3, 4, 5]
    assert bench.outbox.lease == LEASE
    assert [frames for frames, _ in bench.confirmed] == [1, 1, 1, 1, 0, 0, 1]
    assert bench.counted("published") == 5
    assert (bench.buffered, bench.kept) == (0, 5 * 320)
    assert bench.telemetry._tally.refilled == 2


def test_a_tail_that_stands_is_shown_by_an_account_alone() -> None:
    bench = Bench()
    publish_in_turns(bench, 0)
    bench.outbox.suspect()
    assert bench.is_suspect()
    assert not bench.is_empty()
    batch = bench.take()
    assert (batch.events, batch.first_position) == ([], 2)
    bench.outbox.settle(Appended(2))
    assert not bench.is_suspect()
    assert bench.is_empty()


def test_an_answer_to_what_was_asked_before_the_suspicion_proves_nothing() -> None:
    bench = Bench()
    bench.hear(0)
    bench.take()
    bench.outbox.suspect()
    bench.outbox.settle(Appended(2))
    assert bench.is_suspect()
    bench.publish()
    assert not bench.is_suspect()


def test_what_is_forgotten_of_a_run_is_counted_once_however_many_generations_hold_it() -> None:
    older = Bench()
    began = older.clock.now
    publish_in_turns(older, 0, 1, 2)
    newer = Bench(generation=2, account=older.outbox.published, older=older)
    publish_in_turns(newer, 3)
    older.buffer.let_go_of_old(began + LIMITS.rewind_seconds + 2 * KEPT_TOGETHER_SECONDS)
    older.outbox.suspect()
    older.take()
    older.outbox.settle(Vanished())
    older.take_reclaim()
    older.outbox.settle(Grant(3, resumed=True, account=Account()))
    older.publish_all()
    assert older.counted("lost") == older.counted("missing") == 2  # nobody has 0 and 1 any more
    newer.take()
    newer.outbox.settle(Fenced(3))
    older.publish()
    newer.take_reclaim()
    newer.outbox.settle(Grant(4, resumed=True, account=older.outbox.published))
    newer.publish_all()
    assert newer.outbox.published.ledger.lost == 2
    assert newer.counted("lost") == newer.counted("missing") == 2


@pytest.mark.parametrize("outcome", [Vanished(), Hole(0), Fenced(0)])
def test_a_stream_that_is_known_no_more_is_reclaimed_with_what_is_held(outcome: Outcome) -> None:
    bench = Bench()
    publish_in_turns(bench, 0, 1, 2)
    bench.clock.now += 10
    bench.buffer.let_go_of_old(bench.clock.now)
    publish_in_turns(bench, 3, 4)
    bench.hear(6)
    bench.interaction.refuse()
    bench.take()
    bench.outbox.settle(outcome)
    wish = bench.take_reclaim()
    assert (wish.lease, wish.above, wish.run, wish.predecessor) == (LEASE, 1, "run", None)
    assert bench.outbox.take() is None
    bench.outbox.settle(FAILED)
    assert bench.take_reclaim() == wish
    bench.outbox.settle(Grant(2, resumed=True, account=Account(), said_at_ms=77))
    assert bench.outbox.lease == Lease(STREAM, 2, wish.owner)
    assert bench.outbox.lease.said_at_ms == 77
    bench.hear(7)
    events = bench.publish_all()
    assert events[0] == GapDetected(1, first_missing=0, missing=3)
    assert [event.position for event in events] == [1, 2, 3, 4, 5, 6]
    assert [e.frame.seq for e in events if isinstance(e, AudioAccepted)] == [3, 4, 6, 7]
    ledger = bench.outbox.published.ledger
    assert ledger == Ledger(8, 4, rejected=1, lost=3, missing=4, bytes=4 * 320, audio_ms=80)
    assert ledger == bench.interaction.ledger
    assert bench.outbox.published.next_position == 7
    assert bench.buffered == 0


def test_an_end_that_was_forgotten_is_said_again_with_the_ledger_as_it_is_now() -> None:
    bench = Bench()
    publish_in_turns(bench, 0)
    bench.clock.now += 10
    bench.buffer.let_go_of_old(bench.clock.now)
    bench.hear(1)
    bench.outbox.put(bench.interaction.end(EndReason.ENDED), bench.clock.now)
    bench.publish()
    bench.outbox.let_go()
    bench.outbox.suspect()
    bench.take()
    bench.outbox.settle(Vanished())
    bench.take_reclaim()
    bench.outbox.settle(Grant(2, resumed=True, account=Account()))
    *_, ended = bench.publish_all()
    ledger = Ledger(2, 1, lost=1, missing=1, bytes=320, audio_ms=20)
    assert ended == InteractionEnded(3, EndReason.ENDED, ledger)
    assert bench.outbox.published.state is State.ENDED


def test_what_the_broker_still_knows_of_the_run_is_not_given_again() -> None:
    bench = Bench()
    publish_in_turns(bench, 0, 1, 2)
    bench.outbox.suspect()
    bench.take()
    bench.outbox.settle(Vanished())
    bench.take_reclaim()
    known = Account(9, 0, 1, Ledger(2, 2, bytes=640, audio_ms=40))
    bench.outbox.settle(Grant(4, resumed=True, account=known))
    assert bench.publish_all() == [AudioAccepted(10, AudioFrame(MEDIA, 2, 0, bytes(320)))]
    assert bench.counted("lost") == 0


def test_a_writer_that_another_process_has_overtaken_reclaims_nothing() -> None:
    bench = Bench()
    publish_in_turns(bench, 0)
    bench.outbox.suspect()
    bench.take()
    bench.outbox.settle(Fenced(2))
    assert bench.fenced == 1
    bench.outbox.suspect()
    bench.take()
    bench.outbox.settle(Vanished())
    assert bench.outbox.take() is None
    assert bench.is_done()
    assert (bench.buffered, bench.kept) == (0, 0)


def test_a_writer_that_was_overtaken_still_gives_what_was_forgotten_under_its_own_lease() -> None:
    bench = Bench()
    publish_in_turns(bench, 0, 1)
    bench.outbox.suspect()
    bench.take()
    bench.outbox.settle(Fenced(2))
    bench.outbox.suspect()  # the broker has come back to the time before the other began
    bench.take()
    bench.outbox.settle(Hole(2))
    assert positions(bench.publish()) == [2]


def test_a_reclaim_that_is_refused_is_not_tried_again() -> None:
    bench = Bench(generation=5)
    bench.hear(0)
    bench.take()
    bench.outbox.settle(Fenced(2))  # lower: a past, or somebody who began after all was forgotten
    bench.take_reclaim()
    bench.outbox.settle(Fenced(2))
    assert bench.fenced == 1
    assert bench.outbox.take() is None
    assert bench.is_empty()
    assert bench.counted("lost") == 1
    assert bench.buffered == 0


def test_the_outboxes_of_a_stream_give_again_in_their_order() -> None:
    older = Bench()
    publish_in_turns(older, 0, 1)
    newer = Bench(generation=2, account=older.outbox.published, older=older)
    publish_in_turns(newer, 2)
    assert older.fenced == 1
    for bench in (newer, older):
        bench.outbox.suspect()
    assert newer.outbox.take() is None, "the older one is not proved yet"
    older.take()
    older.outbox.settle(Vanished())
    wish = older.take_reclaim()
    assert wish.above == 2
    older.outbox.settle(Grant(3, resumed=True, account=Account()))
    assert newer.outbox.take() is None
    assert [event.position for event in older.publish_all()] == [1, 2]
    newer.take()
    newer.outbox.settle(Fenced(3))  # that is the older one's, not somebody else's
    assert older.publish().events == []  # which shows once more that all of it is there
    wish = newer.take_reclaim()
    assert (wish.above, wish.predecessor) == (3, older.outbox.lease.owner)
    newer.outbox.settle(Grant(4, resumed=True, account=replace(older.outbox.published)))
    assert [event.position for event in newer.publish_all()] == [4]
    assert newer.fenced == 0
    assert newer.buffered == 0


def test_an_outbox_that_is_superseded_keeps_what_it_published_until_it_is_old() -> None:
    older = Bench()
    publish_in_turns(older, 0)
    newer = Bench(generation=2, account=older.outbox.published, older=older)
    older.outbox.suspect()
    older.take()
    older.outbox.settle(Fenced(2))
    assert not older.is_done()
    assert older.kept == 320
    older.clock.now += 6
    older.buffer.let_go_of_old(older.clock.now)
    assert older.is_done()
    older.outbox.unlink()
    assert newer.outbox.older is None


def test_what_is_not_confirmed_when_a_newer_generation_comes_is_lost() -> None:
    bench = Bench()
    bench.hear(0, 1)
    bench.take()
    bench.hear(2)
    bench.outbox.supersede(2)
    assert bench.counted("lost") == 1  # the others are under way, and may arrive
    bench.outbox.settle(Fenced(2))
    assert bench.counted("lost") == 3
    assert bench.buffered == 0


def test_confirmed_audio_makes_room_for_what_is_not_oldest_first_and_that_is_counted() -> None:
    bench = Bench(limits=BufferLimits(45, 1_000, 5))
    publish_in_turns(bench, 0, 1, 2)
    assert bench.kept == 960
    bench.hear(3)
    assert (bench.kept, bench.buffered) == (640, 320)
    assert bench.telemetry._tally.rewind_short == 1
    bench.hear(4, 5)
    assert (bench.kept, bench.buffered) == (0, 960)
    assert bench.telemetry._tally.rewind_short == 3


def test_one_stream_keeps_at_most_four_times_as_much_audio_as_time() -> None:
    bench = Bench(limits=BufferLimits(45, 1 << 30, rewind_seconds=0.1))
    for seq in range(100):
        bench.hear(seq)  # 20 ms each, all at once
        bench.publish()
        bench.clock.now += KEPT_TOGETHER_SECONDS
    assert bench.kept == 0.1 * 4 * 16_000
    assert bench.telemetry._tally.rewind_short == 100 - 20


def test_one_stream_keeps_at_most_four_times_as_many_frames_as_a_carrier_says_in_time() -> None:
    bench = Bench(limits=BufferLimits(45, 1 << 30, rewind_seconds=0.1))
    for seq in range(300):
        bench.hear(seq, size=2)
        bench.publish()
        bench.clock.now += KEPT_TOGETHER_SECONDS
    assert bench.kept == 160 * 2
    assert bench.telemetry._tally.rewind_short == 300 - 160


def test_one_stream_keeps_few_signals() -> None:
    bench = Bench(limits=BufferLimits(45, 1 << 30, rewind_seconds=0.1))
    for _ in range(100):
        event = bench.interaction.note(Signal.DTMF, "{}")
        bench.outbox.put((event,), bench.clock.now)
        bench.publish()
        bench.clock.now += KEPT_TOGETHER_SECONDS
    assert bench.kept == 10 * 2


def test_nothing_is_let_go_by_age_before_the_broker_has_shown_that_it_lives() -> None:
    bench = Bench()
    publish_in_turns(bench, 0)
    bench.clock.now += 3_600
    assert bench.kept == 320
    bench.buffer.let_go_of_old(1_000.0 + 5)
    assert bench.kept == 320
    bench.buffer.let_go_of_old(1_000.0 + 5 + KEPT_TOGETHER_SECONDS)
    assert bench.kept == 0
    assert bench.telemetry._tally.rewind_short == 0


def test_without_a_rewind_nothing_is_kept() -> None:
    bench = Bench(limits=BufferLimits(45, 1 << 20, 0))
    publish_in_turns(bench, 0, 1)
    assert bench.kept == 0
    bench.outbox.let_go()
    assert bench.is_done()


@pytest.mark.parametrize("outcome", [Appended(3), FAILED, Fenced(2), Vanished()])
def test_a_batch_that_is_settled_after_all_was_given_up_changes_nothing_more(
    outcome: Outcome,
) -> None:
    bench = Bench()
    bench.hear(0, 1)
    bench.take()
    bench.outbox.abandon()
    assert bench.counted("lost") == 2
    assert bench.buffered == 0
    bench.outbox.settle(outcome)
    assert bench.counted("lost") == 2
    assert bench.buffered == 0


def test_an_outcome_without_a_batch_under_way_changes_nothing() -> None:
    bench = Bench()
    bench.hear(0)
    bench.outbox.settle(FAILED)
    assert positions(bench.publish()) == [1]


def test_how_long_a_sender_waits_begins_anew_with_each_confirmation() -> None:
    bench = Bench()
    assert bench.outbox.stalled_seconds(bench.clock.now) == 0
    bench.hear(0)
    bench.take()
    bench.clock.now += 30
    bench.hear(1)
    assert bench.outbox.stalled_seconds(bench.clock.now) == 30
    bench.outbox.settle(Appended(2))
    assert bench.outbox.stalled_seconds(bench.clock.now) == 0
    bench.clock.now += 3
    assert bench.outbox.stalled_seconds(bench.clock.now) == 3
    bench.publish()
    assert bench.outbox.stalled_seconds(bench.clock.now) == 0


def test_nothing_may_be_forgotten_before_it_is_as_old_as_the_retention() -> None:
    bench = Bench(retention_seconds=60.0)
    put_at: dict[int, float] = {}
    for seq in range(2_000):
        bench.clock.now += 0.1
        bench.hear(seq)
        batch = bench.publish()
        put_at[batch.first_position] = bench.clock.now
        young = [position for position, at in put_at.items() if bench.clock.now - at < 60.0]
        old = [
            position
            for position, at in put_at.items()
            if bench.clock.now - at > 60.0 + STEP_SECONDS + 0.2
        ]
        assert batch.keep_from.position <= min(young)
        assert batch.keep_from.position > max(old, default=-1)


def test_what_may_be_forgotten_never_goes_back() -> None:
    bench = Bench(retention_seconds=10.0)
    kept = []
    for seq in range(20):
        bench.clock.now += 7.0
        bench.hear(seq)
        kept.append(bench.publish().keep_from.position)
    assert kept == sorted(kept)
    assert kept[-1] == 19  # positions 1 to 20: 20 is new, 19 is 7 s old, 18 is 14 s old


def test_a_silent_stream_may_forget_all_that_was_before_its_silence() -> None:
    bench = Bench(retention_seconds=10.0)
    bench.hear(0, 1, 2)
    bench.publish()
    bench.clock.now += 3_600.0
    bench.hear(3)
    assert bench.publish().keep_from.position == 4


async def settled(bench: Bench, waiting: "asyncio.Task[None]") -> bool:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return waiting.done()


async def test_waiting_for_room_ends_when_something_is_confirmed() -> None:
    bench = Bench()
    bench.hear(*range(2_250))  # 45 s
    waiting = asyncio.create_task(bench.outbox.wait_for_room())
    assert not await settled(bench, waiting)
    bench.publish()
    await asyncio.wait_for(waiting, 1)


async def test_waiting_until_empty_ends_when_everything_is_confirmed() -> None:
    bench = Bench()
    bench.hear(*range(BATCH_EVENTS + 1))
    waiting = asyncio.create_task(bench.outbox.wait_until_empty())
    assert not await settled(bench, waiting)
    bench.publish()
    assert not await settled(bench, waiting)
    bench.publish()
    await asyncio.wait_for(waiting, 1)


async def test_waiting_ends_when_nothing_more_will_be_published() -> None:
    bench = Bench()
    bench.hear(*range(2_250))
    waiting = [
        asyncio.create_task(bench.outbox.wait_for_room()),
        asyncio.create_task(bench.outbox.wait_until_empty()),
        asyncio.create_task(bench.outbox.wait_until_settled()),
    ]
    await asyncio.sleep(0)
    bench.take()
    bench.outbox.settle(FAILED)
    assert not any([await settled(bench, task) for task in waiting])
    bench.take()
    bench.outbox.settle(Fenced(2))
    await asyncio.wait_for(asyncio.gather(*waiting), 1)


async def test_only_a_newer_generation_ends_the_wait_for_one() -> None:
    bench = Bench()
    waiting = asyncio.create_task(bench.outbox.wait_until_fenced())
    bench.hear(0)
    bench.publish()
    assert not await settled(bench, waiting)
    bench.outbox.supersede(2)
    await asyncio.wait_for(waiting, 1)


async def test_all_streams_together_are_bounded_and_wake_when_there_is_room() -> None:
    buffer = Buffer(LIMITS, PrometheusTelemetry())
    buffer.add(LIMITS.buffer_bytes)
    assert buffer.is_full
    waiting = asyncio.create_task(buffer.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.add(-1)
    async with asyncio.timeout(10):
        await waiting
    assert not buffer.is_full


def test_signals_fill_the_buffer_too() -> None:
    bench = Bench()
    details = "x" * 4_096
    for _ in range(-(-45 * 16_000 // len(details))):
        assert not bench.outbox.is_full
        bench.outbox.put((bench.interaction.note(Signal.MARK, details),), 0.0)
    assert bench.outbox.is_full


def test_a_sender_is_read_again_when_the_last_of_two_newcomers_has_let_go() -> None:
    bench = Bench()
    bench.outbox.hold()
    bench.outbox.hold()
    bench.outbox.release()
    assert bench.outbox.is_full
    bench.outbox.release()
    assert not bench.outbox.is_full


def test_what_is_let_go_early_is_freed_at_once() -> None:
    """The buffer's queue knows of a batch until its time is over, and must not hold its audio."""
    bench = Bench(limits=BufferLimits(45, 1 << 30, rewind_seconds=0.1))
    for seq in range(100):
        bench.hear(seq)
        bench.publish()
        bench.clock.now += KEPT_TOGETHER_SECONDS
    held = [batch for _, batch in bench.buffer._kept]
    assert len(held) == 100
    assert sum(len(batch.events) for batch in held if batch.packed is None) <= 20
    assert sum(batch.packed is not None for batch in held) <= 20
