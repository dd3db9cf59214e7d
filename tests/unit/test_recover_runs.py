"""Runs of processes that are gone: judged by looks at their heartbeats, never by a clock."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
from sender_bench import Heartbeats, SenderBench, stream_key, timeless, until
from stream_parts import seqs_of

from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.ports.store import Append, Failed, Heads, Outcome
from application.recover_runs import (
    ENDED_AT_ONCE,
    GRACE_SECONDS,
    HEARTBEAT_SECONDS,
    RecoverRuns,
)
from domain.account import State
from domain.entries import Ended
from domain.events import EndReason, Resume
from domain.identifiers import StreamKey

RESUME_SECONDS = 30.0
LOOKS = round((RESUME_SECONDS + GRACE_SECONDS) / HEARTBEAT_SECONDS)
"""How often a heartbeat may be seen unchanged."""

DEAD, ALIVE = stream_key("dead"), stream_key("alive")


@asynccontextmanager
async def recovering(bench: SenderBench) -> AsyncIterator[None]:
    recover_runs = RecoverRuns(
        bench.store,
        bench.heartbeats,
        bench.sender,
        bench.telemetry,
        resume_seconds=RESUME_SECONDS,
    )
    task = asyncio.create_task(recover_runs.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def leave_behind(bench: SenderBench, *streams: StreamKey) -> None:
    """Have a process write these streams, and be gone."""
    other = SenderBench(bench.clock, beside=bench)
    for stream in streams:
        live = await other.begin(stream=stream)
        other.hear(live, 0, 1)
        bench.heartbeats.latest[stream] = -1.0
    await until(lambda: other.sender.unpublished() == 0)
    await other.close()


def is_ended(bench: SenderBench, stream: StreamKey) -> bool:
    head = bench.store.of(stream).head
    return head is not None and head.account.state is State.ENDED


async def looked(bench: SenderBench, times: int) -> None:
    """Wait until so many more looks were taken."""
    goal = bench.heartbeats.looked + times
    await until(lambda: bench.heartbeats.looked >= goal)


@timeless()
async def test_an_orphaned_run_gets_its_end_after_so_many_looks(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_behind(bench, DEAD)
    async with recovering(bench):
        took = await until(lambda: is_ended(bench, DEAD))
    assert took == pytest.approx(LOOKS * HEARTBEAT_SECONDS, abs=1)
    assert took >= RESUME_SECONDS + GRACE_SECONDS - 1
    (ended,) = bench.store.ends(DEAD)
    assert ended.recovered
    assert bench.telemetry.run_ends == {"recovered": 1}
    assert ended.reason is EndReason.DISCONNECTED
    assert ended.ledger.published == 2
    assert bench.store.entries(DEAD)[-1] is ended
    assert DEAD not in bench.heartbeats.latest
    (told,) = caplog.records
    assert told.message == "run of a dead process ended"
    assert told.interaction_id == "call"  # type: ignore[attr-defined]


@timeless()
async def test_a_run_is_ended_once_and_under_its_own_generation(bench: SenderBench) -> None:
    await leave_behind(bench, DEAD)
    before = bench.store.of(DEAD).head
    assert before is not None
    bench.store.answers_lost = 1
    async with recovering(bench):
        await until(lambda: DEAD not in bench.heartbeats.latest)
        await asyncio.sleep(200)
    assert len(bench.store.ends(DEAD)) == 1
    generations = [generation for generation, _ in bench.store.of(DEAD).now.entries]
    assert generations == [1] * 4
    after = bench.store.of(DEAD).head
    assert after is not None
    assert after.lease.order > before.lease.order
    assert after.begun_at == before.begun_at


@timeless()
async def test_the_streams_of_this_process_have_heartbeats_and_are_not_ended(
    bench: SenderBench,
) -> None:
    live = await bench.begin(stream=ALIVE)
    async with recovering(bench):
        await asyncio.sleep(3 * (RESUME_SECONDS + GRACE_SECONDS))
        assert not is_ended(bench, ALIVE)
        assert bench.heartbeats.given > 3 * LOOKS
        bench.cut(live)
        await asyncio.sleep(RESUME_SECONDS / 2)
        assert ALIVE in bench.sender.streams(), "one that waits for its sender is looked after"
        await until(lambda: is_ended(bench, ALIVE))
        (ended,) = bench.store.ends(ALIVE)
        assert not ended.recovered
        await until(lambda: ALIVE not in bench.heartbeats.latest)


@timeless()
async def test_a_heartbeat_that_changes_is_of_the_living(bench: SenderBench) -> None:
    await leave_behind(bench, ALIVE)
    async with recovering(bench):
        for _ in range(10):
            await looked(bench, LOOKS - 1)
            bench.heartbeats.latest[ALIVE] += 0.5
    assert not is_ended(bench, ALIVE)


@timeless()
async def test_a_look_that_failed_restarts_the_count(bench: SenderBench) -> None:
    """No process could renew its heartbeats while the store was away."""
    await leave_behind(bench, DEAD)
    async with recovering(bench):
        await looked(bench, LOOKS - 1)
        bench.heartbeats.look_error = BrokerUnavailable("away")
        await looked(bench, 1)
        bench.heartbeats.look_error = None
        await looked(bench, LOOKS)
        assert not is_ended(bench, DEAD)
        await until(lambda: is_ended(bench, DEAD), 3 * HEARTBEAT_SECONDS)


@timeless()
async def test_a_process_that_cannot_renew_its_heartbeats_judges_no_other(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_behind(bench, DEAD)
    bench.heartbeats.heartbeat_error = BrokerUnavailable("OOM")
    async with recovering(bench):
        await looked(bench, 5 * LOOKS)
        assert not is_ended(bench, DEAD)
        bench.heartbeats.heartbeat_error = None
        await until(lambda: is_ended(bench, DEAD))
    warnings = [it.message for it in caplog.records if "looked after" in it.message]
    assert len(warnings) == 1, "the cause is logged once"


@timeless()
async def test_a_process_that_can_renew_its_heartbeats_but_not_look_says_so_once(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    live = await bench.begin(stream=ALIVE)
    bench.heartbeats.look_error = BrokerRefused("NOPERM")
    async with recovering(bench):
        before = bench.heartbeats.given
        await looked(bench, 5 * LOOKS)
        assert bench.heartbeats.given >= before + 5 * LOOKS - 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not live.is_fenced


@timeless()
async def test_a_store_without_the_stream_has_nothing_to_end_and_its_heartbeat_goes(
    bench: SenderBench,
) -> None:
    bench.heartbeats.latest[DEAD] = -1.0
    async with recovering(bench):
        await until(lambda: DEAD not in bench.heartbeats.latest)
    assert bench.store.entries(DEAD) == []


@timeless()
async def test_a_run_that_was_ended_already_has_no_second_end(bench: SenderBench) -> None:
    live = await bench.begin(stream=ALIVE)
    bench.end(live, EndReason.ENDED)
    await until(lambda: bench.background.is_idle)
    async with recovering(bench):
        await until(lambda: ALIVE not in bench.heartbeats.latest)
    assert len(bench.store.ends(ALIVE)) == 1


@timeless()
async def test_a_run_whose_entries_are_lost_is_left_to_its_next_start(bench: SenderBench) -> None:
    await leave_behind(bench, DEAD)
    bench.store.of(DEAD).evict_entries()
    async with recovering(bench):
        await until(lambda: DEAD not in bench.heartbeats.latest)
    assert bench.store.entries(DEAD) == []


@timeless()
async def test_a_writer_that_was_only_frozen_is_fenced(bench: SenderBench) -> None:
    """Its sender is told, and opens a new run after the end."""
    frozen = SenderBench(bench.clock, beside=bench)
    live = await frozen.begin(stream=DEAD)
    bench.heartbeats.latest[DEAD] = -1.0
    async with recovering(bench):
        await until(lambda: is_ended(bench, DEAD))
    frozen.hear(live, 0)
    await until(lambda: live.is_fenced, 5)
    assert seqs_of(bench.store.entries(DEAD)) == []
    assert type(bench.store.entries(DEAD)[-1]) is Ended
    await frozen.close()


@pytest.mark.parametrize("is_read_before", [True, False])
@timeless()
async def test_a_run_that_is_resumed_while_it_is_to_be_ended_is_not_ended(
    bench: SenderBench, is_read_before: bool
) -> None:
    """Between the look at its heartbeat and the append; its head is read before that or after."""
    await leave_behind(bench, DEAD)
    other = SenderBench(bench.clock, beside=bench)
    heads = bench.store.heads

    async def resume_meanwhile(streams: Sequence[StreamKey]) -> Heads:
        bench.store.heads = heads  # type: ignore[method-assign]
        found = await heads(streams)
        await other.begin(Resume(), DEAD)
        return found if is_read_before else await heads(streams)

    bench.store.heads = resume_meanwhile  # type: ignore[method-assign]
    async with recovering(bench):
        await looked(bench, LOOKS + 2)
        live = other.log(DEAD).live
        assert live is not None
        other.hear(live, 5)
        await until(lambda: other.sender.unpublished() == 0)
    assert not live.is_fenced
    assert bench.store.ends(DEAD) == []
    assert bench.store.seqs(DEAD) == [0, 1, 5]
    await other.close()


# Many, and some that cannot be ended


@timeless()
async def test_a_run_that_cannot_be_ended_keeps_no_other_from_it_and_is_told_once(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    dead = [stream_key(f"dead-{number}") for number in range(2 * ENDED_AT_ONCE + 1)]
    await leave_behind(bench, *dead)
    refused = {dead[0], dead[ENDED_AT_ONCE]}
    bench.store.failing |= dict.fromkeys(refused, BrokerRefused("WRONGTYPE"))
    async with recovering(bench):
        await until(lambda: all(is_ended(bench, it) for it in dead if it not in refused))
        await looked(bench, 3)
        told = [record for record in caplog.records if "cannot be ended" in record.message]
        assert len(told) == 2
        bench.store.failing.clear()
        await until(lambda: all(is_ended(bench, it) for it in dead))
    assert all(len(bench.store.ends(it)) == 1 for it in dead)
    calls = [call for call in bench.store.calls if any(it in dead for it in call.streams)]
    assert max(len(call.streams) for call in calls) <= ENDED_AT_ONCE


@timeless()
async def test_a_stream_that_does_not_answer_is_no_refusal(bench: SenderBench) -> None:
    await leave_behind(bench, DEAD)
    bench.store.failing[DEAD] = BrokerUnavailable("stuck")
    async with recovering(bench):
        await looked(bench, 3 * LOOKS)
        assert DEAD in bench.heartbeats.latest
        bench.store.failing.clear()
        await until(lambda: is_ended(bench, DEAD))


# Parts of the store


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


@pytest.mark.parametrize("fault", ["parted", "stuck"])
@timeless()
async def test_a_part_that_is_away_keeps_no_run_of_another_from_its_end_and_is_told_once(
    bench: SenderBench, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    away, first, later = stream_key("away"), stream_key("first"), stream_key("later")
    bench.store.parts = {away: "b", first: "a", later: "a"}
    await leave_behind(bench, away, first)
    setattr(bench.store, fault, {"b"})
    async with recovering(bench):
        await until(lambda: is_ended(bench, first), RESUME_SECONDS + 30)
        await asyncio.sleep(3_600)
        await leave_behind(bench, later)
        await until(lambda: is_ended(bench, later), RESUME_SECONDS + 30)
        assert not is_ended(bench, away)
        (told,) = (record for record in caplog.records if "cannot be ended yet" in record.message)
        assert told.part == "b"  # type: ignore[attr-defined]
        assert "open runs are not looked after" not in messages(caplog)
        setattr(bench.store, fault, set())
        await until(lambda: is_ended(bench, away), RESUME_SECONDS + 30)
        await until(lambda: away not in bench.heartbeats.latest)
        assert bench.telemetry.run_ends == {"recovered": 3}
        caplog.clear()
        setattr(bench.store, fault, {"b"})
        again = stream_key("again")
        bench.heartbeats.latest[again] = -1.0
        bench.store.parts[again] = "b"
        await until(lambda: messages(caplog) == ["runs of dead processes cannot be ended yet"])


@timeless()
async def test_an_end_that_fails_by_itself_keeps_no_other_from_being_told(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = stream_key("stuck")
    await leave_behind(bench, stuck, DEAD)
    append = bench.store.append

    async def fail_one(appends: Sequence[Append]) -> Sequence[Outcome]:
        failed = Failed(BrokerUnavailable("OOM"))
        outcomes = iter(await append([it for it in appends if it.stream != stuck]))
        return [failed if it.stream == stuck else next(outcomes) for it in appends]

    bench.store.append = fail_one  # type: ignore[method-assign]
    async with recovering(bench):
        await until(lambda: DEAD not in bench.heartbeats.latest)
        await looked(bench, 3 * LOOKS)
        assert bench.telemetry.run_ends == {"recovered": 1}
        assert sorted(messages(caplog)) == [
            "run of a dead process ended",
            "runs of dead processes cannot be ended yet",
        ]
        bench.store.append = append  # type: ignore[method-assign]
        await until(lambda: is_ended(bench, stuck))


@timeless()
async def test_what_takes_long_to_end_delays_no_heartbeat(bench: SenderBench) -> None:
    await bench.begin(stream=ALIVE)
    await leave_behind(bench, DEAD)
    async with recovering(bench):
        await looked(bench, LOOKS)
        bench.store.may_answer.clear()
        before, began = bench.heartbeats.given, bench.clock.now
        await asyncio.sleep(60)
        intervals = (bench.clock.now - began) / HEARTBEAT_SECONDS
        assert bench.heartbeats.given - before >= intervals - 1
        assert not is_ended(bench, DEAD)
        bench.store.may_answer.set()


@timeless()
async def test_a_heartbeat_that_hangs_is_given_up_and_tried_again(bench: SenderBench) -> None:
    class Hanging(Heartbeats):
        async def heartbeats(self) -> Mapping[StreamKey, float]:
            if self.looked == 2:
                self.looked += 1
                await asyncio.Event().wait()
            return await super().heartbeats()

    bench.heartbeats = Hanging()
    await leave_behind(bench, DEAD)
    async with recovering(bench):
        await until(lambda: is_ended(bench, DEAD), 2 * (RESUME_SECONDS + GRACE_SECONDS))
