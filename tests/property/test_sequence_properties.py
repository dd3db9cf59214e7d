import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import InvalidSequenceNumber
from domain.sequence import MAX_SEQ, Duplicate, Gap, InOrder, Verdict, check_seq, judge
from examples import examples

SEQS = st.one_of(
    st.integers(0, MAX_SEQ),
    st.integers(0, 40),
    st.integers(MAX_SEQ - 40, MAX_SEQ),
    st.integers(0, 40).map(lambda n: n * 10**12),
)


def verdict_of_one_integer(seq: int, expected: int | None) -> Verdict:
    """Judge by the one integer a receiver could hold instead: the seq it expects next."""
    if expected is None or seq == expected:
        return InOrder()
    if seq < expected:
        return Duplicate()
    return Gap(expected, seq - expected)


def verdict_of_sets(seq: int, heard: set[int]) -> Verdict:
    """Judge by counting off everything there could be; for small seqs only."""
    if not heard:
        return InOrder()
    absent = [number for number in range(seq) if all(number > other for other in heard)]
    if any(number >= seq for number in heard):
        return Duplicate()
    return Gap(absent[0], len(absent)) if absent else InOrder()


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(SEQS, max_size=60))
@example([0, 10**12, 10**12 + 1, 2 * 10**12, MAX_SEQ])
def test_verdicts_are_those_of_one_expected_integer(seqs: list[int]) -> None:
    highest, expected = None, None
    for seq in seqs:
        verdict = judge(seq, highest)
        assert verdict == verdict_of_one_integer(seq, expected)
        if not isinstance(verdict, Duplicate):
            highest, expected = seq, seq + 1


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.integers(0, 24), max_size=30))
def test_verdicts_are_those_of_the_set_of_all_seqs_accepted(seqs: list[int]) -> None:
    accepted: set[int] = set()
    for seq in seqs:
        verdict = judge(seq, max(accepted, default=None))
        assert verdict == verdict_of_sets(seq, accepted)
        if not isinstance(verdict, Duplicate):
            accepted.add(seq)


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.integers(0, 200), min_size=1, max_size=60))
def test_gaps_name_each_missing_seq_once(seqs: list[int]) -> None:
    accepted: list[int] = []
    missing: list[int] = []
    for seq in seqs:
        verdict = judge(seq, accepted[-1] if accepted else None)
        if isinstance(verdict, Gap):
            missing += range(verdict.first_missing, verdict.first_missing + verdict.missing)
        if not isinstance(verdict, Duplicate):
            accepted.append(seq)
    assert sorted(accepted + missing) == list(range(accepted[0], accepted[-1] + 1))


@settings(deadline=None, max_examples=examples(300))
@given(st.one_of(SEQS, st.integers(), st.integers(2**53 - 3, 2**53 + 3)))
@example(10**4_000)
def test_a_seq_is_valid_exactly_where_doubles_count_every_integer(seq: int) -> None:
    counts = 0 <= seq < 2**53
    if counts:
        check_seq(seq)
        assert int(float(seq)) == seq
    else:
        with pytest.raises(InvalidSequenceNumber):
            check_seq(seq)
