"""A sender starts a stream, or resumes one: over a real sender, in time that costs nothing."""

import asyncio

import pytest
from sender_bench import (
    RESUME_SECONDS,
    SenderBench,
    ears,
    listened_to,
    stream_key,
    timeless,
    until,
)
from stream_parts import OTHER_MEDIA, now, opening

from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.start_interaction import MAX_AGAIN_SECONDS, RetryBudget
from application.time_limit import ANSWER_SECONDS
from domain.access import Principal
from domain.account import State
from domain.entries import Ended, Started
from domain.errors import NotAllowed, Superseded
from domain.events import EndReason, Resume, ResumeAbove
from domain.head import Access
from domain.identifiers import InteractionId, TenantId
from domain.starting import AwaitFirstFrame

WITH_TOKEN = Principal(TenantId("tenant"))


def kinds(bench: SenderBench) -> list[type]:
    return [type(entry) for entry in bench.store.entries()]


@timeless()
async def test_a_start_is_stored_when_it_is_granted(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "application.start_interaction")
    live = await bench.begin()
    assert kinds(bench) == [Started]
    assert live.lease.generation == 1
    assert live.run.access is Access.OPEN
    (told,) = caplog.records
    assert told.message == "stream started"
    assert told.resumed is False  # type: ignore[attr-defined]


@timeless()
async def test_a_stream_has_a_heartbeat_before_its_run_begins(bench: SenderBench) -> None:
    """Another process ends it, should this one be gone before it ends it."""
    bench.store.may_answer.clear()
    asking = bench.asking()
    await asyncio.sleep(0.1)
    assert bench.store.entries() == []
    assert bench.heartbeats.latest == {stream_key("call"): 1.0}
    bench.store.may_answer.set()
    await asking


@timeless()
async def test_a_start_that_resumes_continues_with_the_run(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "application.start_interaction")
    older = await bench.begin()
    bench.hear(older, 0, 1)
    live = await bench.begin(Resume())
    assert older.is_fenced
    assert live.run.name == older.run.name
    assert live.run_started_at == older.run_started_at
    assert live.interaction.last_seq == 1
    assert caplog.records[-1].resumed is True  # type: ignore[attr-defined]
    bench.hear(live, 2)
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0, 1, 2]
    assert bench.store.ends() == []


@timeless()
async def test_a_start_that_does_not_resume_ends_the_run_before_it(bench: SenderBench) -> None:
    older = await bench.begin()
    bench.hear(older, 0)
    await bench.begin()
    (ended,) = bench.store.ends()
    assert ended.reason is EndReason.DISCONNECTED
    assert ended.ledger.published == 1
    assert kinds(bench)[-2:] == [Ended, Started]


@timeless()
async def test_a_run_of_another_format_is_not_resumed(bench: SenderBench) -> None:
    await bench.begin()
    live = listened_to(await bench.ask(opening(Resume(), OTHER_MEDIA)))
    assert live.run.opening.media == OTHER_MEDIA
    assert len(bench.store.ends()) == 1


@timeless()
async def test_a_start_waits_for_what_the_older_sender_sent(bench: SenderBench) -> None:
    older = await bench.begin()
    bench.store.seconds = 1.0
    bench.hear(older, 0)
    await asyncio.sleep(0.1)
    bench.hear(older, 1)
    live = await bench.begin(Resume())
    assert bench.store.seqs() == [0, 1]
    assert live.interaction.last_seq == 1
    assert ears(older).acked[:2] == [0, 1]
    assert bench.telemetry.total("lost") == 0


@timeless()
async def test_the_older_sender_is_not_read_while_a_start_is_pending(bench: SenderBench) -> None:
    older = await bench.begin()
    bench.store.may_answer.clear()
    asking = bench.asking(opening(Resume()))
    await asyncio.sleep(0.1)
    assert now(older.log.is_full)
    assert now(older.log.is_start_requested)
    bench.store.may_answer.set()
    listened_to(await asking)
    assert not now(older.log.is_full)
    assert not now(older.log.is_start_requested)


@timeless()
async def test_two_starts_are_granted_in_the_order_in_which_they_were_requested(
    bench: SenderBench,
) -> None:
    bench.store.seconds = 0.5
    first = bench.asking()
    await asyncio.sleep(0.1)
    second = bench.asking(opening(Resume()))
    older = listened_to(await first)
    bench.hear(older, 0)
    newer = listened_to(await second)
    assert older.is_fenced
    assert ears(older).fenced == 1
    assert newer.lease.order > older.lease.order
    assert newer.interaction.last_seq == 0
    assert bench.store.seqs() == [0]


@timeless()
async def test_a_start_that_cannot_be_decided_yet_changes_nothing(bench: SenderBench) -> None:
    older = await bench.begin()
    before = bench.store.of().now
    assert await bench.ask(opening(ResumeAbove())) == AwaitFirstFrame()
    assert bench.store.of().now is before
    assert not older.is_fenced
    assert not now(older.log.is_full)
    bench.hear(older, 5)
    await until(lambda: older.log.is_empty)
    live = listened_to(await bench.ask(opening(ResumeAbove(6))))
    assert live.run.name == older.run.name


# Refused


@pytest.mark.parametrize(
    "principal",
    [
        Principal(TenantId("another")),
        Principal(TenantId("tenant"), InteractionId("another")),
        Principal(open_tenants=frozenset({TenantId("another")})),
    ],
)
@timeless()
async def test_a_sender_without_the_right_is_refused_before_anything_is_asked(
    bench: SenderBench, principal: Principal
) -> None:
    with pytest.raises(NotAllowed):
        await bench.ask(principal=principal)
    assert bench.store.calls == []
    assert bench.heartbeats.given == 0
    assert bench.logs == 0


@timeless()
async def test_an_open_run_that_was_begun_with_a_token_is_not_taken_without_one(
    bench: SenderBench,
) -> None:
    live = await bench.begin(principal=WITH_TOKEN)
    assert live.run.access is Access.TOKEN
    with pytest.raises(NotAllowed):
        await bench.ask(opening(Resume()))
    assert not live.is_fenced
    assert not live.log.is_full
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    resumed = await bench.begin(Resume(), principal=WITH_TOKEN)
    assert resumed.run.access is Access.TOKEN


@timeless()
async def test_a_start_that_was_requested_long_before_another_is_superseded(
    bench: SenderBench,
) -> None:
    """It waited for a store that was away, and the sender began elsewhere meanwhile."""
    requested_at = bench.clock.now
    await asyncio.sleep(5)
    other = SenderBench(bench.clock, beside=bench)
    newer = await other.begin()
    await asyncio.sleep(5)
    with pytest.raises(Superseded):
        await bench.ask(opening(Resume()), requested_at=requested_at)
    other.hear(newer, 0)
    await until(lambda: newer.log.is_empty)
    assert not newer.is_fenced
    await other.close()


# A store that is away


@timeless()
async def test_a_start_is_tried_again_within_its_budget(
    bench: SenderBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "application.start_interaction")
    bench.heartbeats.heartbeat_error = BrokerUnavailable("away")
    bench.store.is_away = True
    asking = bench.asking(budget=RetryBudget(30))
    await asyncio.sleep(10)
    quick = 3  # the first waits are shorter: 0.1, 0.2 and 0.4 s
    assert bench.heartbeats.given == pytest.approx(10 / MAX_AGAIN_SECONDS + quick, abs=2)
    bench.heartbeats.heartbeat_error = None
    await asyncio.sleep(10)
    bench.store.is_away = False
    await asking
    assert kinds(bench) == [Started]
    (told,) = caplog.records
    assert told.levelname == "ERROR"
    assert told.error == "away"  # type: ignore[attr-defined]


@timeless()
async def test_a_start_beyond_its_budget_fails_and_is_not_stored_later(bench: SenderBench) -> None:
    bench.store.is_away = True
    began = bench.clock.now
    with pytest.raises(BrokerUnavailable):
        await bench.ask(budget=RetryBudget(20))
    assert 20 <= bench.clock.now - began < 21
    bench.store.is_away = False
    await asyncio.sleep(60)
    assert bench.store.entries() == []
    assert bench.sender.unpublished() == 0


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), BrokerRefused("NOPERM")])
@timeless()
async def test_a_start_without_a_budget_fails_at_once_if_no_heartbeat_can_be_given(
    bench: SenderBench, error: BrokerUnavailable | BrokerRefused
) -> None:
    bench.heartbeats.heartbeat_error = error
    with pytest.raises(type(error)):
        await bench.ask()
    assert bench.store.calls == []


@timeless()
async def test_a_start_whose_answers_are_lost_is_one_start(bench: SenderBench) -> None:
    bench.store.answers_lost = 3
    live = await bench.begin(Resume())
    assert kinds(bench) == [Started]
    assert live.lease.generation == 1
    assert bench.background.is_idle
    bench.hear(live, 0)
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0]


# Given up


@timeless()
async def test_a_start_that_is_given_up_before_it_is_sent_changes_nothing(
    bench: SenderBench,
) -> None:
    older = await bench.begin()
    before = bench.store.of().now
    bench.store.is_away = True
    budget = RetryBudget(30)
    asking = bench.asking(opening(Resume()), budget=budget)
    await asyncio.sleep(1)
    budget.give_up()
    with pytest.raises(BrokerUnavailable):
        await asking
    bench.store.is_away = False
    await until(lambda: older.log.is_empty)
    assert bench.store.of().now is before
    assert not older.is_fenced
    assert not now(older.log.is_full)


@timeless()
async def test_a_start_whose_caller_is_cancelled_before_it_is_sent_changes_nothing(
    bench: SenderBench,
) -> None:
    older = await bench.begin()
    bench.store.seconds = 0.5
    asking = bench.asking(opening(Resume()))
    await asyncio.sleep(0.1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await asyncio.sleep(5)
    assert kinds(bench) == [Started]
    assert not older.is_fenced
    assert not now(older.log.is_full)


async def sent(bench: SenderBench) -> None:
    """Wait until an append is in flight."""
    before = len(bench.store.calls)
    await until(lambda: any(it.kind == "append" for it in bench.store.calls[before:]))


@timeless()
async def test_a_start_that_is_given_up_in_flight_is_granted_if_its_answer_comes_in_time(
    bench: SenderBench,
) -> None:
    bench.store.seconds = 1.0
    budget = RetryBudget(30)
    asking = bench.asking(budget=budget)
    await sent(bench)
    budget.give_up()
    live = listened_to(await asking)
    assert kinds(bench) == [Started]
    assert not live.is_fenced


@timeless()
async def test_a_start_that_is_cancelled_in_flight_and_stored_late_is_cut_and_ended(
    bench: SenderBench,
) -> None:
    bench.store.seconds = 1.0
    asking = bench.asking()
    await sent(bench)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    bench.store.seconds = 0.0
    took = await until(lambda: bench.store.of().head is not None)
    assert took <= 1.1
    await until(lambda: head_state(bench) is State.CUT, 1)
    took = await until(bench.store.ends)
    assert RESUME_SECONDS - 1 < took < RESUME_SECONDS + 2
    (ended,) = bench.store.ends()
    assert ended.reason is EndReason.DISCONNECTED
    assert not ended.recovered
    await until(lambda: bench.background.is_idle)
    assert bench.sender.streams() == []


@timeless()
async def test_a_start_that_was_stored_unknown_to_its_sender_is_cut_and_ended(
    bench: SenderBench,
) -> None:
    """Its answer was lost, and the store was away for longer than it was tried."""
    bench.store.seconds = 0.01
    asking = bench.asking(budget=RetryBudget(10))
    await sent(bench)
    bench.store.answers_lost = 1
    await until(lambda: bench.store.of().head)
    bench.store.is_away = True
    with pytest.raises(BrokerUnavailable):
        await asking
    bench.store.is_away = False
    await until(bench.store.ends)
    assert kinds(bench) == [Started, Ended]
    assert bench.sender.streams() == []


@timeless()
async def test_a_start_that_was_stored_late_is_resumed_by_its_sender(bench: SenderBench) -> None:
    bench.store.seconds = 1.0
    asking = bench.asking()
    await sent(bench)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    bench.store.seconds = 0.0
    await until(lambda: head_state(bench) is State.CUT)
    live = await bench.begin(Resume())
    assert live.lease.generation == 2
    await asyncio.sleep(2 * RESUME_SECONDS)
    assert bench.store.ends() == []
    assert bench.background.is_idle


@timeless()
async def test_a_start_that_is_given_up_in_flight_without_an_answer_fails_in_time(
    bench: SenderBench,
) -> None:
    """Its outcome is not known: that is a failure of the broker, as callers know them."""
    await bench.begin()
    bench.store.seconds = 0.01
    budget = RetryBudget(60)
    again = bench.asking(opening(Resume()), budget=budget)
    await sent(bench)
    bench.store.is_away = True
    began = bench.clock.now
    budget.give_up()
    with pytest.raises(BrokerUnavailable):
        await again
    assert bench.clock.now - began < ANSWER_SECONDS + 1


def head_state(bench: SenderBench) -> State | None:
    head = bench.store.of().head
    return None if head is None else head.account.state
