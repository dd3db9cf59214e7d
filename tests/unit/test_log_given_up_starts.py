"""Starts that are given up, as the log decides them: before they are decided, sent or answered."""

import pytest
from log_bench import LogBench, decide
from stream_model import LOST

from application.ports.store import Conflict
from domain.head import start_of


async def test_a_start_that_is_given_up_before_it_is_decided_changes_nothing() -> None:
    bench = LogBench()
    live = bench.start()
    before = bench.store.now
    pending = bench.request()
    pending.give_up()
    bench.settle()
    assert bench.store.now is before
    assert not live.is_fenced
    assert pending.outcome.cancelled()
    assert not bench.log.is_start_requested


async def test_a_start_that_is_given_up_before_it_is_sent_changes_nothing() -> None:
    """It is decided and queued; many streams may have their turn before it."""
    bench = LogBench()
    older = bench.start()
    before = bench.store.now
    pending = bench.request()
    decide(bench)
    bench.hear(0, live=older)
    pending.give_up()
    bench.settle()
    assert bench.store.past[-2] is before
    assert bench.stored_seqs() == [0]
    assert not older.is_fenced
    assert bench.late == []


async def test_a_start_that_is_given_up_before_it_is_sent_leaves_the_next_its_turn() -> None:
    bench = LogBench()
    given_up, next_one = bench.request(), bench.request()
    decide(bench)
    given_up.give_up()
    bench.settle()
    live = bench.adopt(next_one)
    assert (live.run.name, live.lease.generation) == ("a2", 1)
    assert bench.late == []
    assert len(bench.stored()) == 1


@pytest.mark.parametrize("fate", ["ok", "answer lost"])
async def test_a_start_that_is_given_up_in_flight_and_stored_is_handed_over_as_late(
    fate: str,
) -> None:
    bench = LogBench()
    pending = bench.request()
    decide(bench)
    append = bench.append()
    pending.give_up()
    if fate == "ok":
        bench.answer(append)
    else:
        bench.store.append(append)
        bench.log.settle_append(LOST)
    bench.settle()
    (live,) = bench.late
    assert live.lease.owner == bench.head.lease.owner
    assert pending.outcome.cancelled()
    assert bench.log.live is live
    assert live.is_catching_up


async def test_a_start_that_was_given_up_is_not_decided_once_more() -> None:
    """Its append was in flight and was refused: nothing of it may be begun any more."""
    bench = LogBench()
    other = LogBench("b", beside=bench)
    pending = bench.request()
    decide(bench)
    append = bench.append()
    pending.give_up()
    holder = other.start()
    bench.answer(append)
    bench.settle()
    assert bench.late == []
    assert not bench.log.is_start_requested
    assert bench.log.is_done
    other.confirm(0)
    assert not holder.is_fenced


async def test_a_start_that_is_given_up_when_it_was_withdrawn_leaves_the_older_one_alone() -> None:
    bench = LogBench()
    older = bench.start()
    pending = bench.request()
    decide(bench)
    bench.append()
    bench.log.settle_append(Conflict(bench.head))
    assert not bench.log.is_full, "its sender is read again"
    pending.give_up()
    bench.settle()
    assert not older.is_fenced
    bench.confirm(0)
    assert bench.stored_seqs() == [0]


async def test_a_given_up_start_whose_append_arrives_late_is_not_live() -> None:
    """It was withdrawn after a conflict, and the store then came to have it all the same."""
    bench = LogBench()
    other = LogBench("b", beside=bench)
    pending = bench.request()
    decide(bench)
    first = bench.append()
    bench.log.settle_append(LOST)
    second = bench.append()
    pending.give_up()
    other.start()
    bench.answer(second)
    bench.store.roll_back(2)
    bench.store.append(first)
    bench.settle()
    (live,) = bench.late
    assert live.lease.owner == bench.head.lease.owner


async def test_a_start_that_is_given_up_leaves_the_one_before_it_queued() -> None:
    bench = LogBench()
    first, second = bench.request(), bench.request()
    decide(bench)
    bench.work.clear()
    second.give_up()
    assert bench.work == [bench.log], "who waits for the starts is woken"
    bench.answer(bench.append())
    assert bench.adopt(first).lease == bench.head.lease


async def test_each_attempt_of_a_start_has_a_token_of_its_own_and_of_the_same_request() -> None:
    bench = LogBench()
    other = LogBench("b", beside=bench)
    bench.request()
    owners = []
    for _ in range(3):
        decide(bench)
        sent = bench.append()
        owners.append(sent.head.lease.owner)
        other.start()
        bench.answer(sent)
    assert len(set(owners)) == 3
    assert {start_of(owner) for owner in owners} == {"a1"}


async def test_a_start_that_is_given_up_twice_is_given_up_once() -> None:
    bench = LogBench()
    pending = bench.request()
    pending.give_up()
    pending.give_up()
    other = bench.request()
    bench.settle()
    bench.adopt(other)
    other.give_up()
    assert not other.is_given_up
    bench.confirm(0)
