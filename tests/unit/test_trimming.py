"""Which entries are older than retention, and how exactly that is remembered."""

from application.delivery.trimming import STEP_SECONDS, Trimming
from application.ports.store import BEGINNING, Mark

RETENTION = 60.0


def test_nothing_may_be_trimmed_before_it_is_as_old_as_the_retention() -> None:
    trimming, now = Trimming(RETENTION), 1_000.0
    stored_at: dict[int, float] = {}
    for position in range(2_000):
        now += 0.1
        stored_at[position] = now
        trimming.note_stored(Mark(1, position + 1), now)
        keep_from = trimming.first_to_keep(now).position
        young = [it for it, at in stored_at.items() if now - at < RETENTION]
        old = [it for it, at in stored_at.items() if now - at > RETENTION + STEP_SECONDS + 0.2]
        assert keep_from <= min(young)
        assert keep_from > max(old, default=-1)


def test_what_may_be_trimmed_never_goes_back() -> None:
    trimming, kept = Trimming(10.0), []
    for number in range(20):
        trimming.note_stored(Mark(1, number), 7.0 * number)
        kept.append(trimming.first_to_keep(7.0 * number).position)
    assert kept == sorted(kept)
    assert kept[-1] == 17  # stored 14 s before the last


def test_a_silent_stream_may_lack_all_that_was_before_its_silence() -> None:
    trimming = Trimming(10.0)
    trimming.note_stored(Mark(1, 3), 0.0)
    trimming.note_stored(Mark(1, 4), 3_600.0)
    assert trimming.first_to_keep(3_600.0) == Mark(1, 3)


def test_a_mark_has_the_generation_under_which_its_position_was_stored() -> None:
    trimming = Trimming(10.0)
    trimming.note_stored(Mark(1, 3), 0.0)
    trimming.note_stored(Mark(2, 4), 5.0)
    trimming.note_stored(Mark(2, 5), 11.0)
    assert trimming.first_to_keep(11.0) == Mark(1, 3)
    trimming.note_stored(Mark(2, 6), 15.0)
    assert trimming.first_to_keep(15.0) == Mark(2, 4)


def test_the_ages_that_are_remembered_are_bounded() -> None:
    trimming = Trimming(RETENTION)
    for number in range(10_000):
        trimming.note_stored(Mark(1, number), number * 0.01)
        trimming.first_to_keep(number * 0.01)
        assert len(trimming._stored) <= RETENTION / STEP_SECONDS + 1


def test_positions_that_are_written_again_are_young_again() -> None:
    """The rule of a rebase: what is after its first position is taken back."""
    trimming = Trimming(10.0)
    for second in range(5):
        trimming.note_stored(Mark(1, 10 * second), float(second))
    trimming.reset_to(25)
    trimming.note_stored(Mark(2, 26), 10.0)
    assert trimming.first_to_keep(10.0) == Mark(1, 0)
    trimming.note_stored(Mark(2, 27), 14.0)
    assert trimming.first_to_keep(14.0) == Mark(1, 20)
    trimming.note_stored(Mark(2, 28), 19.9)
    assert trimming.first_to_keep(19.9) == Mark(1, 20)
    trimming.note_stored(Mark(2, 29), 20.0)
    assert trimming.first_to_keep(20.0) == Mark(2, 26)


def test_what_was_old_and_is_written_again_may_not_be_trimmed() -> None:
    trimming = Trimming(10.0)
    trimming.note_stored(Mark(1, 50), 0.0)
    trimming.note_stored(Mark(1, 60), 10.0)
    assert trimming.first_to_keep(10.0) == Mark(1, 50)
    trimming.reset_to(0)
    trimming.note_stored(Mark(2, 5), 11.0)
    assert trimming.first_to_keep(11.0) == BEGINNING
    trimming.note_stored(Mark(2, 9), 21.0)
    assert trimming.first_to_keep(21.0) == Mark(2, 5)


def test_what_is_old_and_below_a_rebase_stays_old() -> None:
    trimming = Trimming(10.0)
    trimming.note_stored(Mark(1, 50), 0.0)
    trimming.note_stored(Mark(1, 60), 10.0)
    trimming.reset_to(55)
    trimming.note_stored(Mark(2, 56), 11.0)
    assert trimming.first_to_keep(11.0) == Mark(1, 50)
