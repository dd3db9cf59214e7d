from collections.abc import Callable

import pytest
from stream_parts import OPENING, frame

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted
from domain.errors import IllegalTransition, UnbalancedLedger
from domain.events import EndReason, Signal
from domain.interaction import TRANSITIONS, Interaction, Verb
from domain.ledger import Ledger
from domain.sequence import MAX_SEQ

AFTER_START = Account(next_position=1)


def live() -> Interaction:
    return Interaction(OPENING, AFTER_START)


def cut() -> Interaction:
    interaction = live()
    interaction.cut()
    return interaction


def ended() -> Interaction:
    interaction = live()
    interaction.end(EndReason.ENDED)
    return interaction


BEGUN: dict[State, Callable[[], Interaction]] = {
    State.LIVE: live,
    State.CUT: cut,
    State.ENDED: ended,
}


def act(interaction: Interaction, verb: Verb) -> None:
    match verb:
        case Verb.HEAR:
            interaction.hear(frame(0))
        case Verb.NOTE:
            interaction.note(Signal.DTMF, "{}")
        case Verb.REFUSE:
            interaction.refuse()
        case Verb.DROP:
            interaction.drop(0)
        case Verb.REBASE:
            interaction.rebase(AFTER_START)
        case Verb.CUT:
            interaction.cut()
        case Verb.END:
            interaction.end(EndReason.ENDED)


def hear(interaction: Interaction, *seqs: int) -> list[Entry]:
    return [entry for seq in seqs for entry in interaction.hear(frame(seq))]


def hear_unnumbered(interaction: Interaction) -> int:
    seq = interaction.unnumbered_seq
    interaction.hear(frame(seq))
    return seq


def test_the_table_is_the_one_of_the_docstring() -> None:
    in_every_state = {(state, Verb.REBASE): state for state in State}
    while_live = dict.fromkeys((Verb.HEAR, Verb.NOTE, Verb.REFUSE, Verb.DROP), State.LIVE)
    assert {
        **in_every_state,
        **{(State.LIVE, verb): state for verb, state in while_live.items()},
        (State.LIVE, Verb.CUT): State.CUT,
        (State.LIVE, Verb.END): State.ENDED,
        (State.CUT, Verb.END): State.ENDED,
    } == TRANSITIONS


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", Verb)
def test_a_verb_leads_where_the_table_says_or_is_refused_and_changes_nothing(
    state: State, verb: Verb
) -> None:
    interaction = BEGUN[state]()
    after = TRANSITIONS.get((state, verb))
    if after is not None:
        act(interaction, verb)
        assert interaction.state is after
        return
    before = (interaction.account(1), interaction.unnumbered_seq)
    with pytest.raises(IllegalTransition):
        act(interaction, verb)
    assert (interaction.account(1), interaction.unnumbered_seq) == before
    assert interaction.state is state


def test_a_generation_begins_live_at_the_account_after_its_start() -> None:
    interaction = live()
    assert interaction.state is State.LIVE
    assert interaction.opening is OPENING
    assert interaction.last_seq is None
    assert interaction.account(1) == AFTER_START


def test_frames_in_order_become_entries_as_they_came() -> None:
    assert hear(live(), 0, 1, 2) == [frame(0), frame(1), frame(2)]


def test_the_first_seq_of_a_run_is_its_baseline() -> None:
    interaction = live()
    assert hear(interaction, 5_000) == [frame(5_000)]
    assert interaction.ledger.missing == 0
    assert interaction.last_seq == 5_000


def test_a_gap_comes_before_the_frame_that_reveals_it() -> None:
    interaction = live()
    hear(interaction, 10)
    assert hear(interaction, 14) == [Gap(11, 3), frame(14)]
    assert interaction.ledger.missing == 3


def test_a_jump_of_a_million_millions_is_one_gap() -> None:
    interaction = live()
    hear(interaction, 0)
    far = 10**12
    assert hear(interaction, far) == [Gap(1, far - 1), frame(far)]
    assert interaction.ledger.missing == far - 1


@pytest.mark.parametrize("seq", [0, 3, 7])
def test_a_repeated_or_late_frame_is_a_duplicate_and_leaves_no_entry(seq: int) -> None:
    interaction = live()
    hear(interaction, 3, 7)
    assert interaction.hear(frame(seq, size=640)) == ()
    ledger = interaction.ledger
    assert (ledger.received, ledger.published, ledger.duplicate) == (3, 2, 1)
    assert ledger.bytes == 640
    assert interaction.last_seq == 7
    assert hear(interaction, 8) == [frame(8)]


def test_a_signal_becomes_an_entry_and_changes_no_count() -> None:
    interaction = live()
    hear(interaction, 4)
    before = interaction.account(2)
    assert interaction.note(Signal.MARK, '{"name":"a"}') == SignalNoted(Signal.MARK, '{"name":"a"}')
    assert interaction.account(2) == before


def test_the_ledger_in_the_end_is_the_account_of_the_run() -> None:
    interaction = live()
    hear(interaction, 4, 5, 5, 9, 1)
    interaction.refuse()
    expected = Ledger(
        received=6, published=3, duplicate=2, rejected=1, missing=3, bytes=960, audio_ms=60
    )
    assert interaction.end(EndReason.CALLENDED) == (Ended(EndReason.CALLENDED, expected),)


def test_the_account_is_of_a_stream_in_which_every_entry_so_far_is_stored() -> None:
    interaction = live()
    hear(interaction, 4, 6)
    interaction.cut()
    ledger = Ledger(received=2, published=2, missing=1, bytes=640, audio_ms=40)
    assert interaction.account(4) == Account(4, 4, 6, ledger, State.CUT)


def test_a_resumed_run_continues_with_its_account() -> None:
    ledger = Ledger(
        received=9, published=4, duplicate=3, rejected=2, missing=2, bytes=1280, audio_ms=80
    )
    interaction = Interaction(OPENING, Account(13, 5, 10, ledger, State.CUT))
    assert interaction.state is State.LIVE
    assert interaction.account(13) == Account(13, 5, 10, ledger, State.LIVE)
    assert hear(interaction, 9, 10) == []
    assert hear(interaction, 13) == [Gap(11, 2), frame(13)]
    assert interaction.ledger == Ledger(
        received=12, published=5, duplicate=5, rejected=2, missing=4, bytes=1600, audio_ms=100
    )


def test_a_run_resumed_before_its_first_frame_takes_any_baseline() -> None:
    interaction = Interaction(OPENING, Account(next_position=4))
    assert interaction.unnumbered_seq == 0
    assert hear(interaction, 77) == [frame(77)]


def dropped_at_the_end(*dropped: int) -> Account:
    interaction = live()
    for seq in dropped:
        interaction.drop(seq)
    return interaction.account(1)


def test_what_was_dropped_last_may_come_again_when_the_run_is_resumed() -> None:
    interaction = live()
    hear(interaction, 0)
    interaction.drop(1)
    resumed = Interaction(OPENING, interaction.account(2))
    assert hear(resumed, 1, 2) == [frame(1), frame(2)]
    assert resumed.ledger == Ledger(4, 3, lost=1, missing=0, bytes=960, audio_ms=60)


@pytest.mark.parametrize("seq", [2, 5, 9])
def test_a_run_of_which_everything_was_dropped_resumes_at_any_seq(seq: int) -> None:
    interaction = Interaction(OPENING, dropped_at_the_end(5, 6))
    gap = [Gap(5, seq - 5)] if seq > 5 else []
    assert hear(interaction, seq) == [*gap, frame(seq)]
    spanned = max(seq, 6) - min(seq, 5) + 1
    assert interaction.ledger == Ledger(3, 1, lost=2, missing=spanned - 1, bytes=320, audio_ms=20)


def test_a_run_of_which_everything_was_dropped_may_be_resumed_and_dropped_lower() -> None:
    interaction = Interaction(OPENING, dropped_at_the_end(5, 6))
    assert interaction.drop(3)
    assert interaction.ledger == Ledger(3, lost=3, missing=4)
    assert interaction.end(EndReason.ENDED)[0] == Gap(3, 4)


@pytest.mark.parametrize("resumes", [1, 2])
def test_what_was_dropped_and_does_not_come_again_is_declared_at_the_end(resumes: int) -> None:
    interaction = live()
    hear(interaction, 0, 1, 2)
    interaction.drop(4, frames=2)
    for _ in range(resumes):
        interaction.cut()
        interaction = Interaction(OPENING, interaction.account(4))
    ledger = Ledger(5, 3, lost=2, missing=2, bytes=960, audio_ms=60)
    assert interaction.account(4) == Account(4, 0, 2, ledger)
    assert interaction.unnumbered_seq == 3
    assert interaction.end(EndReason.ENDED) == (Gap(3, 2), Ended(EndReason.ENDED, ledger))
    assert interaction.account(6) == Account(6, 0, 4, ledger, State.ENDED)


def test_of_what_was_dropped_the_rest_is_declared_if_only_some_comes_again() -> None:
    interaction = live()
    hear(interaction, 0)
    interaction.drop(3, frames=3)
    interaction = Interaction(OPENING, interaction.account(2))
    assert hear(interaction, 2, 2, 1) == [Gap(1, 1), frame(2)]
    ledger = Ledger(7, 2, 2, lost=3, missing=2, bytes=640, audio_ms=40)
    assert interaction.end(EndReason.ENDED) == (Gap(3, 1), Ended(EndReason.ENDED, ledger))


def test_what_was_dropped_before_a_resume_stays_missing_after_a_rebase_and_may_come_again() -> None:
    interaction = live()
    hear(interaction, 0)
    interaction.drop(2, frames=2)
    interaction = Interaction(OPENING, interaction.account(2))
    interaction.rebase(interaction.account(3))
    assert interaction.unnumbered_seq == 1
    assert interaction.ledger.missing == 2
    assert hear(interaction, 1) == [frame(1)]
    assert interaction.end(EndReason.ENDED)[0] == Gap(2, 1)


def test_a_rebase_may_begin_another_run_whose_baseline_is_its_next_frame() -> None:
    interaction = live()
    hear(interaction, 0, 1, 2)
    interaction.rebase(Account(next_position=9))
    assert hear(interaction, 2, 3) == [frame(3)]
    assert interaction.account(10) == Account(10, 3, 3, Ledger(2, 1, 1, bytes=320, audio_ms=20))


def test_frames_without_a_number_are_numbered_from_0() -> None:
    interaction = live()
    assert [hear_unnumbered(interaction) for _ in range(4)] == [0, 1, 2, 3]


def test_frames_without_a_number_continue_after_the_last_seq_of_a_resumed_run() -> None:
    ledger = Ledger(received=2, published=2, bytes=640, audio_ms=40)
    interaction = Interaction(OPENING, Account(4, 40, 41, ledger))
    assert [hear_unnumbered(interaction) for _ in range(2)] == [42, 43]


def test_a_refused_frame_without_a_number_keeps_its_number() -> None:
    interaction = live()
    hear_unnumbered(interaction)
    interaction.refuse(unnumbered=True)
    interaction.refuse(unnumbered=True)
    assert interaction.unnumbered_seq == 3
    assert interaction.hear(frame(3)) == (Gap(1, 2), frame(3))
    assert interaction.ledger.rejected == 2
    assert interaction.ledger.missing == 2


def test_a_refused_first_frame_without_a_number_keeps_0() -> None:
    interaction = live()
    interaction.refuse(unnumbered=True)
    assert hear_unnumbered(interaction) == 1


def test_a_refused_frame_of_the_numbered_kind_takes_no_number() -> None:
    interaction = live()
    interaction.refuse()
    assert interaction.unnumbered_seq == 0
    assert interaction.ledger == Ledger(received=1, rejected=1)


def test_where_a_call_mixes_both_kinds_a_frame_takes_the_highest_seq_plus_1() -> None:
    interaction = live()
    hear_unnumbered(interaction)
    hear(interaction, 10)
    assert hear_unnumbered(interaction) == 11
    hear(interaction, 4)
    assert hear_unnumbered(interaction) == 12


def test_a_number_that_a_refused_frame_keeps_is_not_reused() -> None:
    interaction = live()
    hear_unnumbered(interaction)
    interaction.refuse(unnumbered=True)
    interaction.refuse(unnumbered=True)
    hear(interaction, 1)
    assert hear_unnumbered(interaction) == 3


def test_after_the_largest_seq_no_number_is_left() -> None:
    interaction = live()
    hear(interaction, MAX_SEQ)
    assert interaction.unnumbered_seq == MAX_SEQ + 1


def test_what_was_dropped_is_declared_by_one_gap_before_the_next_frame() -> None:
    interaction = live()
    hear(interaction, 0, 1)
    for seq in (2, 3, 7):
        assert interaction.drop(seq)
    assert not interaction.drop(7)
    assert not interaction.drop(7, frames=2)
    assert interaction.hear(frame(7)) == ()
    assert interaction.hear(frame(9)) == (Gap(2, 7), frame(9))
    assert interaction.ledger == Ledger(
        received=10, published=3, duplicate=4, lost=3, missing=7, bytes=960, audio_ms=60
    )


def test_what_was_dropped_last_is_declared_before_the_end() -> None:
    interaction = live()
    interaction.drop(4)
    interaction.drop(8, frames=4)
    assert interaction.end(EndReason.CALLENDED) == (
        Gap(4, 5),
        Ended(EndReason.CALLENDED, Ledger(received=5, lost=5, missing=5)),
    )
    assert interaction.last_seq == 8


def test_frames_that_were_dropped_with_holes_between_them_begin_where_the_first_is() -> None:
    interaction = live()
    assert interaction.drop(20, frames=3, first_seq=10)
    assert interaction.ledger == Ledger(received=3, lost=3, missing=11)


def test_a_rebased_run_continues_with_the_account_as_it_is_written_now() -> None:
    interaction = live()
    hear(interaction, 0, 1, 2)
    now = Account(3, 0, 1, Ledger(3, 1, lost=2, missing=2, bytes=320, audio_ms=20))
    interaction.rebase(now)
    assert interaction.account(3).ledger == now.ledger
    assert hear(interaction, 2) == []
    assert hear(interaction, 3) == [Gap(2, 1), frame(3)]


def test_a_rebase_takes_back_no_number_that_was_given() -> None:
    interaction = live()
    hear(interaction, 0, 1, 2)
    interaction.refuse(unnumbered=True)
    interaction.rebase(Account(2, 0, 0, Ledger(1, 1, bytes=320, audio_ms=20)))
    assert interaction.unnumbered_seq == 4


def test_a_rebase_before_the_first_frame_continues_after_what_another_writer_published() -> None:
    interaction = live()
    interaction.rebase(Account(2, 0, 0, Ledger(1, 1, bytes=320, audio_ms=20)))
    assert interaction.hear(frame(0)) == ()
    assert interaction.drop(1), "it is no duplicate"
    assert interaction.hear(frame(2)) == (Gap(1, 1), frame(2))


def test_a_frame_that_another_writer_published_is_a_duplicate_after_a_rebase() -> None:
    interaction = live()
    hear(interaction, 0)
    interaction.rebase(Account(4, 0, 2, Ledger(3, 3, bytes=960, audio_ms=60)))
    assert interaction.unnumbered_seq == 3
    assert hear(interaction, 1, 2, 3) == [frame(3)]
    assert interaction.unnumbered_seq == 4


@pytest.mark.parametrize(
    "counters",
    [
        {"received": 1},
        {"published": 1},
        {"received": 1, "published": 1, "duplicate": 1},
        {"received": -1, "published": -1},
        {"received": 0, "published": 1, "rejected": -1},
        {"missing": -1},
        {"bytes": -1},
        {"audio_ms": -1},
    ],
)
def test_a_ledger_that_contradicts_itself_cannot_be(counters: dict[str, int]) -> None:
    with pytest.raises(UnbalancedLedger):
        Ledger(**counters)


def test_a_ledger_is_published_in_the_words_of_the_contract() -> None:
    ledger = Ledger(10, 4, 3, 2, 1, 6, 640, 40)
    assert list(ledger.counters().items()) == [
        ("received", 10), ("published", 4), ("duplicate", 3), ("rejected", 2),
        ("lost", 1), ("missing", 6), ("bytes", 640), ("audio_ms", 40),
    ]  # fmt: skip
