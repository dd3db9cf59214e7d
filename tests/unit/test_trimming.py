"""Which entries are older than retention, and how exactly that is remembered."""

from application.delivery.trimming import STEP_SECONDS, Trimming
from application.ports.store import BEGINNING, Mark

RETENTION = 60.0


def test_nothing_may_be_trimmed_before_it_is_as_old_as_the_retention() -> None:
    trimming, now = Trimming(RETENTION), 1_000.0
    taken_at: dict[int, float] = {}
    for position in range(2_000):
        now += 0.1
        taken_at[position] = now
        keep_from = trimming.first_to_keep(now, 1, position + 1).position
        young = [it for it, at in taken_at.items() if now - at < RETENTION]
        old = [it for it, at in taken_at.items() if now - at > RETENTION + STEP_SECONDS + 0.2]
        assert keep_from <= min(young)
        assert keep_from > max(old, default=-1)


def test_what_may_be_trimmed_never_goes_back() -> None:
    trimming = Trimming(10.0)
    kept = [trimming.first_to_keep(7.0 * number, 1, number).position for number in range(20)]
    assert kept == sorted(kept)
    assert kept[-1] == 17  # taken 14 s before the last


def test_a_silent_stream_may_lack_all_that_was_before_its_silence() -> None:
    trimming = Trimming(10.0)
    trimming.first_to_keep(0.0, 1, 3)
    assert trimming.first_to_keep(3_600.0, 1, 4) == Mark(1, 3)


def test_a_mark_has_the_generation_under_which_its_position_was_taken() -> None:
    trimming = Trimming(10.0)
    trimming.first_to_keep(0.0, 1, 3)
    trimming.first_to_keep(5.0, 2, 4)
    assert trimming.first_to_keep(11.0, 2, 5) == Mark(1, 3)
    assert trimming.first_to_keep(15.0, 2, 6) == Mark(2, 4)


def test_the_ages_that_are_remembered_are_bounded() -> None:
    trimming = Trimming(RETENTION)
    for number in range(10_000):
        trimming.first_to_keep(number * 0.01, 1, number)
        assert len(trimming._taken) <= RETENTION / STEP_SECONDS + 1


def test_positions_that_are_written_again_are_young_again() -> None:
    """The rule of a rebase: what is behind its first position is taken back."""
    trimming = Trimming(10.0)
    for second in range(5):
        trimming.first_to_keep(float(second), 1, 10 * second)
    trimming.reset_to(25)
    assert trimming.first_to_keep(10.0, 2, 26) == Mark(1, 0)
    assert trimming.first_to_keep(14.0, 2, 27) == Mark(1, 20)
    assert trimming.first_to_keep(19.9, 2, 28) == Mark(1, 20)
    assert trimming.first_to_keep(20.0, 2, 29) == Mark(2, 26)


def test_what_was_old_and_is_written_again_may_not_be_trimmed() -> None:
    trimming = Trimming(10.0)
    trimming.first_to_keep(0.0, 1, 50)
    assert trimming.first_to_keep(10.0, 1, 60) == Mark(1, 50)
    trimming.reset_to(0)
    assert trimming.first_to_keep(11.0, 2, 5) == BEGINNING
    assert trimming.first_to_keep(21.0, 2, 9) == Mark(2, 5)


def test_what_is_old_and_below_a_rebase_stays_old() -> None:
    trimming = Trimming(10.0)
    trimming.first_to_keep(0.0, 1, 50)
    trimming.first_to_keep(10.0, 1, 60)
    trimming.reset_to(55)
    assert trimming.first_to_keep(11.0, 2, 56) == Mark(1, 50)
