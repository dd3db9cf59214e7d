import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.account import Account
from domain.entries import Entry, Gap
from domain.errors import InvalidSequenceNumber
from domain.events import Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Interaction
from domain.media import AudioFrame, MediaFormat
from domain.sequence import MAX_SEQ, check_seq
from examples import examples

MEDIA = MediaFormat(8_000)
OPENING = Opening(
    StreamKey(TenantId("acme"), StreamId("call")), InteractionId("call"), "any", MEDIA, 0
)

SEQS = st.one_of(
    st.integers(0, MAX_SEQ),
    st.integers(0, 40),
    st.integers(MAX_SEQ - 40, MAX_SEQ),
    st.integers(0, 40).map(lambda n: n * 10**12),
)


def hear(interaction: Interaction, seq: int) -> tuple[Entry, ...]:
    return interaction.hear(AudioFrame(MEDIA, seq, 0, b"\0\0"))


def verdict_of_sets(seq: int, heard: set[int]) -> Gap | bool:
    """Judge by counting off everything there could be; False for a duplicate, True in order."""
    if not heard:
        return True
    if any(number >= seq for number in heard):
        return False
    absent = [number for number in range(seq) if all(number > other for other in heard)]
    return Gap(absent[0], len(absent)) if absent else True


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(SEQS, max_size=60))
@example([0, 10**12, 10**12 + 1, 2 * 10**12, MAX_SEQ])
def test_verdicts_are_those_of_one_expected_integer(seqs: list[int]) -> None:
    interaction, expected = Interaction(OPENING, Account()), None
    for seq in seqs:
        entries = hear(interaction, seq)
        if expected is not None and seq < expected:
            assert entries == ()
            continue
        assert entries[-1] == AudioFrame(MEDIA, seq, 0, b"\0\0")
        gap = () if expected in (None, seq) else (Gap(expected, seq - expected),)
        assert entries[:-1] == gap
        expected = seq + 1


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.integers(0, 24), max_size=30))
def test_verdicts_are_those_of_the_set_of_all_seqs_accepted(seqs: list[int]) -> None:
    interaction, accepted = Interaction(OPENING, Account()), set[int]()
    for seq in seqs:
        verdict = verdict_of_sets(seq, accepted)
        entries = hear(interaction, seq)
        assert bool(entries) is (verdict is not False)
        assert entries[:-1] == ((verdict,) if isinstance(verdict, Gap) else ())
        if entries:
            accepted.add(seq)


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.integers(0, 200), min_size=1, max_size=60))
def test_gaps_name_each_missing_seq_once(seqs: list[int]) -> None:
    interaction, accepted, missing = Interaction(OPENING, Account()), list[int](), list[int]()
    for seq in seqs:
        for entry in hear(interaction, seq):
            if isinstance(entry, Gap):
                missing += range(entry.first_missing, entry.last_missing + 1)
            elif isinstance(entry, AudioFrame):
                accepted.append(entry.seq)
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
