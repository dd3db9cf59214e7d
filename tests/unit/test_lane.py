"""The lane of one part: whose work it has, and whom it wakes for it."""

import asyncio

import pytest
from log_bench import LogBench

from application.delivery.lane import Lane


def lane_with_work() -> tuple[Lane, LogBench]:
    lane, bench = Lane("a", 0.0), LogBench()
    lane.add(bench.log)
    lane.note_work(bench.log)
    return lane, bench


async def test_a_log_that_is_removed_has_no_more_work_in_the_lane() -> None:
    lane, bench = lane_with_work()
    lane.remove(bench.log)
    assert not lane.logs
    assert not lane.with_work


async def test_a_log_that_is_removed_is_neither_refused_nor_out_of_sync_in_the_lane() -> None:
    lane, bench = lane_with_work()
    lane.refused.add(bench.log)
    lane.out_of_sync.add(bench.log)
    lane.remove(bench.log)
    assert not lane.refused
    assert lane.is_in_sync


async def test_a_lane_keeps_its_witness_until_that_is_removed() -> None:
    lane, bench = lane_with_work()
    other = LogBench()
    lane.add(other.log)
    lane.witness = bench.log
    lane.remove(other.log)
    assert lane.witness is bench.log
    lane.remove(bench.log)
    assert lane.witness is None


async def test_a_log_that_is_paused_has_no_work_until_it_is_continued() -> None:
    lane, bench = lane_with_work()
    lane.pause(bench.log)
    lane.note_work(bench.log)
    assert not lane.with_work


async def test_a_log_that_was_removed_while_it_was_paused_is_served_when_it_is_back() -> None:
    lane, bench = lane_with_work()
    lane.pause(bench.log)
    lane.remove(bench.log)
    lane.add(bench.log)
    lane.note_work(bench.log)
    assert list(lane.with_work) == [bench.log]


async def test_one_that_no_longer_waits_for_work_is_not_woken_in_place_of_another() -> None:
    lane, bench = Lane("a", 0.0), LogBench()
    lane.add(bench.log)
    first = asyncio.create_task(lane.wait_for_work())
    last = asyncio.create_task(lane.wait_for_work())
    await asyncio.sleep(0)
    last.cancel()
    with pytest.raises(asyncio.CancelledError):
        await last
    lane.note_work(bench.log)
    await asyncio.wait_for(first, 10)
