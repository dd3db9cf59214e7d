"""When a store may have lost something: who is asked, what is let go, and when the doubt ends."""

import asyncio

import pytest
from sender_bench import SenderBench, ears, stream_key, timeless, until

from application.delivery.byte_budget import JOINED_SECONDS
from application.delivery.log_registry import QUIET_SECONDS, TICK_SECONDS, WIDER_LOOK_SECONDS
from application.delivery.stream_log import StreamLog
from application.ports.errors import BrokerRefused, BrokerUnavailable
from domain.entries import Ended
from domain.events import EndReason, Resume
from domain.identifiers import StreamKey

REWIND = 5.0


async def two_quiet(bench: SenderBench) -> list[StreamLog]:
    """Have two streams of which everything is confirmed."""
    lives = [await bench.begin(stream=stream_key(name)) for name in ("one", "two")]
    for live in lives:
        bench.hear(live, 0)
    await until(lambda: bench.sender.unpublished() == 0)
    return [bench.log(live.key) for live in lives]


@timeless()
async def test_another_epoch_is_a_doubt_about_every_log(bench: SenderBench) -> None:
    one, two = await two_quiet(bench)
    doubts: list[str] = []
    bench.sender.on_doubt = doubts.append
    bench.store.epoch += 1
    bench.store.seconds = 0.5
    bench.sender.note_alive(bench.clock.now)
    assert not bench.sender.is_in_sync()
    assert not one.is_in_sync
    assert not two.is_in_sync
    assert doubts == [one.part]
    assert await until(bench.sender.is_in_sync) < 1.1
    assert [call.kind for call in bench.store.calls[-1:]] == ["heads"]


@timeless()
async def test_another_epoch_is_found_by_the_next_append_or_within_a_second(
    bench: SenderBench,
) -> None:
    one, two = await two_quiet(bench)
    bench.store.epoch += 1
    await asyncio.sleep(TICK_SECONDS + 0.1)
    assert one.epoch == two.epoch == 1
    bench.store.epoch += 1
    live = one.live
    assert live is not None
    bench.hear(live, 1)
    await asyncio.sleep(0.01)
    assert one.epoch == two.epoch == 2


@timeless()
async def test_another_epoch_of_the_server_of_some_streams_is_found_by_the_next_append(
    bench: SenderBench,
) -> None:
    one, two = await two_quiet(bench)
    assert one.live is not None
    bench.hear(one.live, 1)
    await until(lambda: one.is_empty)
    bench.store.epochs = dict.fromkeys((one.stream, two.stream), 1)
    bench.hear(one.live, 2)
    await asyncio.sleep(0.01)
    assert one.epoch == two.epoch == 1


@timeless()
async def test_another_epoch_of_one_stream_is_found_by_its_next_append(bench: SenderBench) -> None:
    bench.store.epochs = {stream_key("one"): 1, stream_key("two"): 2}
    assert [bench.log(key).epoch for key in bench.store.epochs] == [1, 2]
    for log in await two_quiet(bench):
        bench.store.epochs[log.stream] += 1
        assert log.live is not None
        bench.hear(log.live, 1)
        await asyncio.sleep(0.01)
        assert log.epoch == bench.store.epochs[log.stream]


@timeless()
async def test_an_epoch_of_one_stream_is_a_doubt_about_that_alone(bench: SenderBench) -> None:
    one, two = await two_quiet(bench)
    bench.store.epochs[one.stream] = 1
    before = len(bench.store.calls)
    await asyncio.sleep(TICK_SECONDS + 0.1)
    assert one.epoch == 1
    assert two.epoch == 0
    asked = [it for call in bench.store.calls[before:] for it in call.streams]
    assert asked == [one.stream]


@timeless()
async def test_where_epochs_of_a_part_differ_its_rounds_do_not_look_at_every_log(
    bench: SenderBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is in a cluster for ever after one slot has moved: a round would cost all streams."""
    bench.store.epochs[stream_key("one")] = 1
    one, two = await two_quiet(bench)
    idle = (await bench.begin(stream=stream_key("idle"))).key
    await until(lambda: bench.sender.unpublished() == 0)
    looked_at: list[StreamKey] = []
    epoch_of = bench.store.epoch_of

    def noting(key: StreamKey) -> int:
        looked_at.append(key)
        return epoch_of(key)

    monkeypatch.setattr(bench.store, "epoch_of", noting)
    for seq in range(1, 20):
        for log in (one, two):
            assert log.live is not None
            bench.hear(log.live, seq)
            await until(lambda log=log: log.is_empty)  # type: ignore[misc]
    assert len(bench.store.appended(two.stream)) > 19
    assert looked_at.count(idle) < 5


@timeless()
async def test_a_store_that_failed_is_a_doubt_about_every_log_once_it_answers(
    bench: SenderBench,
) -> None:
    await two_quiet(bench)
    bench.sender.note_failure()
    assert not bench.sender.is_in_sync()
    before = len(bench.store.calls)
    await asyncio.sleep(0.1)
    assert len(bench.store.calls) == before, "it is not asked before it is known to be back"
    bench.sender.note_alive(bench.clock.now)
    await until(bench.sender.is_in_sync)
    asked = [it for call in bench.store.calls[before:] for it in call.streams]
    assert sorted(map(str, asked)) == ["tenant/one", "tenant/two"]


@timeless()
async def test_a_call_that_fails_is_a_doubt_and_what_was_lost_is_found(bench: SenderBench) -> None:
    one, two = await two_quiet(bench)
    bench.store.is_away = True
    assert one.live is not None
    bench.hear(one.live, 1)
    await asyncio.sleep(1)
    assert not bench.sender.is_in_sync()
    bench.store.of(two.stream).wipe()
    bench.store.is_away = False
    await until(bench.sender.is_in_sync)
    assert bench.store.seqs(one.stream) == [0, 1]
    assert bench.store.seqs(two.stream) == [0]
    assert bench.telemetry.rebased_streams == 1


@timeless()
async def test_a_quiet_log_is_asked_every_two_seconds(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    before = len(bench.store.calls)
    await asyncio.sleep(20 * QUIET_SECONDS)
    probes = [call for call in bench.store.calls[before:] if call.kind == "heads"]
    assert 20 / 2 <= len(probes) <= 20
    bench.store.of().wipe()
    took = await until(lambda: bench.telemetry.rebased_streams)
    assert took < QUIET_SECONDS + 2 * TICK_SECONDS


@timeless()
async def test_a_quiet_sender_that_another_process_superseded_is_told(bench: SenderBench) -> None:
    live = await bench.begin()
    hearing = ears(live)
    other = SenderBench(bench.clock, beside=bench)
    newer = await other.begin(Resume())
    await until(lambda: hearing.fenced)
    assert live.is_fenced
    assert not newer.is_fenced
    other.hear(newer, 0)
    await until(lambda: newer.log.is_empty)
    await other.close()


@timeless()
async def test_a_log_whose_run_has_ended_is_in_doubt_while_it_is_retained(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    bench.store.of().wipe()
    bench.store.epoch += 1
    await until(bench.store.ends)
    assert [type(entry) for entry in bench.store.entries()][-1] is Ended
    assert bench.store.seqs() == [0]


@timeless()
async def test_where_one_stream_is_lost_all_are_looked_at_at_most_once_a_second(
    bench: SenderBench,
) -> None:
    one, two = await two_quiet(bench)
    for log in (one, two):
        bench.store.of(log.stream).wipe()
    assert one.live is not None
    assert two.live is not None
    bench.hear(one.live, 1)
    assert await until(lambda: bench.store.seqs(two.stream) == [0]) < 0.1
    before = len(bench.store.calls)
    for seq in range(2, 12):
        bench.store.of(one.stream).wipe()
        bench.hear(one.live, seq)
        await asyncio.sleep(0.1)
    looks = [call for call in bench.store.calls[before:] if two.stream in call.streams]
    assert len(looks) <= 1 + 1 / WIDER_LOOK_SECONDS


@timeless()
async def test_while_nothing_is_lost_no_other_stream_is_looked_at(bench: SenderBench) -> None:
    one, two = await two_quiet(bench)
    before = len(bench.store.calls)
    assert one.live is not None
    for seq in range(1, 10):
        bench.hear(one.live, seq)
        await asyncio.sleep(QUIET_SECONDS / 10)
    assert len(bench.store.calls) - before == 9
    assert not [call for call in bench.store.calls[before:] if two.stream in call.streams]


@timeless()
async def test_a_frame_that_comes_while_a_doubt_is_asked_about_follows_the_answer(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.store.seconds = 0.5
    live.log.doubt()
    await asyncio.sleep(0.1)
    bench.hear(live, 0)
    assert await until(lambda: live.log.is_empty) < 1


@timeless()
async def test_what_is_retained_is_let_go_when_it_is_old_and_the_log_is_in_sync(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    assert bench.sender.budget.held_bytes.retained == 320
    for seq in range(1, 100):
        bench.hear(live, seq)
        await asyncio.sleep(0.2)
    assert bench.sender.budget.held_bytes.retained <= 320 * 5 * (REWIND + JOINED_SECONDS + 1)
    await asyncio.sleep(REWIND + JOINED_SECONDS + 2 * QUIET_SECONDS + TICK_SECONDS)
    assert bench.sender.budget.held_bytes.retained == 0
    assert bench.telemetry.short_frames == 0


@timeless()
async def test_while_the_store_is_away_nothing_retained_gets_old(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0, 1)
    await until(lambda: live.log.is_empty)
    bench.store.is_away = True
    bench.hear(live, 2)
    await asyncio.sleep(300)
    assert bench.sender.budget.held_bytes.retained == 640
    bench.store.of().wipe()
    bench.store.is_away = False
    await until(lambda: live.log.is_empty and bench.sender.is_in_sync())
    assert bench.store.seqs() == [0, 1, 2]
    assert bench.telemetry.total("lost") == 0


@timeless()
async def test_a_store_that_does_not_answer_lets_nothing_retained_get_old(
    bench: SenderBench,
) -> None:
    """Its answer is what proves that it has it: the time of the question counts."""
    live = await bench.begin()
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    bench.store.may_answer.clear()
    await asyncio.sleep(100)
    assert bench.sender.budget.held_bytes.retained == 320
    bench.store.may_answer.set()
    await until(lambda: bench.sender.is_in_sync() and live.log.is_empty)
    await asyncio.sleep(2 * QUIET_SECONDS + TICK_SECONDS)
    assert bench.sender.budget.held_bytes.retained == 0


@timeless()
async def test_while_one_stream_is_in_doubt_nothing_retained_gets_old(bench: SenderBench) -> None:
    """Its server is another and does not answer for it, while all others are served."""
    one, two = await two_quiet(bench)
    assert one.live is not None
    bench.store.failing[two.stream] = BrokerUnavailable("stuck")
    bench.store.epoch += 1
    for seq in range(1, 100):
        bench.hear(one.live, seq)
        await asyncio.sleep(0.2)
    assert one.is_empty
    assert not bench.sender.is_in_sync()
    bench.store.of(two.stream).wipe()
    bench.store.failing.clear()
    await until(bench.sender.is_in_sync)
    assert bench.store.seqs(two.stream) == [0]
    assert bench.telemetry.total("lost") == 0


@timeless()
async def test_a_stream_that_is_refused_does_not_keep_the_rest_from_being_proved(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "application.delivery")
    one, _ = await two_quiet(bench)
    bench.store.failing[one.stream] = BrokerRefused("WRONGTYPE")
    bench.store.epoch += 1
    bench.sender.note_alive(bench.clock.now)
    assert not bench.sender.is_in_sync()
    await until(bench.sender.is_in_sync, 10)
    assert not one.is_in_sync
    assert len([it for it in caplog.records if "refuses a stream" in it.message]) == 1


@timeless()
async def test_a_log_that_was_given_up_keeps_nothing_from_being_proved(bench: SenderBench) -> None:
    one, _ = await two_quiet(bench)
    bench.store.may_answer.clear()
    bench.store.epoch += 1
    bench.sender.note_alive(bench.clock.now)
    live = one.live
    assert live is not None
    one.abandon()
    one.leave(live)
    bench.store.may_answer.set()
    await until(bench.sender.is_in_sync, 10)


@timeless()
async def test_back_pressure_ends_when_the_store_is_back(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    seconds = bench.sender.budget.limits.buffer_seconds
    bench.hear(live, *range(int(seconds * 50)))
    assert live.log.is_full
    waiting = asyncio.create_task(live.log.wait_for_room(live))
    await asyncio.sleep(1)
    assert not waiting.done()
    bench.store.is_away = False
    await waiting
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == list(range(500))
    assert bench.sender.budget.held_bytes.unconfirmed == 0


@pytest.mark.parametrize("refused", [["one"], ["one", "two"]])
@timeless()
async def test_what_a_refused_stream_retains_stays_until_the_store_has_proved_it(
    bench: SenderBench, refused: list[str]
) -> None:
    """The broker is back without what it confirmed, and lacks a right for a while."""
    logs = await two_quiet(bench)
    for log in logs:
        bench.store.of(log.stream).wipe()
        if log.stream.stream_id in refused:
            bench.store.failing[log.stream] = BrokerRefused("NOPERM")
    bench.store.epoch += 1
    for _ in range(round(4 * REWIND)):
        bench.sender.note_failure()  # as the watch tells, whose probe is refused as well
        await asyncio.sleep(0.5)
        if len(refused) == 1:
            bench.sender.note_alive(bench.clock.now)
        await asyncio.sleep(0.5)
    bench.store.failing.clear()
    bench.sender.note_alive(bench.clock.now)
    await until(bench.sender.is_in_sync, 10)
    await until(lambda: bench.sender.unpublished() == 0)
    assert [bench.store.seqs(log.stream) for log in logs] == [[0], [0]]
    assert bench.telemetry.total("lost") == 0


@timeless()
async def test_what_others_retain_gets_old_beside_a_refused_stream(bench: SenderBench) -> None:
    one, two = await two_quiet(bench)
    bench.store.failing[one.stream] = BrokerRefused("NOPERM")
    bench.store.epoch += 1
    bench.sender.note_failure()
    bench.sender.note_alive(bench.clock.now)
    await asyncio.sleep(REWIND + JOINED_SECONDS + 3 * TICK_SECONDS)
    assert two.retained.is_empty
    assert not one.retained.is_empty
    assert bench.sender.is_in_sync()
    bench.store.failing.clear()
    await until(lambda: one.is_in_sync, 10)
    await asyncio.sleep(REWIND + JOINED_SECONDS + 3 * TICK_SECONDS)
    assert one.retained.is_empty
