"""The fold against a walk over a plain list: what is folded again from another point of a run."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from stream_parts import MEDIA, OPENING, Walk, frame, live_account, run_of, started

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted
from domain.events import EndReason, Signal
from domain.fold import Fold, Segment, highest_seq, nothing_published, reconciled, with_counts
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame
from examples import examples

RUN = run_of()
AFTER_START = Account(next_position=1)

SEQS = st.lists(st.integers(1, 4), max_size=12).map(
    lambda steps: [sum(steps[: i + 1]) for i in range(len(steps))]
)
SIZES = st.integers(1, 200).map(lambda samples: 2 * samples)

Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.integers(1, 4)),
        st.tuples(st.just("hear"), st.just(1)),
        st.tuples(st.just("drop"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["repeat", "refuse", "note", "point"]), st.just(0)),
        st.tuples(st.just("resume"), st.integers(0, 3)),
    ),
    max_size=30,
)


class Heard:
    """A run as an interaction writes it, with the account at some points between its entries."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.interaction = Interaction(OPENING, AFTER_START)
        self.entries: list[Entry] = [started()]
        self.points: list[Account] = [self.account]
        seq = 0
        for verb, number in steps:
            match verb:
                case "hear":
                    seq += number
                    self.entries += self.interaction.hear(frame(seq, size=2 * seq + 2))
                case "drop":
                    seq += number
                    self.interaction.drop(seq)
                case "repeat" if seq:  # a duplicate, unless it was dropped before a resume
                    self.entries += self.interaction.hear(frame(seq, size=2 * seq + 2))
                case "refuse":
                    self.interaction.refuse()
                case "note":
                    self.entries.append(self.interaction.note(Signal.DTMF, "{}"))
                case "point":
                    self.points.append(self.account)
                case "resume":  # with some of what was dropped last
                    self.points.append(self.account)
                    self.interaction = Interaction(OPENING, self.account)
                    self.entries.append(started(2, resumed=True))
                    seq = max(self.interaction.last_seq or 0, seq - number)
        self.points.append(self.account)

    @property
    def account(self) -> Account:
        return self.interaction.account(len(self.entries))

    def between(self, before: Account, after: Account) -> list[Entry]:
        return self.entries[before.next_position : after.next_position]


def walked(entries: Sequence[Entry]) -> Walk:
    walk = Walk()
    walk.take_all(entries)
    return walk


@given(SEQS)
def test_frames_that_are_folded_come_out_with_the_gaps_between_them(seqs: list[int]) -> None:
    fold = Fold(RUN, AFTER_START)
    for seq in seqs:
        fold.take(frame(seq))
    walk = walked([started(), *fold.entries])
    assert walk.seqs == seqs
    spanned = list(range(seqs[0], seqs[-1] + 1)) if seqs else []
    assert sorted([*walk.seqs, *walk.declared]) == spanned
    assert fold.account == walk.account()
    assert all(isinstance(entry, AudioFrame | Gap) for entry in fold.entries)


@given(STEPS)
@example([(verb, 1) for verb in ("hear", "repeat", "refuse", "point", "repeat", "refuse", "point")])
@example([("drop", 1), ("resume", 0), ("repeat", 0), ("hear", 1)])
def test_a_run_that_is_folded_again_from_its_beginning_comes_out_as_it_was(
    steps: list[Step],
) -> None:
    heard = Heard(steps)
    fold = Fold(RUN, AFTER_START)
    for before, after in zip(heard.points, heard.points[1:], strict=False):
        fold.count(before, after)
        for entry in heard.between(before, after):
            fold.take(entry)
        assert fold.account.ledger.lost == after.ledger.lost
    assert [started(), *fold.entries] == heard.entries
    assert fold.account == heard.account


@given(STEPS, st.integers(0, 40), st.integers(1, 9))
def test_positions_are_those_of_the_point_from_which_it_is_folded(
    steps: list[Step], position: int, generation: int
) -> None:
    heard = Heard(steps)
    fold = Fold(RUN, replace(AFTER_START, next_position=position))
    for entry in heard.entries[1:]:
        fold.take(entry)
    segment = fold.segment(generation)
    assert segment.first_position == position
    assert segment.account.next_position == position + len(segment.entries)
    assert segment.generation == generation


@given(STEPS)
def test_an_end_is_after_the_gap_of_what_was_dropped_last_and_has_the_ledger_so_far(
    steps: list[Step],
) -> None:
    heard = Heard(steps)
    fold = Fold(RUN, heard.account)
    fold.end(EndReason.IDLE, recovered=True)
    assert tuple(fold.entries[:-1]) == heard.interaction.end(EndReason.IDLE)[:-1]
    walk = walked([*heard.entries, *fold.entries])
    ledger = heard.interaction.ledger
    assert fold.entries[-1] == Ended(EndReason.IDLE, ledger, recovered=True)
    assert ledger.missing == len(walk.declared)
    assert fold.account == heard.interaction.account(len(walk.entries))
    assert fold.account.state is State.ENDED


@given(SEQS, st.integers(0, 12), st.integers(0, 5), st.integers(0, 3))
def test_frames_that_are_lost_are_declared_once_and_counted(
    seqs: list[int], known: int, beyond: int, before: int
) -> None:
    """Some were lost before. The store has the first of these; the next are lost; one follows."""
    known_seqs, lost_seqs = seqs[:known], seqs[known:]
    fold = Fold(RUN, live_account(*known_seqs, lost=before))
    upto = lost_seqs[-1] if lost_seqs else None
    fold.lose(len(lost_seqs), upto)
    after = (seqs[-1] if seqs else 0) + 1 + beyond
    fold.take(frame(after))
    walk = walked([started(), *(frame(seq) for seq in known_seqs), *fold.entries])
    assert walk.seqs == [*known_seqs, after]
    assert len(set(walk.declared)) == len(walk.declared)
    assert fold.account.ledger.lost == before + len(lost_seqs)
    assert fold.account.ledger.published == len(known_seqs) + 1
    spanned = [seq for seq in range(after) if known_seqs and seq > known_seqs[-1]]
    assert walk.declared[: len(spanned)] == spanned


def test_the_highest_seq_of_an_account_counts_what_was_dropped() -> None:
    interaction = Interaction(OPENING, AFTER_START)
    assert highest_seq(interaction.account(1)) is None
    interaction.drop(7)
    assert highest_seq(interaction.account(1)) == 7
    interaction.hear(frame(9))
    interaction.drop(12, frames=2)
    assert highest_seq(interaction.account(3)) == 12


def test_a_gap_that_was_written_before_is_found_again_or_left_out() -> None:
    fold = Fold(RUN, live_account(0))
    fold.take(Gap(1, 2))
    assert fold.entries == []
    fold.take(frame(3))
    assert fold.entries == [Gap(1, 2), frame(3)]


def test_frames_that_were_dropped_in_front_of_others_are_declared_in_front_of_them() -> None:
    before = live_account(0)
    interaction = Interaction(OPENING, before)
    interaction.drop(2)
    interaction.hear(frame(3))
    fold = Fold(RUN, before)
    fold.count(before, interaction.account(4))
    fold.take(frame(3))
    assert fold.entries == [Gap(1, 2), frame(3)]
    assert fold.account == interaction.account(4)


def test_frames_that_were_dropped_lower_than_any_before_begin_the_run() -> None:
    all_dropped = Account(1, 5, None, Ledger(1, lost=1, missing=1))
    fold = Fold(RUN, all_dropped)
    fold.take(frame(3))
    assert fold.entries == [frame(3)]
    assert fold.account.first_seq == 3


def test_drops_that_are_counted_lower_than_any_before_begin_the_run() -> None:
    all_dropped = Account(1, 5, None, Ledger(1, lost=1, missing=1))
    interaction = Interaction(OPENING, all_dropped)
    interaction.drop(4, frames=2)
    fold = Fold(RUN, all_dropped)
    fold.count(all_dropped, interaction.account(1))
    assert fold.account == interaction.account(1)
    fold.take(frame(8))
    assert fold.entries == [Gap(3, 5), frame(8)]


def test_what_is_counted_of_a_run_that_continues_under_another_name_begins_after_the_older() -> (
    None
):
    """Its frames before are those of the older run: they are not missing in the new one."""
    interaction = Interaction(OPENING, live_account(0, 1, 2))
    before = interaction.account(4)
    interaction.drop(3)
    interaction.hear(frame(4))
    fold = Fold(run_of("new"), Account(next_position=9))
    fold.count(before, interaction.account(6))
    fold.take(frame(4))
    assert fold.entries == [Gap(3, 1), frame(4)]
    assert fold.account.ledger == Ledger(2, 1, lost=1, missing=1, bytes=320, audio_ms=20)


def test_a_generation_makes_a_cut_run_live_and_names_what_is_written() -> None:
    fold = Fold(RUN, replace(live_account(0), state=State.CUT))
    fold.start(started(4, resumed=True))
    segment = fold.segment(4)
    assert segment == Segment(RUN, 4, (started(4, resumed=True),), fold.account)
    assert segment.account.state is State.LIVE
    assert not segment.starts_run
    fold.cut()
    assert fold.account.state is State.CUT


def test_only_a_start_that_does_not_resume_starts_a_run() -> None:
    account = live_account(0)
    assert Segment(RUN, 1, (started(), frame(0)), account).starts_run
    assert not Segment(RUN, 1, (frame(0),), account).starts_run
    assert not Segment(RUN, 1, (), account).starts_run


@given(STEPS, st.integers(0, 50))
def test_a_run_of_which_the_store_has_nothing_has_lost_what_was_published(
    steps: list[Step], position: int
) -> None:
    account = Heard(steps).account
    gone, ledger = nothing_published(account, position), account.ledger
    assert gone.next_position == position
    assert gone.last_seq is None
    assert highest_seq(gone) == highest_seq(account)
    assert gone.ledger == Ledger(
        ledger.received,
        0,
        ledger.duplicate,
        ledger.rejected,
        ledger.lost + ledger.published,
        ledger.missing + ledger.published,
    )


@given(STEPS, st.integers(0, 30), st.integers(0, 30))
def test_accounts_of_one_point_agree_on_what_the_store_has(
    steps: list[Step], known: int, held: int
) -> None:
    """Of two points of one run the store has the lower or the higher one."""
    points = Heard(steps).points
    store, writer = points[known % len(points)], points[held % len(points)]
    account = reconciled(store, writer)
    ledger = account.ledger
    published = store.ledger.published
    assert ledger.published == published
    assert ledger.bytes == store.ledger.bytes
    assert ledger.lost == max(
        writer.ledger.lost + writer.ledger.published - published, store.ledger.lost
    )
    assert account.last_seq == store.last_seq
    highest = max(highest_seq(it) or 0 for it in (store, writer))
    assert highest_seq(account) in (None, highest)
    firsts = [it.first_seq for it in (store, writer) if it.first_seq is not None]
    first = min(firsts, default=None)
    assert account.first_seq == first
    assert ledger.missing == (0 if first is None else highest - first + 1) - published
    assert replace(store, ledger=ledger, first_seq=account.first_seq) == account


def test_a_store_that_has_what_the_writer_counted_is_reconciled_to_just_that() -> None:
    steps = [("hear", 3), ("repeat", 0), ("refuse", 0), ("refuse", 0), ("drop", 1), ("hear", 5)]
    account = Heard(steps).account
    assert account.ledger.counters().items() >= {"duplicate": 1, "rejected": 2, "lost": 1}.items()
    assert reconciled(account, account) == account


def test_of_a_run_of_which_the_store_has_no_frame_those_that_the_writer_published_are_lost() -> (
    None
):
    account = reconciled(AFTER_START, live_account(5, 7))
    assert account == Account(1, 5, None, Ledger(2, lost=2, missing=3))


def test_a_run_that_was_resumed_while_all_of_it_was_dropped_is_reconciled_to_itself() -> None:
    before = Interaction(OPENING, AFTER_START)
    before.drop(5)
    account = Interaction(OPENING, before.account(1)).account(2)
    assert account.first_seq == 5
    assert highest_seq(account) == 5
    assert reconciled(account, account) == account


@settings(max_examples=examples(30))
@given(STEPS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_at_least_so_much_is_counted_beside_published_frames(
    steps: list[Step], duplicate: int, rejected: int, lost: int
) -> None:
    account = Heard(steps).account
    before, counted = account.ledger, with_counts(account, duplicate, rejected, lost)
    assert counted == replace(account, ledger=counted.ledger)
    assert counted.ledger == Ledger(
        before.published
        + max(before.duplicate, duplicate)
        + max(before.rejected, rejected)
        + max(before.lost, lost),
        before.published,
        max(before.duplicate, duplicate),
        max(before.rejected, rejected),
        max(before.lost, lost),
        before.missing,
        before.bytes,
        before.audio_ms,
    )


def test_the_time_of_the_audio_follows_from_its_bytes() -> None:
    fold = Fold(RUN, AFTER_START)
    for seq in range(3):
        fold.take(frame(seq, size=10))
    assert fold.account.ledger.bytes == 30
    assert fold.account.ledger.audio_ms == MEDIA.duration_ms(30) == 1


def test_a_signal_and_a_start_take_a_position_and_no_seq() -> None:
    entries: list[Entry] = [SignalNoted(Signal.DTMF, "{}"), started(2, resumed=True)]
    fold = Fold(RUN, replace(live_account(0), state=State.CUT))
    for entry in entries:
        fold.take(entry)
    assert fold.entries == entries
    assert fold.account == replace(live_account(0), next_position=4, state=State.LIVE)


def test_an_end_that_is_taken_tells_still_who_wrote_it() -> None:
    fold = Fold(RUN, live_account(0))
    fold.take(Ended(EndReason.IDLE, Ledger(), recovered=True))
    assert fold.entries == [Ended(EndReason.IDLE, live_account(0).ledger, recovered=True)]
