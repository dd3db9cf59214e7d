from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.backoff import Backoff

FIRST = st.floats(0.001, 10)
TIMES = st.floats(1, 100)
FACTOR = st.floats(1, 8)
SHARE = st.floats(0, 1)


def oracle(history: list[bool], first: float, cap: float, factor: float) -> float:
    """The full wait after a history of failures (True) and successes, from all of it."""
    in_a_row = 0
    while in_a_row < len(history) and history[-1 - in_a_row]:
        in_a_row += 1
    return min(first * factor ** (in_a_row - 1), cap) if in_a_row else 0.0


@given(st.lists(st.booleans(), max_size=30), FIRST, TIMES, FACTOR)
def test_the_wait_grows_with_failures_in_a_row_up_to_the_cap(
    history: list[bool], first: float, times: float, factor: float
) -> None:
    cap = first * times
    backoff = Backoff(first, cap, factor)
    for length, has_failed in enumerate(history, 1):
        if has_failed:
            assert backoff.note_failure() == backoff.seconds
        else:
            backoff.reset()
        assert backoff.seconds == pytest.approx(oracle(history[:length], first, cap, factor))
        assert (backoff.failures == 0) == (not has_failed)


@given(st.lists(st.tuples(st.booleans(), SHARE), max_size=30), FIRST, TIMES, FACTOR)
def test_with_jitter_each_wait_is_the_drawn_share_of_the_full_one(
    history: list[tuple[bool, float]], first: float, times: float, factor: float
) -> None:
    cap = first * times
    shares = iter([share for has_failed, share in history if has_failed])
    backoff = Backoff(first, cap, factor, draw=lambda: next(shares))
    for length, (has_failed, share) in enumerate(history, 1):
        if has_failed:
            full = oracle([failed for failed, _ in history[:length]], first, cap, factor)
            assert backoff.note_failure() == pytest.approx(share * full)
        else:
            backoff.reset()
            assert backoff.seconds == 0
    assert next(shares, None) is None, "one draw for each failure"


@given(FIRST, TIMES, FACTOR)
def test_an_outage_that_lasts_for_weeks_keeps_to_the_cap(
    first: float, times: float, factor: float
) -> None:
    backoff = Backoff(first, first * times, factor)
    waits = [backoff.note_failure() for _ in range(2_000)]  # 2.0 ** 1024 is no float
    assert waits == sorted(waits)
    assert waits[-1] <= first * times
    assert backoff.failures == 2_000


@pytest.mark.parametrize(
    ("first", "cap", "factor"),
    [
        (0, 1, 2),
        (2, 1, 2),
        (-1, 1, 2),
        (1, 2, 0.5),
        (1, inf, 2),
        (nan, 1, 2),
        (1, nan, 2),
        (1, 2, nan),
    ],
)
def test_a_backoff_that_would_not_wait_is_refused(first: float, cap: float, factor: float) -> None:
    with pytest.raises(ValueError, match="no backoff"):
        Backoff(first, cap, factor)
