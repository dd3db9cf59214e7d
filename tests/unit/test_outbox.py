import asyncio
from dataclasses import replace

import pytest

from application.outbox import (
    BATCH_BYTES,
    BATCH_EVENTS,
    SHARED_WINDOW_BYTES,
    WINDOW_BYTES,
    WINDOW_EVENTS,
    Failure,
    Forgotten,
    Outbox,
    PublicationListener,
    SharedWindow,
)
from application.ports.clock import Clock
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import Appended, Batch, Failed, Fenced, Hole, Lease, Vanished
from application.retention import STEP_SECONDS, Retention
from domain.events import EndReason, InteractionEnded, Opening, Signal
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Account, Grant, Interaction, State
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
OPENING = Opening(STREAM, InteractionId("call"), "exostreamkit", MEDIA, 0)
LEASE = Lease(STREAM, 1, "owner")
FAILED = Failed(BrokerUnavailable("gone"))


class HandDrivenClock(Clock):
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def epoch_ms(self) -> int:
        return round(self.now * 1_000)


class Bench(PublicationListener):
    """An outbox, the interaction that fills it, and everything it says to others."""

    def __init__(self, *, retention_seconds: float = 300.0) -> None:
        self.interaction = Interaction(OPENING)
        self.interaction.start(Grant(1, resumed=False, account=Account()))
        self.clock = HandDrivenClock()
        self.work: list[Outbox] = []
        self.buffered = 0
        self.least_buffered = 0
        self.published_at: list[float] = []
        self.confirmed: list[tuple[int, int | None]] = []
        self.failures: list[Failure] = []
        self.outbox = Outbox(
            self.interaction,
            LEASE,
            self.clock,
            retention=Retention(retention_seconds),
            on_work=self.work.append,
            shared=SharedWindow(self._note_buffered),
            on_published=self.published_at.extend,
        )
        self.outbox.listen(self)

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        self.confirmed.append((frames, last_seq))

    def on_failure(self, failure: Failure) -> None:
        self.failures.append(failure)

    def hear(self, *seqs: int, size: int = 320) -> None:
        for seq in seqs:
            events = self.interaction.hear(AudioFrame(MEDIA, seq, 0, bytes(size)))
            if events:
                self.outbox.put(events, self.clock.now)

    def is_empty(self) -> bool:
        return self.outbox.is_empty

    def is_full(self) -> bool:
        return self.outbox.is_full

    def take(self) -> Batch:
        batch = self.outbox.take()
        assert batch is not None
        return batch

    def publish(self) -> Batch:
        batch = self.take()
        self.outbox.settle(Appended(batch.account.next_position))
        return batch

    def _note_buffered(self, total: int) -> None:
        self.buffered = total
        self.least_buffered = min(self.least_buffered, self.buffered)


def positions(batch: Batch) -> list[int]:
    return [event.position for event in batch.events]


def test_an_outbox_without_events_is_empty_and_has_nothing_to_take() -> None:
    bench = Bench()
    assert bench.is_empty()
    assert not bench.is_full()
    assert bench.outbox.take() is None
    assert bench.outbox.lease is LEASE
    assert bench.outbox.published == bench.interaction.account


def test_events_leave_in_the_order_they_came_and_at_dense_positions() -> None:
    bench = Bench()
    bench.hear(0, 1, 5, 6)
    first = bench.publish()
    bench.hear(7)
    second = bench.publish()
    assert positions(first) == [1, 2, 3, 4, 5]
    assert (first.first_position, second.first_position) == (1, 6)
    assert positions(second) == [6]
    assert first.lease is LEASE
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
    assert bench.published_at == [5.0, 5.0, 6.0]
    assert bench.buffered == 0
    assert bench.outbox.published == bench.interaction.account


def test_a_listener_is_replaced_by_the_next() -> None:
    bench = Bench()
    bench.outbox.listen(None)
    bench.hear(0)
    bench.publish()
    bench.outbox.supersede(2)
    assert bench.confirmed == []
    assert bench.failures == []


@pytest.mark.parametrize(
    ("count", "size"), [(WINDOW_EVENTS, 2), (-(-WINDOW_BYTES // 100_000), 100_000)]
)
def test_a_stream_is_not_read_while_its_window_is_full(count: int, size: int) -> None:
    bench = Bench()
    bench.hear(*range(count - 1), size=size)
    assert not bench.is_full()
    bench.hear(count - 1, size=size)
    assert bench.is_full()
    bench.publish()
    assert not bench.is_full()


@pytest.mark.parametrize("outcome", [FAILED, Fenced(2), Hole(1), Vanished()])
def test_a_failure_ends_the_publication_and_keeps_the_events(outcome: Failure) -> None:
    bench = Bench()
    bench.hear(0, 1)
    bench.take()
    bench.hear(2)
    bench.outbox.settle(outcome)
    bench.hear(3)
    assert bench.outbox.failure == outcome
    assert bench.failures == [outcome]
    assert bench.outbox.take() is None
    assert not bench.is_empty()
    assert bench.confirmed == []
    assert bench.buffered == 4 * 320
    assert bench.outbox.published.next_position == 1
    forgotten = bench.outbox.forget_unconfirmed(bench.outbox.published)
    assert forgotten == Forgotten(published_frames=0, lost_frames=4, lost_bytes=4 * 320)
    assert bench.buffered == 0


def test_a_failure_stays_unless_a_newer_generation_comes_which_is_told_too() -> None:
    bench = Bench()
    bench.hear(0)
    bench.take()
    bench.outbox.settle(Hole(0))
    bench.outbox.supersede(2)
    assert bench.outbox.failure == Fenced(2)
    bench.outbox.settle(Hole(0))
    assert bench.outbox.failure == Fenced(2)
    assert bench.failures == [Hole(0), Fenced(2)]


@pytest.mark.parametrize(
    ("next_position", "published", "lost"), [(1, 0, 4), (2, 1, 3), (4, 2, 2), (5, 3, 1), (6, 4, 0)]
)
def test_what_was_published_after_all_is_not_lost(
    next_position: int, published: int, lost: int
) -> None:
    bench = Bench()
    bench.hear(0, 1, size=100)
    bench.take()
    bench.hear(7, 8, size=10)  # a gap at 3, frames at 1, 2, 4, 5
    bench.outbox.settle(FAILED)
    account = replace(bench.outbox.published, next_position=next_position)
    forgotten = bench.outbox.forget_unconfirmed(account)
    assert (forgotten.published_frames, forgotten.lost_frames) == (published, lost)
    assert forgotten.lost_bytes == sum([100, 100, 10, 10][published:])


def test_frames_of_a_batch_under_way_when_a_newer_generation_came_are_counted_too() -> None:
    bench = Bench()
    bench.hear(0, 1)
    bench.take()
    bench.outbox.supersede(2)
    bench.outbox.settle(FAILED)
    forgotten = bench.outbox.forget_unconfirmed(bench.outbox.published)
    assert forgotten == Forgotten(published_frames=0, lost_frames=2, lost_bytes=640)


@pytest.mark.parametrize("outcome", [Appended(3), FAILED, Fenced(2)])
def test_a_batch_that_is_settled_after_it_was_forgotten_changes_nothing_more(
    outcome: Appended | Failed | Fenced,
) -> None:
    bench = Bench()
    bench.hear(0, 1)
    bench.take()
    bench.outbox.supersede(2)
    bench.outbox.forget_unconfirmed(bench.outbox.published)
    assert bench.buffered == 0
    bench.outbox.settle(outcome)
    bench.outbox.forget_unconfirmed(bench.outbox.published)
    assert bench.buffered == 0
    assert bench.least_buffered == 0


def test_publication_is_taken_up_again_after_what_is_published() -> None:
    bench = Bench()
    bench.hear(0, 1, 2)
    bench.take()
    bench.interaction.cut()
    bench.outbox.settle(FAILED)
    standing = Account(2, 0, 0, Ledger(1, 1, bytes=320, audio_ms=20))
    forgotten = bench.outbox.forget_unconfirmed(standing)
    bench.interaction.abandon(standing, forgotten.lost_frames, forgotten.lost_bytes)
    assert bench.outbox.failure is None
    assert bench.is_empty()
    assert bench.outbox.published == standing
    ended = bench.interaction.end(EndReason.BROKER_LOST)
    bench.outbox.put((ended,), bench.clock.now)
    batch = bench.publish()
    assert batch.first_position == 2
    assert batch.events == [ended]
    assert isinstance(ended, InteractionEnded)
    assert ended.ledger == Ledger(
        received=3, published=1, lost=2, missing=2, bytes=320, audio_ms=20
    )
    assert batch.account.ledger == ended.ledger
    assert batch.account.state is State.ENDED


def test_an_outcome_without_a_batch_under_way_changes_nothing() -> None:
    bench = Bench()
    bench.hear(0)
    bench.outbox.settle(FAILED)
    assert bench.outbox.failure is None
    assert positions(bench.publish()) == [1]


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
    bench.hear(*range(WINDOW_EVENTS))
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
    bench.hear(*range(WINDOW_EVENTS))
    waiting = [
        asyncio.create_task(bench.outbox.wait_for_room()),
        asyncio.create_task(bench.outbox.wait_until_empty()),
    ]
    await asyncio.sleep(0)
    bench.take()
    bench.outbox.settle(FAILED)
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
    shared = SharedWindow(lambda _: None)
    shared.add(SHARED_WINDOW_BYTES)
    assert shared.is_full
    waiting = asyncio.create_task(shared.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    shared.add(-1)
    async with asyncio.timeout(10):
        await waiting
    assert not shared.is_full


def test_signals_fill_the_window_too() -> None:
    bench = Bench()
    details = "x" * 4_096
    for _ in range(WINDOW_BYTES // len(details)):
        assert not bench.outbox.is_full
        bench.outbox.put((bench.interaction.note(Signal.MARK, details),), 0.0)
    assert bench.outbox.is_full
    assert bench.buffered == WINDOW_BYTES


def test_a_sender_is_read_again_when_the_last_of_two_newcomers_has_let_go() -> None:
    bench = Bench()
    bench.outbox.hold()
    bench.outbox.hold()
    bench.outbox.release()
    assert bench.outbox.is_full
    bench.outbox.release()
    assert not bench.outbox.is_full
