"""One request to stop, however many signals it arrives as."""

from signal import SIGINT, SIGTERM

import pytest

from entrypoints.stop_signals import AT_ONCE, StopSignals


def noted(*arrivals: tuple[int, float]) -> StopSignals:
    now = 100.0
    stop = StopSignals(clock=lambda: now)
    for number, seconds in arrivals:
        now = 100.0 + seconds
        stop.note(number)
    return stop


@pytest.mark.parametrize(
    "arrivals",
    [
        [(SIGTERM, 0)],
        [(SIGTERM, 0), (SIGTERM, 0.001)],
        [(SIGTERM, 0), (SIGTERM, 1.0), (SIGTERM, 1.9)],
        [(SIGINT, 0), (SIGTERM, 0.01), (SIGTERM, 1.9)],
        [(SIGTERM, 0), (SIGINT, 0.01)],
        [(SIGINT, 0), (SIGINT, 0.05)],
    ],
)
def test_signals_close_to_the_first_are_one_request(arrivals: list[tuple[int, float]]) -> None:
    stop = noted(*arrivals)
    assert stop.first == arrivals[0][0]
    assert not stop.is_repeated


@pytest.mark.parametrize(
    "arrivals",
    [
        [(SIGTERM, 0), (SIGTERM, 2.0)],
        [(SIGTERM, 0), (SIGTERM, 1.0), (SIGTERM, 2.1)],
        [(SIGTERM, 0), (SIGTERM, 2.1), (SIGTERM, 2.2)],
        [(SIGINT, 0), (SIGTERM, 2.0)],
        [(SIGINT, 0), (SIGINT, 0.3)],
        [(SIGTERM, 0), (SIGINT, 0.3)],
        [(SIGTERM, 0), (AT_ONCE, 0.0)],
        [(AT_ONCE, 0)],
    ],
)
def test_a_signal_later_than_that_is_a_repetition(arrivals: list[tuple[int, float]]) -> None:
    assert noted(*arrivals).is_repeated


def test_ctrl_c_is_an_interrupt_only_if_it_is_first() -> None:
    assert noted((SIGINT, 0), (SIGTERM, 0.01)).is_interrupt
    assert not noted((SIGTERM, 0), (SIGINT, 0.01)).is_interrupt
    assert not noted().is_interrupt
