"""Log lines in a flood, in virtual time."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from virtual_time import TimelessLoop, timeless_runner

from adapters.inbound.reporting.log_limiter import MAX_ADDRESSES, MAX_KINDS, LogLimiter


class Written(logging.Handler):
    """Notes what is written and when."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[float, Any]] = []
        self.began = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((asyncio.get_running_loop().time() - self.began, record))

    @property
    def lines(self) -> list[tuple[float, str, int]]:
        return [(round(at, 3), record.getMessage(), record.count) for at, record in self.records]


@pytest.fixture
def written() -> Iterator[Written]:
    logger, handler = logging.getLogger("tests.log_limiter"), Written()
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def run(written: Written, scene: Any) -> None:
    """Run a scene over a fresh limiter, at second 0 of virtual time."""

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TimelessLoop)
        written.began = loop.time()
        await scene(LogLimiter(logging.getLogger("tests.log_limiter")))

    with timeless_runner() as runner:
        runner.run(begin())


def test_the_first_of_a_kind_is_written_at_once_and_alone(written: Written) -> None:
    async def scene(limiter: LogLimiter) -> None:
        limiter.write("a", "one", {"peer": "p"})
        limiter.write("b", "two", {}, level=logging.ERROR)
        await asyncio.sleep(10)

    run(written, scene)
    assert written.lines == [(0, "one", 1), (0, "two", 1)]
    assert [record.levelno for _, record in written.records] == [logging.WARNING, logging.ERROR]
    assert written.records[0][1].peer == "p"


def test_those_that_follow_within_the_second_are_one_line_at_its_end(written: Written) -> None:
    async def scene(limiter: LogLimiter) -> None:
        for number in range(5):
            limiter.write("a", f"{number}", {})
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)

    run(written, scene)
    assert written.lines == [(0, "0", 1), (1, "4", 4)]


def test_a_line_follows_the_summary_a_second_later_at_the_earliest(written: Written) -> None:
    async def scene(limiter: LogLimiter) -> None:
        limiter.write("a", "first", {})
        limiter.write("a", "second", {})
        await asyncio.sleep(1.5)
        limiter.write("a", "third", {})
        await asyncio.sleep(2)
        limiter.write("a", "fourth", {})
        await asyncio.sleep(5)

    run(written, scene)
    assert written.lines == [(0, "first", 1), (1, "second", 1), (2, "third", 1), (3.5, "fourth", 1)]


def test_a_flood_of_many_kinds_is_a_line_a_second_of_each_and_none_is_left_out(
    written: Written,
) -> None:
    async def scene(limiter: LogLimiter) -> None:
        for number in range(1_000):
            limiter.write(number % 3, f"{number % 3}", {})
            await asyncio.sleep(0.004)
        await asyncio.sleep(2)

    run(written, scene)
    counted: Counter[str] = Counter()
    for kind in "012":
        times = [at for at, message, _ in written.lines if message == kind]
        assert len(times) <= 6
        assert all(later - earlier >= 0.999 for earlier, later in pairwise(times))
    for _, message, count in written.lines:
        counted[message] += count
    assert counted == {"0": 334, "1": 333, "2": 333}


def test_what_waits_is_written_when_it_is_closed_and_nothing_waits_any_more(
    written: Written,
) -> None:
    async def scene(limiter: LogLimiter) -> None:
        for word in ("one", "two", "three"):
            limiter.write("a", word, {})
        await asyncio.sleep(0.5)
        limiter.close()
        limiter.write("a", "late", {})
        limiter.write("a", "later", {})
        await asyncio.sleep(5)

    run(written, scene)
    assert written.lines == [(0, "one", 1), (0.5, "three", 2), (0.5, "late", 1), (0.5, "later", 1)]


def test_kinds_beyond_a_bound_share_one(written: Written) -> None:
    async def scene(limiter: LogLimiter) -> None:
        for kind in range(MAX_KINDS + 500):
            limiter.write(kind, "line", {})
        assert len(limiter._waiting) == len(limiter._timers) == MAX_KINDS + 1
        await asyncio.sleep(5)
        assert not limiter._waiting
        assert not limiter._timers

    run(written, scene)
    assert len(written.lines) == MAX_KINDS + 2
    assert sum(count for _, _, count in written.lines) == MAX_KINDS + 500


def test_a_bug_is_written_with_its_traceback(written: Written) -> None:
    async def scene(limiter: LogLimiter) -> None:
        try:
            raise LookupError("why")  # noqa: TRY301
        except LookupError as error:
            limiter.write("a", "failed", {}, error=error)
            limiter.write("a", "failed", {}, error=error)
        await asyncio.sleep(2)

    run(written, scene)
    assert [record.exc_info[0] for _, record in written.records] == [LookupError] * 2


def test_a_line_says_from_how_many_addresses_those_came_that_it_stands_for(
    written: Written,
) -> None:
    async def scene(limiter: LogLimiter) -> None:
        for address in ("a", "b", "c", "b", None):
            limiter.write("few", "line", {}, address=address)
        for number in range(MAX_ADDRESSES * 3):
            limiter.write("many", "line", {}, address=f"{number}")
        await asyncio.sleep(2)

    run(written, scene)
    assert [(record.count, record.addresses) for _, record in written.records] == [
        (1, 1), (1, 1), (4, 2), (MAX_ADDRESSES * 3 - 1, MAX_ADDRESSES),
    ]  # fmt: skip
