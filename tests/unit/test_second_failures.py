"""A second failure on top of the first: nothing acked is lost, and what is lost is told once."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest
from log_bench import LogBench
from sender_bench import SenderBench, ears, stream_key, timeless, until
from session_bench import RecordingConnection
from stream_parts import STREAM

from adapters.inbound.dialects.agentstream import Agentstream
from application.call.deadlines import TimeLimits
from application.call.messages import Audio, Start
from application.call.services import Services
from application.delivery.byte_budget import JOINED_SECONDS, BufferLimits
from application.delivery.live_stream import LiveStream
from application.delivery.log_state import LogState
from application.ports.errors import BrokerUnavailable
from application.ports.store import Conflict, Failed
from application.recover_runs import _end_of
from application.start_interaction import RetryBudget
from domain.entries import Gap
from domain.events import NEW_RUN, Continuation, EndReason, Resume, ResumeAbove, Signal
from domain.identifiers import InteractionId
from domain.media import AudioFrame, MediaFormat

LIMITS = BufferLimits(45, 1 << 28, rewind_seconds=5)
ROOMY = BufferLimits(45, 1 << 30, rewind_seconds=5)
FRAME_SECONDS = 0.02


async def hear_for(bench: SenderBench, seqs: "count[int]", seconds: float) -> None:
    """Hear a sender at real time."""
    live = bench.log().live
    assert live is not None
    for _ in range(round(seconds / FRAME_SECONDS)):
        bench.hear(live, next(seqs))
        await asyncio.sleep(FRAME_SECONDS)


async def settled(bench: SenderBench) -> None:
    await until(lambda: bench.sender.unpublished() == 0 and bench.sender.is_in_sync())


def note_key(bench: SenderBench, live: LiveStream) -> None:
    bench.ingest.note(live, Signal.DTMF, '{"digit":"1"}')


def end(bench: SenderBench, live: LiveStream) -> None:
    bench.end(live, EndReason.ENDED)


def nothing(bench: SenderBench, live: LiveStream) -> None:
    del bench, live


@pytest.mark.parametrize("away", [15, 40])
@pytest.mark.parametrize("then", [nothing, note_key, end])
@timeless(limits=LIMITS)
async def test_a_backlog_that_was_confirmed_at_once_is_replayed_whole(
    bench: SenderBench, away: int, then: Callable[[SenderBench, LiveStream], None]
) -> None:
    live, seqs = await bench.begin(), count()
    await hear_for(bench, seqs, 0.1)
    await settled(bench)
    bench.store.is_away = True
    await hear_for(bench, seqs, away)
    before = len(bench.store.of().past)
    bench.store.is_away = False
    await settled(bench)
    acked = ears(live).acked[-1] or 0
    await asyncio.sleep(2 * JOINED_SECONDS)
    then(bench, live)
    await settled(bench)
    bench.store.of().roll_back(len(bench.store.of().past) - before)
    bench.store.epoch += 1
    bench.log().doubt()
    await settled(bench)
    assert set(range(acked)) <= set(bench.store.seqs())
    assert bench.telemetry.total("lost") == 0
    assert not [it for it in bench.store.entries() if isinstance(it, Gap)]


@timeless(limits=LIMITS)
async def test_the_backlog_of_a_call_that_began_in_an_outage_has_its_own_times(
    bench: SenderBench,
) -> None:
    services = Services(
        bench.start, bench.ingest, bench.end, bench.cut, bench.background, bench.sender.budget,
        bench.clock, bench.telemetry, 10, TimeLimits(10, 60, 3600, 90, 30),
    )  # fmt: skip
    connection = RecordingConnection(services, Agentstream())
    bench.store.is_away = True
    names = STREAM.tenant_id, InteractionId("call"), STREAM.stream_id
    connection.send(Start(*names, MediaFormat(8_000), ResumeAbove()))
    for seq in range(2_000):
        connection.send(Audio(seq, bytes(320)))
        await asyncio.sleep(FRAME_SECONDS)
    bench.store.is_away = False
    await until(lambda: connection.session.is_catching_up)
    before = len(bench.store.of().past)
    connection.put_early()
    log = bench.log()
    assert log.stalled_seconds(bench.clock.now) == 0
    await settled(bench)
    frames = [it for it in bench.store.entries() if isinstance(it, AudioFrame)]
    assert [it.received_at_ms - frames[0].received_at_ms for it in frames] == [
        round(1_000 * FRAME_SECONDS) * seq for seq in range(2_000)
    ]
    assert max(bench.telemetry.confirm_seconds) > 40
    bench.store.of().roll_back(len(bench.store.of().past) - before)
    log.doubt()
    await settled(bench)
    assert bench.store.seqs() == list(range(2_000))
    assert bench.telemetry.total("lost") == 0
    connection.leave()


@pytest.mark.parametrize("away", [60, 310])
@timeless(limits=LIMITS, retention_seconds=300.0)
async def test_what_is_replayed_is_as_young_as_its_replay(bench: SenderBench, away: int) -> None:
    await bench.begin()
    seqs = count()
    await hear_for(bench, seqs, 2)
    await settled(bench)
    before = len(bench.store.of().past)
    await hear_for(bench, seqs, 2)
    await settled(bench)
    lost = len(bench.store.of().past) - before
    bench.store.is_away = True
    await hear_for(bench, seqs, 2)
    await asyncio.sleep(away)
    bench.store.of().roll_back(lost)
    bench.store.epoch += 1
    bench.store.is_away = False
    await settled(bench)
    assert bench.store.seqs() == list(range(300))
    head = bench.store.of().head
    assert head is not None
    assert head.first_kept == 0
    assert all(append.keep_from.position == 0 for append in bench.store.calls[-1].appends)


@timeless(limits=LIMITS)
async def test_a_run_that_another_process_has_only_ended_has_lost_nothing(
    bench: SenderBench,
) -> None:
    frozen = SenderBench(bench.clock, beside=bench)
    live = await frozen.begin(stream=stream_key("frozen"))
    frozen.hear(live, *range(50))
    await until(lambda: frozen.sender.unpublished() == 0)
    end = _end_of(live.key, bench.store.of(live.key).head)
    assert end is not None
    await bench.store.append([end])
    frozen.log(live.key).doubt()
    await until(lambda: live.is_fenced)
    assert frozen.telemetry.total("lost") == 0
    await frozen.close()


@pytest.mark.parametrize("continuation", [NEW_RUN, Resume()])
@pytest.mark.parametrize("lost", [0, 1, 2])
@timeless(limits=LIMITS)
async def test_frames_that_another_process_has_begun_without_are_counted_exactly(
    bench: SenderBench, lost: int, continuation: Continuation
) -> None:
    other = SenderBench(bench.clock, beside=bench)
    live = await bench.begin()
    for seq in range(5):
        bench.hear(live, seq)
        await until(lambda: bench.sender.unpublished() == 0)
    await asyncio.sleep(0.1)
    bench.store.of().roll_back(lost)
    await other.begin(continuation)
    bench.log().doubt()
    await until(lambda: live.is_fenced)
    assert bench.telemetry.total("lost") == lost
    await other.close()


@pytest.mark.parametrize("spoken", [0, 3, 5])
@timeless(limits=LIMITS)
async def test_frames_are_counted_also_after_a_generation_of_the_same_number(
    bench: SenderBench, spoken: int
) -> None:
    """A resumed generation is rolled back, and the sender resumes at another process."""
    other = SenderBench(bench.clock, beside=bench)
    bench.hear(await bench.begin(), 0, 1)
    await settled(bench)
    before = len(bench.store.of().past)
    live = await bench.begin(Resume())
    bench.hear(live, *range(2, 7))
    await settled(bench)
    bench.store.of().roll_back(len(bench.store.of().past) - before)
    other.hear(await other.begin(Resume()), *range(7, 7 + spoken))
    await settled(other)
    bench.log().doubt()
    await until(lambda: live.is_fenced)
    assert bench.telemetry.total("lost") == 5
    assert other.telemetry.total("lost") == 0
    await other.close()


@pytest.mark.parametrize("is_fenced", [True, False])
@pytest.mark.parametrize("continuation", [NEW_RUN, Resume()])
@pytest.mark.parametrize("lost", [5, 7])
@timeless(limits=LIMITS)
async def test_what_is_lost_after_another_process_is_counted_once_by_one_of_both(
    bench: SenderBench, lost: int, continuation: Continuation, *, is_fenced: bool
) -> None:
    """Also where the older process is fenced already; the newer one finds the loss first."""
    other = SenderBench(bench.clock, beside=bench)
    live = await bench.begin()
    for seq in range(7):
        bench.hear(live, seq)
        await settled(bench)
    before = len(bench.store.of().past) - lost
    other.hear(await other.begin(continuation), 7, 8)
    await settled(other)
    if is_fenced:
        bench.log().doubt()
        await until(lambda: live.is_fenced)
        assert bench.telemetry.total("lost") == 0
    if lost == 7:
        bench.store.of().wipe()
    else:
        bench.store.of().roll_back(len(bench.store.of().past) - before)
    other.log().doubt()
    await settled(other)
    bench.log().doubt()
    await until(lambda: live.is_fenced)
    await settled(bench)
    assert bench.telemetry.total("lost") + other.telemetry.total("lost") == lost
    assert bench.store.seqs() == [*range(7 - lost), 7, 8]
    await other.close()


@pytest.mark.parametrize("stored", [1, 50])
async def test_what_another_process_continues_is_not_lost_although_its_answer_is(
    stored: int,
) -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(0)
    bench.hear(*range(1, stored + 1))
    bench.store.append(bench.append())
    bench.log.settle_append(Failed(BrokerUnavailable("the answer was lost")))
    bench.hear(stored + 1)  # which is never stored
    other = LogBench("b", beside=bench)
    other.start(Resume())
    other.confirm(stored + 1, stored + 2)
    bench.settle()
    assert bench.heard_by.is_fenced
    assert bench.heard_by.acked == 0, "it is not proved"
    assert (bench.lost(), other.lost()) == (1, 0)
    assert bench.stored_seqs() == list(range(stored + 3))


async def test_an_account_that_was_not_stored_is_not_taken_for_stored_after_another_start() -> None:
    """It tells of a drop, which would be taken for a loss that the other process has declared."""
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(*range(4))
    bench.here.interaction.drop(4)
    bench.log.put_account(bench.here)
    bench.append()
    bench.log.settle_append(Failed(BrokerUnavailable("away")))
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.settle()
    assert bench.heard_by.is_fenced
    bench.store.roll_back(2)  # the start, and the last frame
    for process in (other, bench):
        process.doubt()
        process.settle()
    assert (bench.lost(), other.lost()) == (0, 1)


@pytest.mark.parametrize("starts", [2, 3])
async def test_a_start_of_another_process_is_not_taken_for_what_was_never_stored(
    starts: int,
) -> None:
    """The last of them begins at the position at which what is not stored would end."""
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(0)
    bench.hear(*range(1, starts))
    other = LogBench("b", beside=bench)
    for _ in range(starts):
        other.start(Resume())
    bench.settle()
    assert bench.heard_by.is_fenced
    assert bench.heard_by.acked == 0
    assert bench.lost() == starts - 1


async def test_a_loss_that_another_process_declares_is_not_taken_for_what_was_never_stored() -> (
    None
):
    """Its gap has the position of the frame that is not stored."""
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(0)
    bench.hear(1)
    bench.store.evict_entries()
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.settle()
    assert bench.heard_by.is_fenced
    assert bench.heard_by.acked == 0
    assert bench.published() == 1
    assert bench.lost() == 1


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
async def test_frames_of_a_run_that_was_ended_and_that_another_process_began_without_are_counted(
    lost: int,
) -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(*range(5))
    bench.end()
    bench.settle()
    if lost:
        bench.store.roll_back(lost + 1)
    other = LogBench("b", beside=bench)
    other.start()
    bench.doubt()
    bench.settle()
    assert bench.state is LogState.FENCED
    assert bench.lost() == lost


async def test_what_was_dropped_before_is_not_taken_for_what_another_process_has_declared() -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(0)
    bench.here.interaction.drop(1)
    bench.confirm(*range(2, 6))
    bench.store.roll_back(2)
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.doubt()
    bench.settle()
    assert bench.lost() == 2


async def test_what_another_run_has_declared_is_not_taken_for_a_loss_of_this_one() -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(*range(4))
    bench.store.roll_back(2)
    other = LogBench("b", beside=bench)
    other.start()
    other.here.interaction.drop(0)
    other.confirm(1)
    assert other.account.ledger.lost == 1
    bench.doubt()
    bench.settle()
    assert bench.lost() == 2


@pytest.mark.parametrize(("continuation", "lost"), [(NEW_RUN, 3), (Resume(), 0)])
async def test_what_is_gone_with_its_stream_is_counted_unless_another_process_continues_the_run(
    continuation: Continuation, lost: int
) -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(*range(3))
    other = LogBench("b", beside=bench)
    other.start(continuation)
    bench.doubt()
    bench.settle()
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert bench.state is LogState.CLOSED
    assert bench.lost() == lost


async def test_what_is_lost_after_each_of_two_other_leases_is_counted() -> None:
    bench = LogBench(limits=ROOMY)
    other = LogBench("b", beside=bench)
    seqs = count()
    for lost in (2, 1):
        bench.clock.now += 1
        bench.start()
        bench.confirm(*(next(seqs) for _ in range(4)))
        bench.store.roll_back(lost)
        bench.clock.now += 1
        other.start()
        bench.doubt()
        bench.settle()
        assert bench.state is LogState.FENCED
    assert bench.lost() == 2 + 1


async def test_each_frame_that_is_lost_after_newer_leases_is_counted_once() -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(*range(5))
    counted: list[int] = []
    for lost in (1, 2, 1, 1):  # of these, but for the first, one is the start of before
        bench.store.roll_back(lost)
        bench.clock.now += 1
        LogBench(f"b{len(counted)}", beside=bench).start()
        bench.doubt()
        bench.settle()
        counted.append(bench.lost())
    assert counted == [1, 2, 2, 2]


async def test_what_was_not_stored_is_lost_when_another_process_continues() -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(0)
    bench.hear(1)
    bench.append()
    bench.log.settle_append(Failed(BrokerUnavailable("away")))
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.settle()
    assert bench.here.published.last_seq == 0
    assert bench.lost() == 1


@timeless(limits=LIMITS)
async def test_a_sender_is_not_read_while_a_start_may_be_stored(bench: SenderBench) -> None:
    """Given up or not: what it sends would be held back, in no buffer that is bounded."""
    live = await bench.begin()
    bench.hear(live, 0)
    await settled(bench)
    bench.store.takes_no_appends = True
    budget = RetryBudget(30)
    task = bench.asking(live.interaction.opening, budget=budget)
    await asyncio.sleep(1)
    budget.give_up()
    await asyncio.gather(task, return_exceptions=True)
    log = bench.log()
    assert log.is_full
    bench.hear(live, 1)  # came before the socket was not read
    await asyncio.sleep(LIMITS.stalled_seconds + 5)
    assert ears(live).stalled
    bench.store.takes_no_appends = False
    await settled(bench)


async def test_only_what_the_store_lacks_of_joined_batches_counts_as_replayed() -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    for seq in range(10):
        bench.hear(seq)
        bench.settle()
        bench.clock.now += FRAME_SECONDS
    bench.store.roll_back(1)
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == list(range(10))
    assert bench.telemetry.replayed_frames == 1


def begun_and_failed(bench: LogBench) -> None:
    """Have a second start attempted that may be stored."""
    bench.request(Resume())
    bench.probe()
    bench.answer_probe()
    bench.append()


async def test_frames_that_are_held_back_are_lost_with_their_log() -> None:
    bench = LogBench(limits=ROOMY)
    bench.start()
    bench.confirm(0)
    begun_and_failed(bench)
    bench.hear(1, 2, 3)
    bench.log.settle_append(Failed(BrokerUnavailable("away")))
    bench.log.abandon()
    assert bench.telemetry.counted["lost", "not_stored"] == 3


@pytest.mark.parametrize("has_failed", [True, False])
async def test_what_a_session_leaves_open_is_still_stored(*, has_failed: bool) -> None:
    bench = LogBench(limits=ROOMY)
    live = bench.start()
    bench.hear(0)
    sent = bench.append()
    bench.hear(1)
    if has_failed:
        bench.log.settle_append(Failed(BrokerUnavailable("away")))
    bench.log.leave(live)
    if not has_failed:
        bench.answer(sent)
    bench.settle()
    assert bench.stored_seqs() == [0, 1]


async def test_frames_that_are_held_back_are_lost_if_nothing_continues() -> None:
    bench = LogBench(limits=ROOMY)
    live = bench.start()
    bench.confirm(0)
    begun_and_failed(bench)
    bench.hear(1, 2)
    bench.log.leave(live)
    bench.log.settle_append(Conflict(bench.head))  # the start is withdrawn
    assert bench.telemetry.counted["lost", "not_stored"] == 2
