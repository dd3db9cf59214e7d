from collections.abc import Callable

import pytest

from domain.account import Account, Grant, Recount, State
from domain.errors import IllegalTransition, StaleGeneration, UnbalancedLedger
from domain.events import (
    AudioAccepted,
    EndReason,
    Event,
    GapDetected,
    InteractionEnded,
    InteractionStarted,
    Opening,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat
from domain.sequence import MAX_SEQ

MEDIA = MediaFormat(8_000)
OPENING = Opening(
    stream=StreamKey(TenantId("tenant"), StreamId("call")),
    interaction_id=InteractionId("call"),
    dialect="exostreamkit",
    media=MEDIA,
    started_at_ms=1_700_000_000_000,
)
NEW_RUN = Account()


def frame(seq: int, size: int = 320) -> AudioFrame:
    return AudioFrame(MEDIA, seq, 1_700_000_000_020, bytes(size))


def awaiting() -> Interaction:
    return Interaction(OPENING)


def live(generation: int = 1) -> Interaction:
    interaction = awaiting()
    interaction.start(Grant(generation, resumed=False, account=NEW_RUN))
    return interaction


def cut() -> Interaction:
    interaction = live()
    interaction.cut()
    return interaction


def ended() -> Interaction:
    interaction = live()
    interaction.end(EndReason.ENDED)
    return interaction


def resumed(account: Account, generation: int = 2) -> Interaction:
    interaction = awaiting()
    interaction.start(Grant(generation, resumed=True, account=account))
    return interaction


def hear(interaction: Interaction, *seqs: int) -> list[Event]:
    return [event for seq in seqs for event in interaction.hear(frame(seq))]


def hear_unnumbered(interaction: Interaction) -> int:
    seq = interaction.unnumbered_seq
    interaction.hear(frame(seq))
    return seq


def test_a_new_interaction_awaits_its_start_under_no_generation() -> None:
    interaction = awaiting()
    assert interaction.state is State.AWAITING
    assert interaction.generation == 0
    assert interaction.last_seq is None
    assert interaction.ledger == Ledger()
    assert interaction.opening is OPENING


@pytest.mark.parametrize("begun", [awaiting, live, cut, ended])
def test_a_start_makes_every_state_live(begun: Callable[[], Interaction]) -> None:
    interaction = begun()
    event = interaction.start(Grant(7, resumed=False, account=Account(next_position=11)))
    assert event == InteractionStarted(11, 7, resumed=False, opening=OPENING)
    assert interaction.state is State.LIVE
    assert interaction.generation == 7


def test_a_cut_interaction_can_only_be_started_begun_again_or_ended() -> None:
    interaction = cut()
    with pytest.raises(IllegalTransition):
        interaction.hear(frame(0))
    with pytest.raises(IllegalTransition):
        interaction.refuse()
    with pytest.raises(IllegalTransition):
        interaction.cut()
    assert interaction.state is State.CUT
    (ended,) = interaction.end(EndReason.DISCONNECTED)
    assert isinstance(ended, InteractionEnded)
    assert ended.reason is EndReason.DISCONNECTED


def test_an_ended_interaction_takes_nothing_more() -> None:
    interaction = ended()
    with pytest.raises(IllegalTransition):
        interaction.hear(frame(0))
    with pytest.raises(IllegalTransition):
        interaction.refuse()
    with pytest.raises(IllegalTransition):
        interaction.cut()
    with pytest.raises(IllegalTransition):
        interaction.end(EndReason.IDLE)
    assert interaction.state is State.ENDED


def test_nothing_can_be_done_before_the_start() -> None:
    interaction = awaiting()
    with pytest.raises(IllegalTransition):
        interaction.hear(frame(0))
    with pytest.raises(IllegalTransition):
        interaction.refuse()
    with pytest.raises(IllegalTransition):
        interaction.cut()
    with pytest.raises(IllegalTransition):
        interaction.end(EndReason.ENDED)
    with pytest.raises(IllegalTransition):
        interaction.begin_again(9, 0, Recount())
    assert interaction.ledger == Ledger()


@pytest.mark.parametrize("generation", [0, 1, 4, 5])
def test_a_start_under_an_older_or_the_same_generation_is_refused(generation: int) -> None:
    interaction = live(generation=5)
    hear(interaction, 0, 1)
    before = interaction.account
    with pytest.raises(StaleGeneration):
        interaction.start(Grant(generation, resumed=False, account=NEW_RUN))
    assert interaction.generation == 5
    assert interaction.account == before
    assert interaction.state is State.LIVE


def test_a_stale_start_does_not_wake_an_ended_interaction() -> None:
    interaction = ended()
    with pytest.raises(StaleGeneration):
        interaction.start(Grant(1, resumed=False, account=NEW_RUN))
    assert interaction.state is State.ENDED


def test_frames_in_order_follow_the_start_at_dense_positions() -> None:
    assert hear(live(), 0, 1, 2) == [
        AudioAccepted(1, frame(0)),
        AudioAccepted(2, frame(1)),
        AudioAccepted(3, frame(2)),
    ]


def test_the_first_seq_of_a_run_is_its_baseline() -> None:
    interaction = live()
    assert hear(interaction, 5_000) == [AudioAccepted(1, frame(5_000))]
    assert interaction.ledger.missing == 0
    assert interaction.last_seq == 5_000


def test_a_gap_stands_before_the_frame_that_revealed_it() -> None:
    interaction = live()
    hear(interaction, 10)
    assert hear(interaction, 14) == [GapDetected(2, 11, 3), AudioAccepted(3, frame(14))]
    assert interaction.ledger.missing == 3


def test_a_jump_of_a_million_millions_is_one_gap() -> None:
    interaction = live()
    hear(interaction, 0)
    far = 10**12
    assert hear(interaction, far) == [GapDetected(2, 1, far - 1), AudioAccepted(3, frame(far))]
    assert interaction.ledger.missing == far - 1


@pytest.mark.parametrize("seq", [0, 3, 7])
def test_a_repeated_or_late_frame_is_a_duplicate_and_leaves_no_event(seq: int) -> None:
    interaction = live()
    hear(interaction, 3, 7)
    assert interaction.hear(frame(seq, size=640)) == ()
    ledger = interaction.ledger
    assert (ledger.received, ledger.published, ledger.duplicate) == (3, 2, 1)
    assert ledger.bytes == 640
    assert interaction.last_seq == 7
    assert hear(interaction, 8) == [AudioAccepted(4, frame(8))]


def test_the_ledger_in_the_end_is_the_account_of_the_run() -> None:
    interaction = live()
    hear(interaction, 4, 5, 5, 9, 1)
    interaction.refuse()
    (event,) = interaction.end(EndReason.CALLENDED)
    expected = Ledger(
        received=6, published=3, duplicate=2, rejected=1, missing=3, bytes=960, audio_ms=60
    )
    assert event == InteractionEnded(5, EndReason.CALLENDED, expected)
    assert interaction.state is State.ENDED


def test_the_account_is_that_of_a_stream_on_which_everything_is_published() -> None:
    interaction = live()
    assert interaction.account == Account(1, None, None, Ledger(), State.LIVE)
    hear(interaction, 4, 6)
    interaction.cut()
    ledger = Ledger(received=2, published=2, missing=1, bytes=640, audio_ms=40)
    assert interaction.account == Account(4, 4, 6, ledger, State.CUT)


def test_a_start_that_does_not_resume_opens_a_new_run_while_positions_go_on() -> None:
    interaction = live()
    hear(interaction, 100, 105)
    interaction.refuse()
    account = interaction.account
    event = interaction.start(Grant(2, resumed=False, account=account))
    assert event.position == 4
    assert not event.resumed
    assert interaction.ledger == Ledger()
    assert interaction.last_seq is None
    assert interaction.unnumbered_seq == 0
    assert hear(interaction, 3) == [AudioAccepted(5, frame(3))]
    assert interaction.ledger.missing == 0


def test_a_resumed_run_goes_on_with_its_account() -> None:
    ledger = Ledger(
        received=9, published=4, duplicate=3, rejected=2, missing=2, bytes=1280, audio_ms=80
    )
    interaction = resumed(Account(12, 5, 10, ledger, State.CUT), generation=4)
    assert interaction.last_seq == 10
    assert interaction.ledger == ledger
    assert interaction.state is State.LIVE
    assert interaction.account == Account(13, 5, 10, ledger, State.LIVE)
    assert hear(interaction, 9, 10) == []
    assert hear(interaction, 13) == [GapDetected(13, 11, 2), AudioAccepted(14, frame(13))]
    assert interaction.ledger == Ledger(
        received=12, published=5, duplicate=5, rejected=2, missing=4, bytes=1600, audio_ms=100
    )


def test_a_run_resumed_before_its_first_frame_takes_any_baseline() -> None:
    interaction = resumed(Account(next_position=3))
    assert interaction.last_seq is None
    assert interaction.unnumbered_seq == 0
    assert hear(interaction, 77) == [AudioAccepted(4, frame(77))]


def test_frames_without_a_number_are_numbered_from_0() -> None:
    interaction = live()
    assert [hear_unnumbered(interaction) for _ in range(4)] == [0, 1, 2, 3]


def test_frames_without_a_number_go_on_after_the_last_seq_of_a_resumed_run() -> None:
    ledger = Ledger(received=2, published=2, missing=0, bytes=640, audio_ms=40)
    interaction = resumed(Account(3, 40, 41, ledger))
    assert [hear_unnumbered(interaction) for _ in range(2)] == [42, 43]


def test_a_refused_frame_without_a_number_keeps_its_number() -> None:
    interaction = live()
    hear_unnumbered(interaction)
    interaction.refuse(unnumbered=True)
    interaction.refuse(unnumbered=True)
    assert interaction.unnumbered_seq == 3
    assert interaction.hear(frame(3)) == (GapDetected(2, 1, 2), AudioAccepted(3, frame(3)))
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


def test_a_number_that_a_refused_frame_keeps_is_not_given_again() -> None:
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


def test_frames_that_were_forgotten_are_lost_and_the_run_goes_on_where_it_is_told() -> None:
    interaction = live()
    hear(interaction, 0, 1, 2)
    interaction.begin_again(7, 40, Recount(forgotten=2, audio_bytes=-640))
    assert interaction.generation == 7
    assert interaction.state is State.LIVE
    assert interaction.hear(frame(3)) == (AudioAccepted(40, frame(3)),)
    assert interaction.ledger == Ledger(
        received=4, published=2, lost=2, missing=2, bytes=640, audio_ms=40
    )


def test_an_ended_run_that_begins_again_stays_ended() -> None:
    interaction = ended()
    interaction.begin_again(9, 2, Recount())
    assert interaction.state is State.ENDED


def test_a_run_does_not_begin_again_under_a_generation_that_is_not_newer() -> None:
    interaction = live(generation=5)
    before = interaction.account
    with pytest.raises(StaleGeneration):
        interaction.begin_again(5, 9, Recount())
    assert interaction.account == before


def test_what_was_dropped_is_declared_by_one_gap_before_the_next_frame() -> None:
    interaction = live()
    hear(interaction, 0, 1)
    for seq in (2, 3, 7):
        assert interaction.drop(seq)
    assert not interaction.drop(7)
    assert interaction.hear(frame(7)) == ()
    assert interaction.hear(frame(9)) == (GapDetected(3, 2, 7), AudioAccepted(4, frame(9)))
    assert interaction.ledger == Ledger(
        received=8, published=3, duplicate=2, lost=3, missing=7, bytes=960, audio_ms=60
    )


def test_what_was_dropped_last_is_declared_before_the_end() -> None:
    interaction = live()
    interaction.drop(4)
    interaction.drop(8, frames=4)
    gap, event = interaction.end(EndReason.CALLENDED)
    assert gap == GapDetected(1, 4, 5)
    assert isinstance(event, InteractionEnded)
    assert event.position == 2
    assert event.ledger == Ledger(received=5, lost=5, missing=5)


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
