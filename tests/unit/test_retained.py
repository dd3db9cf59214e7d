"""What of one stream was confirmed lately: bounded, in order, and given back when it is wanted."""

from dataclasses import replace

import pytest
from batches import LEASE, LIMITS, RUN, SIZE, CheckedBudget, batch_of, frames_at, positions
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_parts import frame, run_of, seqs_of

from application.delivery.batch import Batch
from application.delivery.byte_budget import JOINED_SECONDS, REWIND_SHARE, BufferLimits
from application.delivery.retained import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    OTHER_ENTRY_FRAMES,
    RETAINED_FRAMES_PER_SECOND,
    Retained,
)
from domain.account import Account, State
from domain.entries import Ended, Entry, SignalNoted
from domain.events import EndReason, Signal
from domain.head import Lease
from domain.ledger import Ledger
from examples import examples

ROOMY = BufferLimits(45, 1 << 30, rewind_seconds=5)
BRIEF = BufferLimits(45, 1 << 30, rewind_seconds=0.1)
NEWER = Lease(2, "newer", 2_000)


class Shelf(Retained):
    """Retains batches that are confirmed one after the other, each by itself."""

    def __init__(self, limits: BufferLimits = ROOMY) -> None:
        self.budget = CheckedBudget(limits)
        super().__init__(self.budget, self.budget.telemetry)
        self.now = 1_000.0
        self.position = 0

    def keep(self, *batches: Batch, apart: float = JOINED_SECONDS) -> None:
        for batch in batches:
            self.add(batch, self.now)
            self.now += apart

    def keep_frames(self, count: int, size: int = SIZE, apart: float = JOINED_SECONDS) -> None:
        for _ in range(count):
            self.keep(frames_at(self.position, self.position, size=size), apart=apart)
            self.position += 1

    def keep_received(self, count: int, at: float, size: int = SIZE) -> None:
        """Keep frames that all came at the same time."""
        for _ in range(count):
            batch = frames_at(self.position, self.position, size=size)
            batch.received_at = [at]
            batch.note_confirmed()
            self.keep(batch)
            self.position += 1

    @property
    def bytes(self) -> int:
        return self.budget.held_bytes.retained

    @property
    def short(self) -> int:
        return self.budget.telemetry.short_frames

    def seqs(self) -> list[int]:
        return [seq for batch in self._batches for seq in seqs_of(batch.unpacked())]


def test_what_is_confirmed_is_retained_in_order_and_counted() -> None:
    shelf = Shelf()
    assert shelf.is_empty
    shelf.keep_frames(3)
    assert shelf.seqs() == [0, 1, 2]
    assert shelf.bytes == 3 * SIZE
    assert positions(shelf.numbered) == [(0, 1), (1, 2), (2, 3)]


def test_small_batches_that_are_confirmed_together_are_retained_as_one() -> None:
    shelf = Shelf()
    shelf.keep_frames(3, apart=0.01)
    (joined,) = shelf.numbered
    assert (joined.first_position, joined.end, joined.frames) == (0, 3, 3)
    assert joined.audio_bytes == shelf.bytes == 3 * SIZE
    assert joined.account.last_seq == 2


def test_a_joined_batch_knows_when_its_first_and_its_last_frame_came() -> None:
    shelf = Shelf()
    for position, at in enumerate([None, 1.0, None, 2.0, 9.0, None]):
        noted = SignalNoted(Signal.DTMF, "{}")
        batch = batch_of([noted], position) if at is None else frames_at(position, position)
        batch.received_at = [] if at is None else [at]
        batch.note_confirmed()
        shelf.keep(batch, apart=0.01)
    (joined,) = shelf.numbered
    assert (joined.received_from, joined.received_to) == (1.0, 9.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (frames_at(0, 0), frames_at(1, 1, lease=NEWER)),
        (frames_at(0, 0), replace(frames_at(1, 1), is_numbered=False)),
        (frames_at(0, *range(BATCH_ENTRIES)), frames_at(BATCH_ENTRIES, BATCH_ENTRIES)),
        (frames_at(0, *range(6), size=BATCH_BYTES // 6 // 2 * 2), frames_at(6, 6)),
    ],
)
def test_batches_are_not_joined_across_a_lease_or_beyond_a_bound(
    first: Batch, second: Batch
) -> None:
    shelf = Shelf(BufferLimits(45, 1 << 30, rewind_seconds=60))
    shelf.keep(replace(first), replace(second), apart=0.01)
    assert len(shelf._batches) == 2
    assert shelf.bytes == first.audio_bytes + second.audio_bytes


def test_a_batch_is_not_joined_to_one_of_long_ago() -> None:
    shelf = Shelf()
    shelf.keep_frames(1, apart=JOINED_SECONDS - 0.01)
    shelf.keep_frames(1, apart=0.01)
    shelf.keep_frames(1)
    assert positions(shelf.numbered) == [(0, 2), (2, 3)], "its age is that of its first part"


def test_what_is_retained_for_longer_is_packed() -> None:
    shelf = Shelf()
    shelf.keep_frames(3)
    assert [batch.packed is not None for batch in shelf.numbered] == [True, True, False]
    assert shelf.seqs() == [0, 1, 2]


def test_frames_of_much_audio_stay_as_they_are() -> None:
    shelf = Shelf()
    shelf.keep_frames(2, size=20_000)
    assert [batch.packed is not None for batch in shelf.numbered] == [False, False]


def test_one_stream_retains_at_most_four_times_as_much_audio_as_time() -> None:
    shelf = Shelf(BRIEF)
    shelf.keep_frames(100)
    assert shelf.bytes == 0.1 * REWIND_SHARE * 16_000
    assert shelf.short == 100 - 20
    assert shelf.seqs() == list(range(80, 100))


def test_one_stream_retains_at_most_four_times_as_many_frames_as_a_carrier_sends_in_time() -> None:
    shelf = Shelf(BRIEF)
    shelf.keep_frames(300, size=2)
    assert len(shelf.seqs()) == 0.1 * REWIND_SHARE * RETAINED_FRAMES_PER_SECOND
    assert shelf.short == 300 - 160


def test_one_stream_retains_few_signals() -> None:
    shelf = Shelf(BRIEF)
    for position in range(100):
        shelf.keep(batch_of([SignalNoted(Signal.DTMF, "{}")], position))
    assert len(shelf.numbered) == 160 // OTHER_ENTRY_FRAMES


@pytest.mark.parametrize(
    ("size", "frames"),
    [(SIZE, REWIND_SHARE * 16_000 // 4 // SIZE), (2, RETAINED_FRAMES_PER_SECOND)],
)
def test_what_came_in_a_longer_time_is_retained_up_to_four_times_that_time(
    size: int, frames: int
) -> None:
    """It waited for a store that was away: a quarter of a second of frames is confirmed at once."""
    shelf = Shelf(BRIEF)
    shelf.keep(batch_of([SignalNoted(Signal.DTMF, "{}")], 0))
    shelf.budget.let_go_of_old(shelf.now + 9)
    shelf.position = 1
    shelf.keep_received(1, 100.0, size)
    shelf.keep_received(frames - 1, 100.25, size)
    assert shelf.short == 0
    assert len(shelf.seqs()) == frames
    shelf.keep_received(1, 100.25, size)
    assert shelf.short > 0


@pytest.mark.parametrize("noted", ["before", "behind"])
def test_a_signal_beside_them_does_not_make_frames_come_faster(noted: str) -> None:
    shelf = Shelf(BRIEF)
    if noted == "before":
        shelf.keep(batch_of([SignalNoted(Signal.DTMF, "{}")], 0))
        shelf.position = 1
    shelf.keep_received(1, 100.0)
    shelf.keep_received(40, 100.25)
    if noted == "behind":
        shelf.keep(batch_of([SignalNoted(Signal.DTMF, "{}")], shelf.position))
    assert shelf.short == 0


def test_of_two_batches_that_are_too_much_the_first_is_let_go_and_its_frames_are_counted() -> None:
    shelf = Shelf(BRIEF)
    shelf.keep(frames_at(0, 0, 1, 2), frames_at(3, 3, size=REWIND_SHARE * 1_600))
    assert shelf.seqs() == [3]
    assert shelf.short == 3


def test_one_batch_is_retained_however_large_it_is() -> None:
    shelf = Shelf(BRIEF)
    shelf.keep(frames_at(0, *range(100)))
    assert shelf.bytes == 100 * SIZE


def test_what_is_let_go_moves_the_base_after_it() -> None:
    shelf = Shelf(BRIEF)
    shelf.keep_frames(21)
    first = frames_at(0, 0)
    assert shelf.run == RUN
    assert shelf.base == first.account
    shelf.budget.let_go_of_old(shelf.now + 9)
    assert shelf.is_empty
    assert shelf.base.next_position == 21
    assert shelf.bytes == 0


def test_what_is_let_go_is_freed_at_once() -> None:
    """The budget knows of a batch until its time is over, and must not hold its audio."""
    shelf = Shelf(BRIEF)
    shelf.keep_frames(100)
    held = [batch for _, batch in shelf.budget._retained[""]]
    assert len(held) == 100
    assert sum(bool(batch.entries) or batch.packed is not None for batch in held) <= 20


def test_without_a_rewind_nothing_is_retained_and_the_base_goes_along() -> None:
    shelf = Shelf(BufferLimits(45, 1 << 20, 0))
    shelf.keep_frames(3)
    assert shelf.is_empty
    assert shelf.bytes == 0
    assert shelf.base.next_position == 3


def test_an_account_without_entries_is_the_account_after_the_last_batch() -> None:
    shelf = Shelf()
    shelf.keep_frames(2)
    cut = replace(frames_at(1, 1).account, state=State.CUT)
    shelf.keep(batch_of([], 2, account=cut))
    assert len(shelf.numbered) == 2
    assert shelf.numbered[-1].account == cut
    assert shelf.numbered[-1].end == 2


def test_an_account_without_entries_and_without_batches_is_the_base() -> None:
    shelf = Shelf()
    cut = Account(5, state=State.CUT)
    shelf.keep(batch_of([], 5, account=cut))
    assert shelf.is_empty
    assert shelf.base == cut


def test_what_reaches_above_a_position_is_taken_and_retained_no_more() -> None:
    shelf = Shelf()
    shelf.keep_frames(4)
    taken = shelf.take_from(2)
    assert positions(taken) == [(2, 3), (3, 4)]
    assert [seqs_of(batch.unpacked()) for batch in taken] == [[2], [3]]
    assert not any(batch.is_retained for batch in taken)
    assert shelf.bytes == 2 * SIZE
    assert shelf.take_from(4) == []


def test_a_batch_that_a_position_divides_is_taken_whole() -> None:
    shelf = Shelf()
    shelf.keep_frames(3, apart=0.01)
    assert positions(shelf.take_from(1)) == [(0, 3)]
    assert shelf.is_empty


def test_what_is_at_positions_that_are_not_known_is_not_taken_by_position() -> None:
    shelf = Shelf()
    shelf.keep(replace(frames_at(0, 0, 1), is_numbered=False), frames_at(9, 2))
    assert positions(shelf.numbered) == [(9, 10)]
    assert positions(shelf.take_from(0)) == [(9, 10)]
    assert positions(shelf.take_all()) == [(0, 2)]
    assert shelf.bytes == 0


def test_a_batch_that_was_taken_and_is_retained_again_has_its_new_age() -> None:
    """The budget still knows of the one that was retained before: it lets go of the other."""
    shelf = Shelf()
    shelf.keep_frames(1)
    (taken,) = shelf.take_from(0)
    shelf.now += 10
    shelf.keep(taken)
    shelf.budget.let_go_of_old(1_000.0 + LIMITS.rewind_seconds + JOINED_SECONDS)
    assert shelf.seqs() == [0]
    shelf.budget.let_go_of_old(shelf.now + LIMITS.rewind_seconds)
    assert shelf.is_empty


def test_frames_from_a_position_on_are_counted() -> None:
    shelf = Shelf()
    noted = SignalNoted(Signal.DTMF, "{}")
    shelf.keep(batch_of([frame(0), noted, frame(1)], 4), frames_at(7, 2))
    assert [shelf.frames_from(position) for position in range(4, 9)] == [3, 2, 2, 1, 0]
    assert shelf.frames_from(0) == 3
    shelf.keep(replace(frames_at(20, 3), is_numbered=False))
    assert shelf.frames_from(0) == 3


def test_the_end_of_a_run_is_found_at_its_own_position_alone() -> None:
    shelf = Shelf()
    end = Ended(EndReason.ENDED, Ledger())
    shelf.keep(batch_of([frame(0), end], 4), batch_of([end, frame(1)], 7))
    shelf.keep(replace(batch_of([end], 20), is_numbered=False))
    assert [position for position in range(3, 25) if shelf.has_end_at(position)] == [5, 7]


def test_a_reset_retains_nothing_and_knows_what_follows() -> None:
    shelf = Shelf()
    shelf.keep_frames(2)
    other = run_of("other")
    shelf.reset(other, Account(7))
    assert shelf.is_empty
    assert (shelf.run, shelf.base) == (other, Account(7))
    assert shelf.bytes == 0


Step = tuple[str, int]


@settings(max_examples=examples(200))
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "keep", "keep", "wait", "take", "take all", "old", "need"]),
            st.integers(0, 6),
        ),
        max_size=50,
    ),
    st.sampled_from([ROOMY, BRIEF, BufferLimits(45, 3_000, 5), BufferLimits(45, 1 << 20, 0)]),
)
def test_what_is_retained_is_a_gapless_tail_of_what_was_confirmed_and_counted_exactly(
    steps: list[Step], limits: BufferLimits
) -> None:
    shelf = Shelf(limits)
    confirmed: list[Entry] = []
    for verb, number in steps:
        match verb:
            case "keep":
                batch = frames_at(len(confirmed), *range(len(confirmed), len(confirmed) + number))
                confirmed += batch.entries
                shelf.add(batch, shelf.now)
            case "wait":
                shelf.now += number / 10
            case "take":
                taken = shelf.take_from(max(0, len(confirmed) - number))
                del confirmed[taken[0].first_position if taken else len(confirmed) :]
            case "take all":
                taken = shelf.take_all()
                del confirmed[taken[0].first_position if taken else len(confirmed) :]
            case "old":
                shelf.budget.let_go_of_old(shelf.now - number)
            case "need":
                shelf.budget.add(300 * number)
                shelf.budget.add(-300 * number)
        held = [entry for batch in shelf._batches for entry in batch.unpacked()]
        assert held == confirmed[len(confirmed) - len(held) :]
        assert shelf.bytes == SIZE * len(held)
        assert shelf.bytes <= limits.buffer_bytes
        if shelf._batches:
            assert shelf._batches[0].first_position == len(confirmed) - len(held)
        assert all(batch.is_retained for batch in shelf._batches)
        assert all(batch.lease is LEASE for batch in shelf._batches)
