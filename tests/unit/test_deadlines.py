"""By when a sender must be heard, and for how long a call may last."""

import pytest

from application.call.closing import IDLE, NO_START, TOO_LONG, Closing
from application.call.deadlines import STANDSTILL_SECONDS, Deadlines, TimeLimits

START, SILENT, CALL = 10.0, 20.0, 60.0
LIMITS = TimeLimits(START, SILENT, CALL, confirm_seconds=10.0, drain_seconds=5.0)


def hear_until(deadlines: Deadlines, seconds: float) -> tuple[float, Closing] | None:
    """Let a message come each second; return when the connection is closed, and how."""
    now = 0.0
    while now < seconds:
        now += 1.0
        if (closing := deadlines.overdue(now)) is not None:
            return now, closing
        deadlines.heard_at = now
    return None


def test_a_sender_that_speaks_and_does_not_start_is_closed_in_time() -> None:
    assert hear_until(Deadlines(LIMITS, 0.0), 2 * CALL) == (START, NO_START)


def test_a_sender_whose_start_is_not_decided_is_closed_when_a_call_would_be_too_long() -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.is_requested = True
    assert hear_until(deadlines, 2 * CALL) == (CALL, TOO_LONG)


def test_a_call_may_last_so_long_from_its_start_on() -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.is_requested, deadlines.live_since = True, 7.0
    assert hear_until(deadlines, 2 * CALL) == (7.0 + CALL, TOO_LONG)


@pytest.mark.parametrize(("is_started", "closing"), [(False, NO_START), (True, IDLE)])
def test_a_silent_sender_is_closed(is_started: bool, closing: Closing) -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.is_requested = True
    deadlines.live_since = 0.0 if is_started else None
    assert deadlines.due_at == SILENT
    assert deadlines.overdue(SILENT) is closing


@pytest.mark.parametrize("is_started", [False, True])
def test_a_sender_that_is_not_read_is_not_silent(is_started: bool) -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.is_requested = True
    deadlines.live_since = 0.0 if is_started else None
    deadlines.is_paused = True
    assert deadlines.due_at == CALL


@pytest.mark.parametrize("is_started", [False, True])
def test_a_sender_that_has_ended_need_not_be_heard(is_started: bool) -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.is_requested, deadlines.has_ended = True, True
    deadlines.live_since = 0.0 if is_started else None
    assert deadlines.due_at == CALL


def test_a_sender_that_may_wait_for_the_answer_to_its_start_is_not_silent_until_it_has_it() -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.note_requested(is_answered=True)
    assert deadlines.due_at == CALL
    granted_at = SILENT + 5.0
    assert deadlines.overdue(granted_at) is None
    deadlines.note_live(granted_at, granted_at)
    assert deadlines.due_at == granted_at + SILENT


def test_the_silence_of_a_sender_that_gets_no_answer_counts_before_its_start_is_granted() -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.note_requested(is_answered=False)
    assert deadlines.due_at == SILENT
    deadlines.note_live(5.0, 5.0)
    assert deadlines.due_at == SILENT


def test_time_in_which_this_process_stood_still_is_no_silence_of_the_sender() -> None:
    deadlines = Deadlines(LIMITS, 0.0)
    deadlines.is_requested, deadlines.live_since = True, 0.0
    late = SILENT + 2 * STANDSTILL_SECONDS
    assert deadlines.overdue(late) is None
    assert deadlines.due_at == late + SILENT
