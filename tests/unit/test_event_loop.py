"""A busy event loop looks at its sockets once in a while, and no timer of it is late for that.

Time passes here only where the loop works, sleeps or waits for a socket.
"""

import asyncio
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.event_loop import (
    BUSY_SHARE,
    IDLE_SHARE,
    WINDOW_SECONDS,
    CoalescingSelector,
    run,
)

WAIT = 0.001


@dataclass
class Time:
    """A clock by hand, and how long it was slept at once."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


class Looks(CoalescingSelector):
    """Tells when the kernel was really asked; a socket is ready then."""

    def __init__(self, time: Time) -> None:
        super().__init__(WAIT, time.clock, time.sleep)
        self.time = time
        self.looks: list[float] = []
        self.readable, self.other = socket.socketpair()
        self.register(self.readable, selectors.EVENT_READ)
        self.other.send(b"x")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        if ready:
            self.looks.append(self.time.now)
        return ready

    def close(self) -> None:
        super().close()
        self.readable.close()
        self.other.close()

    def work(self, seconds: float, timeout: float | None = None) -> None:
        """Do as a loop does: work, then ask what is ready."""
        self.time.now += seconds
        self.select(timeout)

    def work_for(self, seconds: float) -> None:
        """Work a twentieth of a millisecond for each look, without a pause."""
        until = self.time.now + seconds
        while self.time.now < until:
            self.work(0.000_05, 0)


@pytest.fixture
def looks() -> Iterator[Looks]:
    selector = Looks(Time())
    yield selector
    selector.close()


def test_a_loop_with_little_to_do_looks_whenever_it_asks(looks: Looks) -> None:
    for _ in range(1_000):
        looks.time.now += 0.000_9  # the kernel is asked meanwhile: nothing is to be done
        looks._returned_at = looks.time.now
        looks.work(0.000_1)
    assert not looks.is_busy
    assert len(looks.looks) == 1_000
    assert not looks.time.slept


def test_a_busy_loop_looks_once_in_its_wait_while_callbacks_are_due(looks: Looks) -> None:
    looks.work_for(2 * WINDOW_SECONDS)
    assert looks.is_busy
    looks.looks.clear()
    looks.work_for(100 * WAIT)
    assert 95 <= len(looks.looks) <= 100
    assert not looks.time.slept, "there was always something to do"


def test_a_busy_loop_without_a_callback_sleeps_until_it_may_look(looks: Looks) -> None:
    looks.work_for(2 * WINDOW_SECONDS)
    looks.work(WAIT, 0)
    looked_at = looks.looks[-1]
    looks.work(WAIT / 4, None)
    assert looks.looks[-1] == pytest.approx(looked_at + WAIT)
    assert looks.time.slept == [pytest.approx(WAIT * 3 / 4)]


def test_a_loop_that_was_busy_looks_at_once_again(looks: Looks) -> None:
    looks.work_for(2 * WINDOW_SECONDS)
    assert looks.is_busy
    for _ in range(200):  # a twentieth of a core
        looks.time.now += 0.000_95
        looks._returned_at = looks.time.now
        looks.work(0.000_05, None)
    assert not looks.is_busy


@given(st.lists(st.tuples(st.floats(0, 0.003), st.sampled_from([0, 0.000_3, 0.002, None]))))
def test_no_timer_is_late_and_no_socket_waits_longer_than_the_wait(
    turns: list[tuple[float, float | None]],
) -> None:
    looks = Looks(Time())
    try:
        looks.work_for(2 * WINDOW_SECONDS)
        for worked, timeout in turns:
            asked_at = looks.time.now + worked
            looks.work(worked, timeout)
            if timeout is not None:
                assert looks.time.now <= asked_at + timeout + 1e-9
            last = looks.looks[-1]
            assert looks.time.now - last < WAIT + 1e-9
        for before, after in pairwise(looks.looks):
            longest = max([0.0, *(worked for worked, _ in turns)])
            assert after - before <= WAIT + longest + 1e-9
    finally:
        looks.close()


@given(st.floats(0, 1), st.booleans())
def test_busy_begins_above_one_share_and_ends_below_another(share: float, was_busy: bool) -> None:
    looks = Looks(Time())
    try:
        looks.is_busy = was_busy
        for _ in range(3):
            looks.time.now += WINDOW_SECONDS * (1 - share)
            looks._returned_at = looks.time.now
            looks.work(WINDOW_SECONDS * share + 1e-9, None)
        if share > BUSY_SHARE + 0.01:
            assert looks.is_busy
        elif share < IDLE_SHARE - 0.01:
            assert not looks.is_busy
        elif IDLE_SHARE + 0.01 < share < BUSY_SHARE - 0.01:
            assert looks.is_busy is was_busy
    finally:
        looks.close()


@pytest.mark.parametrize("seconds", [0.0, WAIT])
def test_a_process_runs_in_a_loop_with_or_without_it(seconds: float) -> None:
    found: list[object] = []

    async def main() -> None:
        await asyncio.sleep(0)
        found.append(asyncio.get_running_loop()._selector)  # type: ignore[attr-defined]

    run(main(), seconds)
    assert isinstance(found[0], CoalescingSelector) is (seconds > 0)
