"""Starts of one stream, as its log decides them: one after the other, on what the store has."""

import asyncio
from dataclasses import replace

import pytest
from log_bench import LogBench, decide, entries_of, frames_of
from stream_model import LOST
from stream_parts import frame, opening

from application.delivery.byte_budget import BufferLimits
from application.delivery.live_stream import LiveStream
from application.delivery.log_state import LogState, Probe
from application.delivery.pending_start import PendingStart
from application.ports.errors import BrokerUnavailable
from application.ports.store import Conflict
from domain.account import State
from domain.entries import Ended, Started
from domain.errors import NotAllowed, Superseded
from domain.events import NEW_RUN, EndReason, Resume, ResumeAbove
from domain.head import Access
from domain.media import AudioFrame
from domain.starting import AwaitFirstFrame, StartRequest


def failure(pending: PendingStart) -> BaseException | None:
    return pending.outcome.exception() if pending.outcome.done() else None


async def test_a_start_is_decided_on_the_head_of_the_store_and_is_the_next_append() -> None:
    bench = LogBench()
    pending = bench.request()
    assert set(bench.work) == {bench.log}
    decide(bench)
    assert not pending.outcome.done()
    append = bench.append()
    assert [type(entry) for entry in entries_of(append)] == [Started]
    bench.answer(append)
    live = bench.adopt(pending)
    assert live.lease.generation == 1
    assert live.run.name == "a1"
    assert bench.log.live is live
    assert bench.here.published == bench.account


async def test_a_start_that_is_not_ready_is_not_decided() -> None:
    bench = LogBench()
    asked = StartRequest(opening(NEW_RUN), "a1", Access.OPEN)
    pending = PendingStart(asked, bench.clock.now, bench.late.append, bench.log.on_start_given_up)
    bench.log.request_start(pending)
    assert bench.log.take() is None
    bench.log.note_start_ready(pending)
    bench.settle()
    assert bench.adopt(pending).lease.generation == 1


async def test_a_start_waits_for_what_the_older_sender_sent() -> None:
    bench = LogBench()
    older = bench.start()
    bench.hear(0)
    append = bench.append()
    bench.hear(1)
    pending = bench.request(Resume())
    assert bench.log.take() is None
    bench.answer(append)
    assert frames_of(bench.append()) == [1]
    bench.log.settle_append(LOST)
    assert frames_of(bench.append()) == [1]
    assert not pending.outcome.done()
    bench.log.settle_append(LOST)
    bench.settle()
    assert pending.outcome.done()
    assert [type(it) for it in bench.stored()] == [Started, type(frame(0)), type(frame(1)), Started]
    assert older.is_fenced


async def test_a_start_waits_for_the_account_of_a_run_that_is_cut() -> None:
    bench = LogBench()
    bench.start()
    bench.cut()
    bench.request(Resume())
    append = bench.append()
    assert append.head.account.state is State.CUT
    bench.answer(append)
    assert isinstance(bench.log.take(), Probe)


async def test_a_start_waits_for_an_account_of_which_the_log_was_not_told() -> None:
    bench = LogBench()
    bench.start()
    bench.confirm(0)
    bench.here.interaction.refuse()
    bench.request(Resume())
    append = bench.append()
    assert append.head.account.ledger.rejected == 1
    bench.answer(append)
    bench.probe()


async def test_a_start_waits_for_an_account_that_the_store_has_lost() -> None:
    bench = LogBench()
    bench.start()
    bench.confirm(0)
    bench.here.interaction.refuse()
    bench.log.put_account(bench.here)
    bench.settle()
    bench.store.roll_back(1)
    bench.doubt()
    bench.probe()
    bench.answer_probe()
    bench.request(Resume())
    assert bench.append().head.account.ledger.rejected == 1


async def test_two_starts_are_decided_in_the_order_in_which_they_were_requested() -> None:
    bench = LogBench()
    first, second = bench.request(), bench.request(Resume())
    bench.settle()
    older = bench.adopt(first)
    assert not second.outcome.done(), "what was held after the first is put before"
    bench.hear(0)
    bench.settle()
    newer = bench.adopt(second)
    assert older.is_fenced
    assert (older.lease.generation, newer.lease.generation) == (1, 2)
    assert newer.run.name == older.run.name
    assert bench.stored_seqs() == [0]


async def test_while_a_run_catches_up_no_further_start_is_decided() -> None:
    bench = LogBench()
    first = bench.request()
    bench.settle()
    live = first.outcome.result()
    assert isinstance(live, LiveStream)
    second = bench.request()
    bench.settle()
    assert not second.outcome.done()
    assert bench.log.is_starting
    live.note_caught_up()
    bench.settle()
    assert second.outcome.done()
    assert live.is_fenced


@pytest.mark.parametrize("continuation", [NEW_RUN, Resume()])
async def test_entries_of_the_older_generation_are_held_back_while_a_start_is_pending(
    continuation: Resume, caplog: pytest.LogCaptureFixture
) -> None:
    """They belong to neither run: a start that is granted drops them, and they are counted."""
    bench = LogBench()
    older = bench.start()
    pending = bench.request(continuation)
    decide(bench)
    append = bench.append()
    assert bench.log.oldest_received_at is None
    heard_at = bench.clock.now
    bench.hear(0, 1, live=older)
    bench.clock.now += 1.0
    assert bench.log.oldest_received_at == heard_at
    bench.answer(append)
    assert bench.log.oldest_received_at is None
    assert pending.outcome.done()
    assert bench.telemetry.run_ends["replaced"] == (continuation == NEW_RUN)
    assert bench.telemetry.counted["lost", "superseded"] == 2
    (line,) = [it.__dict__ for it in caplog.records if it.message.startswith("audio is lost")]
    assert (line["reason"], line["lost_frames"]) == ("superseded", 2)
    assert {"tenant_id", "interaction_id", "stream_id", "dialect"} <= line.keys()
    assert bench.stored_seqs() == []
    assert bench.unconfirmed == 0


async def test_entries_that_were_held_back_follow_if_the_start_is_withdrawn() -> None:
    bench = LogBench()
    older = bench.start()
    other = LogBench("b", beside=bench)
    asked = bench.request(ResumeAbove())
    decide(bench)
    assert asked.outcome.result() == AwaitFirstFrame()
    asked = bench.request(Resume())
    decide(bench)
    append = bench.append()
    bench.hear(0, 1, live=older)
    bench.store.roll_back(1)
    bench.answer(append)
    bench.settle()
    assert bench.stored_seqs() == [0, 1]
    assert bench.lost() == 0
    assert bench.adopt(asked).run.name == older.run.name
    assert other.lost() == 0


async def test_a_start_that_awaits_the_first_frame_changes_nothing() -> None:
    bench = LogBench()
    live = bench.start()
    before = bench.store.now
    pending = bench.request(ResumeAbove())
    bench.settle()
    assert pending.outcome.result() == AwaitFirstFrame()
    assert bench.store.now is before
    assert not live.is_fenced
    bench.confirm(0)
    assert bench.heard_by.acked == 0


async def test_a_start_without_a_right_is_refused_and_the_next_is_decided() -> None:
    bench = LogBench()
    pending = bench.request(access=Access.TOKEN)
    bench.settle()
    live = bench.adopt(pending)
    refused, granted = bench.request(Resume()), bench.request(Resume(), Access.TOKEN)
    bench.settle()
    assert isinstance(failure(refused), NotAllowed)
    assert bench.adopt(granted).run.access is Access.TOKEN
    assert live.is_fenced


async def test_a_start_that_was_requested_long_before_that_of_the_holder_is_superseded() -> None:
    bench, other = LogBench(), None
    requested_at = bench.clock.now
    bench.clock.now += 5
    other = LogBench("b", beside=bench)
    holder = other.start()
    bench.clock.now += 5
    pending = bench.request(Resume(), requested_at=requested_at)
    bench.settle()
    assert isinstance(failure(pending), Superseded)
    other.confirm(0)
    assert not holder.is_fenced
    assert bench.log.is_done


async def test_a_start_after_a_loss_is_granted_later_than_the_lease_that_was_lost() -> None:
    bench = LogBench(limits=BufferLimits(rewind_seconds=0.0))
    lost = bench.start()
    bench.end()
    bench.settle()
    bench.log.leave(lost)
    bench.store.wipe()
    assert bench.start().lease.granted_at_ms > lost.lease.granted_at_ms


async def test_a_run_began_when_its_first_generation_did() -> None:
    bench = LogBench()
    first = bench.start()
    began = bench.clock.now
    bench.clock.now += 5
    resumed = bench.start(Resume())
    bench.clock.now += 5
    another = bench.start()
    runs = (first, resumed, another)
    assert [live.run_started_at for live in runs] == [began, began, bench.clock.now]


# A head that is stale


async def test_a_start_that_was_decided_on_a_stale_head_is_decided_once_more() -> None:
    """Another process began meanwhile: the conflict names its head."""
    bench = LogBench()
    other = LogBench("b", beside=bench)
    pending = bench.request(Resume())
    decide(bench)
    append = bench.append()
    holder = other.start()
    other.confirm(0)
    bench.answer(append)
    assert not pending.outcome.done()
    bench.settle()
    live = bench.adopt(pending)
    assert live.run.name == holder.run.name
    assert live.lease.order > holder.lease.order
    assert live.interaction.last_seq == 0
    assert [type(entry) for entry in bench.stored()].count(Ended) == 0


@pytest.mark.parametrize("loss", ["wipe", "roll back"])
async def test_a_start_that_was_decided_before_the_store_came_back_is_decided_once_more(
    loss: str,
) -> None:
    """What was decided for one past of the store is not stored in another."""
    bench = LogBench()
    bench.start()
    bench.confirm(0, 1)
    pending = bench.request(Resume())
    decide(bench)
    append = bench.append()
    if loss == "wipe":
        bench.store.wipe()
    else:
        bench.store.roll_back(1)
    bench.answer(append)
    assert bench.stored_seqs() == ([] if loss == "wipe" else [0])
    assert not pending.outcome.done()
    bench.settle()
    live = bench.adopt(pending)
    assert bench.stored_seqs() == [0, 1]
    assert live.interaction.last_seq == 1
    bench.confirm(2)
    assert bench.stored_seqs() == [0, 1, 2]


async def test_a_start_whose_answer_was_lost_is_stored_once() -> None:
    bench = LogBench()
    pending = bench.request()
    decide(bench)
    bench.step("answer lost")
    assert not pending.outcome.done()
    bench.settle()
    live = bench.adopt(pending)
    assert live.run.name == bench.stored()[0].run  # type: ignore[union-attr]
    assert len(bench.stored()) == 1
    bench.confirm(0)
    assert bench.stored_seqs() == [0]


async def test_a_start_whose_answer_was_lost_and_that_was_superseded_meanwhile_is_refused() -> None:
    bench, other = LogBench(), None
    pending = bench.request()
    decide(bench)
    bench.step("answer lost")
    other = LogBench("b", beside=bench)
    other.start(Resume())
    bench.settle()
    assert isinstance(failure(pending), Superseded)
    other.confirm(0)
    assert not other.heard_by.is_fenced


async def test_a_start_that_arrives_late_is_the_same_start() -> None:
    """Its first attempt is stored after the store came back, when it is decided once more."""
    bench = LogBench()
    pending = bench.request()
    decide(bench)
    first = bench.append()
    bench.log.settle_append(LOST)
    second = bench.append()
    bench.store.append(first)
    bench.answer(second)
    bench.settle()
    live = bench.adopt(pending)
    assert len(bench.stored()) == 1
    bench.confirm(0)
    assert not live.is_fenced
    assert bench.stored_seqs() == [0]


def withdrawn_and_arrived_late(bench: LogBench) -> PendingStart:
    """Have a start withdrawn, since another process began, and then found in the store."""
    other = LogBench("b", beside=bench)
    pending = bench.request()
    decide(bench)
    first = bench.append()
    bench.log.settle_append(LOST)
    second = bench.append()
    other.start()
    bench.answer(second)
    bench.store.roll_back(2)
    bench.store.append(first)
    bench.settle()
    return pending


async def test_a_start_that_was_withdrawn_and_arrives_late_is_found_to_be_held() -> None:
    bench = LogBench()
    pending = withdrawn_and_arrived_late(bench)
    live = bench.adopt(pending)
    assert len(bench.stored()) == 1
    assert live.lease.owner == bench.head.lease.owner
    assert bench.log.quiet_seconds(bench.clock.now + 1.0) == pytest.approx(1.0)
    bench.hear(0)
    bench.answer(bench.append())
    assert bench.stored_seqs() == [0], "it is appended after the head that was found"
    assert bench.head.begun_at == 0
    bench.clock.now += 1.0
    bench.hear(1)
    bench.answer(bench.append())
    bench.store.roll_back(1)
    bench.doubt()
    bench.settle()
    assert bench.stored() == [bench.stored()[0], frame(0), frame(1)], "positions are as they were"


async def test_what_follows_a_start_that_was_found_to_be_held_is_written_again() -> None:
    bench = LogBench()
    pending = withdrawn_and_arrived_late(bench)
    bench.adopt(pending)
    bench.confirm(0)
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == [0]
    assert bench.lost() == 0


async def test_a_start_whose_answer_was_lost_is_followed_by_what_is_heard_at_once() -> None:
    bench = LogBench()
    pending = bench.request()
    decide(bench)
    bench.step("answer lost")
    bench.append()
    bench.log.settle_append(Conflict(bench.head))
    bench.adopt(pending)
    bench.hear(0)
    bench.answer(bench.append())
    assert bench.stored_seqs() == [0]


# Fences and ends


async def test_a_start_ends_the_run_of_another_process_and_does_not_confirm_it_as_its_own() -> None:
    bench = LogBench()
    other = LogBench("b", beside=bench)
    other.start()
    other.confirm(*range(50))
    live = bench.start()
    ended = bench.stored()[-2]
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.DISCONNECTED
    assert bench.here.published.last_seq is None
    assert bench.heard_by.acked == -1
    assert live.interaction.last_seq is None
    bench.store.wipe()
    bench.confirm(0)
    assert bench.stored_seqs() == [0]
    assert {type(entry) for entry in bench.stored()} == {Started, type(frame(0))}


async def test_the_end_of_a_run_that_another_process_has_resumed_is_not_held_as_its_own() -> None:
    bench = LogBench()
    bench.start()
    bench.confirm(0)
    other = LogBench("b", beside=bench)
    other.clock.now += 1
    other.start(Resume())
    other.confirm(1)
    bench.start()
    bench.confirm(0)
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert [type(entry) for entry in bench.stored()] == [Started, AudioFrame]
    assert bench.lost() == 0


async def test_a_run_that_a_newer_one_followed_here_is_ended_by_its_start_alone() -> None:
    bench = LogBench()
    bench.start()
    bench.confirm(0)
    bench.start()
    assert [type(it) for it in bench.stored()] == [Started, type(frame(0)), Ended, Started]
    assert bench.telemetry.run_ends == {"replaced": 1}
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert [type(it) for it in bench.stored()] == [Started, type(frame(0)), Ended, Started]


async def test_what_this_process_retains_survives_its_next_start() -> None:
    bench = LogBench()
    bench.start()
    bench.confirm(0, 1)
    bench.start(Resume())
    bench.confirm(2)
    bench.store.roll_back(4)
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == [0, 1, 2]
    assert [e.generation for e in bench.stored() if isinstance(e, Started)] == [1, 2]


async def test_what_this_process_retains_does_not_survive_another_writer_in_between() -> None:
    bench = LogBench()
    bench.start()
    bench.confirm(0)
    other = LogBench("b", beside=bench)
    other.start(Resume())
    other.confirm(1)
    bench.doubt()
    bench.settle()
    bench.start(Resume())
    assert bench.retained == 0
    bench.confirm(2)
    bench.store.wipe()
    bench.doubt()
    bench.settle()
    assert bench.stored_seqs() == [2]
    assert bench.account.ledger.lost == 2
    assert bench.account.ledger.missing == 2


async def test_a_process_that_abandons_its_stream_gives_up_every_start() -> None:
    bench = LogBench()
    bench.start()
    bench.hear(0)
    pending = bench.request()
    bench.log.abandon()
    assert isinstance(failure(pending), BrokerUnavailable)
    assert bench.here.is_fenced
    assert bench.lost() == bench.telemetry.counted["lost", "not_stored"] == 1
    assert bench.unconfirmed == 0
    assert bench.state is LogState.CLOSED


async def test_an_append_that_is_answered_after_all_was_abandoned_changes_nothing_more() -> None:
    bench = LogBench()
    bench.start()
    for outcome in ("ok", "lost"):
        bench.hear(bench.here.interaction.unnumbered_seq)
        append = bench.append()
        bench.log.abandon()
        if outcome == "ok":
            bench.answer(append)
        else:
            bench.log.settle_append(LOST)
        bench.settle()
        assert bench.unconfirmed == 0
        assert bench.log.is_done
        bench.start()
    assert bench.lost() == 2


async def test_a_log_that_was_abandoned_while_a_start_was_in_flight_takes_frames_again() -> None:
    bench = LogBench()
    bench.start()
    bench.request()
    decide(bench)
    bench.append()
    bench.log.abandon()
    bench.log.settle_append(LOST)
    assert not bench.log.is_full
    bench.start()
    bench.confirm(0)
    assert bench.stored_seqs() == [0]


def test_a_request_is_settled_once() -> None:
    async def story() -> None:
        bench = LogBench()
        pending = bench.request()
        pending.settle(AwaitFirstFrame())
        pending.fail(NotAllowed("later"))
        assert pending.outcome.result() == AwaitFirstFrame()
        assert replace(pending.request(bench.clock.now + 1.5)).waited_ms == 1_500

    asyncio.run(story())
