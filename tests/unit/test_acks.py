"""When an ack is due, and for which seq."""

from hypothesis import given
from hypothesis import strategies as st

from application.call.acks import Acks

CONFIRMED = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=40)
"""Frames of each confirmation, and of how many of them the highest seq does not grow."""


@given(st.integers(1, 25), CONFIRMED)
def test_an_ack_is_due_for_every_interval_of_confirmed_frames(
    interval: int, confirmed: list[tuple[int, int]]
) -> None:
    acks, unacked, last_seq, acked = Acks(interval), 0, -1, list[int]()
    for frames, without_seq in confirmed:
        unacked, last_seq = unacked + frames, last_seq + max(0, frames - without_seq)
        assert acks.confirm(frames) == (unacked >= interval)
        assert acks.frames_to_ack == interval - unacked
        if unacked >= interval:
            seq = acks.take(last_seq if last_seq >= 0 else None)
            is_new = last_seq >= 0 and last_seq not in acked
            assert seq == (last_seq if is_new else None)
            if seq is not None:
                acked.append(seq)
            unacked = 0
            assert acks.frames_to_ack == interval
    assert acked == sorted(set(acked))


def test_a_due_ack_before_the_interval_has_the_frames_confirmed_so_far_once() -> None:
    acks = Acks(10)
    acks.confirm(3)
    assert acks.take(2) == 2
    assert acks.take(2) is None
    acks.confirm(1)
    assert acks.take(3) == 3


def test_without_an_interval_no_ack_is_ever_due() -> None:
    acks = Acks(0)
    assert not acks.confirm(1_000)
    assert acks.frames_to_ack is None
    assert acks.take(999) is None
