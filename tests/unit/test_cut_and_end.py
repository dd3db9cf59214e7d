"""Runs that are cut, taken up again, or ended: over a real sender, in time that costs nothing."""

import asyncio

import pytest
from sender_bench import (
    EXPIRE_SECONDS,
    RESUME_SECONDS,
    SenderBench,
    ears,
    timeless,
    until,
)

from application.delivery.live_stream import LiveStream
from domain.account import State
from domain.entries import Ended, Gap, Started
from domain.events import EndReason, Resume
from domain.head import Head

PROMPTLY = 3.0
"""How much longer than it should a run waits at most, in which the store is asked."""


def head(bench: SenderBench) -> Head:
    found = bench.store.of().head
    assert found is not None
    return found


async def ended_after(bench: SenderBench, seconds: float = 5_000.0) -> float:
    return await until(bench.store.ends, seconds)


async def cut(bench: SenderBench, *seqs: int) -> LiveStream:
    live = await bench.begin()
    bench.hear(live, *seqs)
    bench.cut(live)
    return live


# Ends


@timeless()
async def test_an_end_is_stored_after_everything_before_it(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "application.end_interaction")
    live = await bench.begin()
    bench.hear(live, 0, 1)
    bench.ingest.refuse(live, "bad_json")
    bench.end(live, EndReason.CALLENDED)
    await until(lambda: bench.background.is_idle)
    (ended,) = bench.store.ends()
    assert bench.store.entries()[-1] == ended
    assert ended.reason is EndReason.CALLENDED
    assert (ended.ledger.published, ended.ledger.rejected) == (2, 1)
    assert bench.telemetry.run_ends == {"callended": 1}
    assert bench.sender.streams() == []
    (told,) = caplog.records
    assert told.message == "stream ended"
    assert told.ledger == ended.ledger.counters()  # type: ignore[attr-defined]


@timeless()
async def test_what_was_dropped_last_is_declared_and_counted_with_the_end(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    bench.ingest.drop(live, 2, frames=2)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    gap, ended = bench.store.entries()[-2:]
    assert gap == Gap(1, 2)
    assert isinstance(ended, Ended)
    assert (ended.ledger.lost, ended.ledger.missing) == (2, 2)
    assert bench.telemetry.total("missing") == 2


@timeless()
async def test_where_a_newer_generation_holds_the_stream_there_is_nothing_to_end(
    bench: SenderBench,
) -> None:
    older = await bench.begin()
    newer = await bench.begin(Resume())
    bench.end(older, EndReason.ENDED)
    await asyncio.sleep(5)
    assert bench.store.ends() == []
    assert bench.log().live is newer


@timeless()
async def test_a_run_is_held_until_its_end_is_stored(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    bench.end(live, EndReason.ENDED)
    await asyncio.sleep(EXPIRE_SECONDS / 2)
    assert not bench.background.is_idle
    assert bench.sender.streams() == [live.key]
    bench.store.is_away = False
    await until(lambda: bench.background.is_idle, 2)
    assert len(bench.store.ends()) == 1


@timeless()
async def test_a_run_that_cannot_be_ended_is_abandoned_when_it_would_have_expired(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    bench.hear(live, 0)
    bench.end(live, EndReason.ENDED)
    took = await until(lambda: bench.background.is_idle)
    assert EXPIRE_SECONDS <= took < EXPIRE_SECONDS + 1
    assert [it.message for it in caplog.records if it.levelname == "ERROR"] == [
        "stream could not be ended"
    ]
    assert bench.telemetry.total("lost") == 1
    assert bench.telemetry.run_ends == {}, "its end is not stored"
    assert bench.sender.budget.held_bytes == (0, 0)
    bench.store.is_away = False
    await asyncio.sleep(10)
    assert bench.store.ends() == []
    assert bench.logs == 0


# Cuts


@timeless()
async def test_a_cut_run_is_published_as_such_and_ended_when_its_sender_does_not_resume(
    bench: SenderBench,
) -> None:
    live = await cut(bench, 0, 1)
    await until(lambda: head(bench).account.state is State.CUT, 1)
    assert bench.store.seqs() == [0, 1]
    assert live.listener is None
    assert bench.sender.streams() == [live.key], "it keeps its heartbeat"
    took = await ended_after(bench)
    assert RESUME_SECONDS - 1 < took < RESUME_SECONDS + PROMPTLY
    (ended,) = bench.store.ends()
    assert ended.reason is EndReason.DISCONNECTED
    await until(lambda: bench.background.is_idle, 1)


@timeless()
async def test_a_cut_run_ends_for_the_reason_for_which_it_was_cut(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.cut(live, EndReason.IDLE)
    await ended_after(bench)
    assert bench.store.ends()[0].reason is EndReason.IDLE


@timeless()
async def test_a_cut_run_that_is_resumed_is_not_ended(bench: SenderBench) -> None:
    live = await cut(bench, 0)
    await asyncio.sleep(RESUME_SECONDS - 1)
    newer = await bench.begin(Resume())
    assert newer.run.name == live.run.name
    assert head(bench).account.state is State.LIVE
    await asyncio.sleep(3 * RESUME_SECONDS)
    assert bench.store.ends() == []
    assert bench.background.is_idle
    assert bench.log().live is newer
    bench.hear(newer, 1)
    await until(lambda: newer.log.is_empty)
    assert bench.store.seqs() == [0, 1]


@timeless()
async def test_a_cut_run_that_another_process_resumes_is_not_ended_here(
    bench: SenderBench,
) -> None:
    await cut(bench, 0)
    await asyncio.sleep(1)
    other = SenderBench(bench.clock, beside=bench)
    newer = await other.begin(Resume())
    await asyncio.sleep(3 * RESUME_SECONDS)
    assert bench.store.ends() == []
    assert not newer.is_fenced
    assert bench.background.is_idle
    assert bench.sender.streams() == []
    await other.close()


@timeless()
async def test_a_run_that_is_cut_when_it_is_fenced_already_is_left_at_once(
    bench: SenderBench,
) -> None:
    older = await bench.begin()
    await bench.begin(Resume())
    bench.cut(older)
    assert bench.background.is_idle
    await asyncio.sleep(2 * RESUME_SECONDS)
    assert bench.store.ends() == []


@timeless()
async def test_a_cut_run_that_is_followed_by_a_new_one_has_one_end(bench: SenderBench) -> None:
    await cut(bench, 0)
    await asyncio.sleep(1)
    await bench.begin()
    await asyncio.sleep(2 * RESUME_SECONDS)
    assert [type(entry) for entry in bench.store.entries()].count(Ended) == 1
    assert type(bench.store.entries()[-1]) is Started


@timeless()
async def test_the_time_in_which_the_store_is_away_does_not_count(bench: SenderBench) -> None:
    """No process can resume the run then."""
    await cut(bench, 0)
    await asyncio.sleep(RESUME_SECONDS / 2)
    bench.store.is_away = True
    away = 4 * RESUME_SECONDS
    await asyncio.sleep(away)
    assert bench.store.ends() == []
    bench.store.is_away = False
    took = await ended_after(bench)
    assert RESUME_SECONDS - 1 <= took <= RESUME_SECONDS + PROMPTLY
    (ended,) = bench.store.ends()
    assert ended.ledger.published == 1


@timeless()
async def test_a_run_that_is_cut_while_the_store_is_away_waits_from_when_it_is_back(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    bench.hear(live, 0)
    bench.cut(live)
    await asyncio.sleep(3 * RESUME_SECONDS)
    bench.store.is_away = False
    took = await ended_after(bench)
    assert RESUME_SECONDS - 1 < took < RESUME_SECONDS + PROMPTLY
    assert bench.store.seqs() == [0]


@timeless()
async def test_a_cut_run_of_a_store_that_never_comes_back_is_abandoned(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    live = await bench.begin()
    bench.store.is_away = True
    bench.cut(live)
    took = await until(lambda: bench.background.is_idle)
    assert took <= 2 * EXPIRE_SECONDS + RESUME_SECONDS + PROMPTLY
    assert "stream could not be ended" in caplog.text
    assert live.is_fenced
    assert bench.sender.unpublished() == 0


@timeless()
async def test_a_cut_run_that_the_store_came_back_without_is_cut_and_ended_there(
    bench: SenderBench,
) -> None:
    await cut(bench, 0, 1)
    await asyncio.sleep(2)
    bench.store.of().wipe()
    bench.store.epoch += 1
    await until(lambda: bench.store.of().head, 3)
    await asyncio.sleep(0.1)
    assert head(bench).account.state is State.CUT
    assert bench.store.seqs() == [0, 1]
    await ended_after(bench, RESUME_SECONDS + PROMPTLY)


@timeless()
async def test_background_that_is_closed_ends_nothing_more(bench: SenderBench) -> None:
    await cut(bench, 0)
    await bench.background.close()
    await asyncio.sleep(2 * RESUME_SECONDS)
    assert bench.store.ends() == []


@timeless()
async def test_a_run_that_was_ended_is_not_cut(bench: SenderBench) -> None:
    live = await bench.begin()
    hearing = ears(live)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    assert live.interaction.state is State.ENDED
    assert hearing.fenced == 0
    assert head(bench).account.state is State.ENDED
