"""The batches of one stream on their way: open, queued, in flight, and back."""

import pytest
from batches import LEASE, RUN, SIZE, CheckedBudget, batch_of, frames_at, positions, size_of
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_parts import Walk, frame

from application.delivery.batch import Batch
from application.delivery.retained import BATCH_BYTES, BATCH_ENTRIES
from application.delivery.send_window import SendWindow
from domain.account import Account
from domain.entries import Entry, SignalNoted
from domain.events import Signal
from domain.head import Lease
from examples import examples


class Window(SendWindow):
    """Puts frames, and closes with the account that follows from them."""

    def __init__(self, next_position: int = 1) -> None:
        self.budget = CheckedBudget()
        super().__init__(next_position, self.budget)

    def hear(self, *seqs: int, size: int = SIZE) -> bool:
        is_full = False
        for seq in seqs:
            is_full = self.put((frame(seq, size),), 7.0, size)
        return is_full

    def close_open(self, lease: Lease = LEASE) -> Batch:
        return self.close(RUN, lease, 0, Account(self.next_position + len(self.open_entries)))

    def queue_frames(self, *batches: int) -> list[Batch]:
        """Queue so many batches with so many frames each."""
        seq, closed = 0, []
        for frames in batches:
            self.hear(*range(seq, seq + frames))
            closed.append(self.close_open())
            seq += frames
        return closed

    @property
    def unconfirmed(self) -> int:
        return self.budget.held_bytes.unconfirmed


def test_entries_are_numbered_by_their_order() -> None:
    window = Window(5)
    window.hear(0, 1)
    first = window.close_open()
    window.hear(2)
    second = window.close_open()
    assert positions([first, second]) == [(5, 7), (7, 8)]
    assert window.next_position == 8
    assert (first.frames, first.received_at, first.audio_bytes) == (2, [7.0, 7.0], 640)


def test_a_batch_is_full_when_it_has_many_entries() -> None:
    window = Window()
    assert not window.hear(*range(BATCH_ENTRIES - 1))
    assert window.hear(BATCH_ENTRIES)


def test_a_batch_is_full_when_it_has_much_audio() -> None:
    window, frames = Window(), BATCH_BYTES // 65_536
    assert not window.hear(*range(frames - 1), size=65_536)
    assert window.hear(frames, size=65_536)


def test_a_signal_takes_room_by_its_details() -> None:
    window = Window()
    noted = SignalNoted(Signal.MARK, "x" * 1_000)
    window.put((noted,), 7.0, size_of([noted]))
    assert window.open_bytes == window.audio_bytes == window.unconfirmed == 1_000
    assert window.open_received_at == []


def test_what_is_taken_is_in_flight_and_the_rest_stays_queued() -> None:
    window = Window()
    batches = window.queue_frames(100, 28, 1)
    assert window.take() == batches[:2]
    assert (window.in_flight, window.queued) == (batches[:2], batches[2:])
    assert window.count == 129


def test_a_batch_beyond_the_bound_is_sent_by_itself() -> None:
    window = Window()
    batches = window.queue_frames(BATCH_ENTRIES + 2, 1)
    assert window.take() == batches[:1]


def test_much_audio_is_sent_in_several_appends() -> None:
    window = Window()
    for seq in range(3):
        window.hear(2 * seq, 2 * seq + 1, size=100_000)
        window.close_open()
    assert len(window.take()) == 2
    assert sum(batch.audio_bytes for batch in window.in_flight) <= BATCH_BYTES


def test_an_append_ends_with_its_lease() -> None:
    window = Window()
    older = window.queue_frames(1, 1)
    window.hear(9)
    newer = window.close_open(Lease(2, "newer", 2_000))
    assert window.take() == older
    window.confirm()
    assert window.take() == [newer]


def test_generations_of_one_lease_go_in_one_append() -> None:
    window = Window()
    first = window.queue_frames(1)
    window.hear(9)
    second = window.close_open(Lease(2, LEASE.owner, LEASE.granted_at_ms))
    assert window.take() == [*first, second]


def test_what_failed_is_sent_again_as_it_was_in_front_of_the_rest() -> None:
    window = Window()
    batches = window.queue_frames(2, 1)
    taken = window.take()
    window.hear(3)
    window.put_back()
    assert window.queued == batches
    assert window.in_flight == []
    assert window.take() == taken == batches
    assert window.unconfirmed == 4 * SIZE


def test_what_is_confirmed_leaves_the_window() -> None:
    window = Window()
    batches = window.queue_frames(2, 1)
    window.take()
    window.hear(3)
    assert window.confirm() == batches
    assert (window.count, window.audio_bytes, window.unconfirmed) == (1, SIZE, SIZE)
    assert not window.is_empty
    window.drop()
    assert window.is_empty


def test_what_the_store_has_of_the_queue_is_confirmed_and_the_rest_is_marked() -> None:
    window = Window(1)
    batches = window.queue_frames(2, 3, 1)
    assert window.confirm_below(4) == batches[:1]
    assert [batch.stored for batch in window.queued] == [1, 0]
    assert window.queued[0].rest().entries == [frame(3), frame(4)]
    assert window.unconfirmed == 4 * SIZE
    window.take()
    window.confirm()
    batches[1].note_confirmed()
    assert batches[1].stored == 0, "all of it is there"


def test_a_batch_of_which_the_store_has_all_is_confirmed() -> None:
    window = Window(1)
    batches = window.queue_frames(2, 3)
    assert window.confirm_below(batches[0].end) == batches[:1]
    assert window.queued == batches[1:]
    assert batches[1].stored == 0


@pytest.mark.parametrize("position", [0, 1])
def test_a_store_that_has_nothing_of_the_queue_confirms_nothing(position: int) -> None:
    window = Window(1)
    batches = window.queue_frames(2, 3)
    assert window.confirm_below(position) == []
    assert window.queued == batches
    assert batches[0].stored == 0


def test_confirmed_batches_are_queued_again_in_front() -> None:
    window = Window(10)
    later = window.queue_frames(1)
    replays = [frames_at(4, 0, 1, 2), frames_at(7, 3, 4, 5)]
    for batch in replays:
        batch.note_confirmed()
    window.replay(replays, 5)
    assert window.queued == [*replays, *later]
    assert [batch.stored for batch in window.queued] == [1, 0, 0]
    assert replays[0].rest().entries == [frame(1), frame(2)]
    assert window.count == 7
    assert window.unconfirmed == 7 * SIZE
    assert window.replayed_bytes == 6 * SIZE
    window.take()
    assert window.replayed_bytes == 6 * SIZE


def test_a_batch_that_was_packed_is_sent_as_it_was() -> None:
    window = Window()
    (batch,) = window.queue_frames(3)
    batch.pack()
    batch.stored = 1
    assert list(batch.rest().entries) == [frame(1), frame(2)]
    assert len(batch.segment().entries) == 3
    batch.stored = 0
    assert list(batch.rest().entries) == [frame(0), frame(1), frame(2)]
    assert batch.entries == [], "it stays packed"


def test_a_window_that_is_dropped_is_empty_and_holds_no_bytes() -> None:
    window = Window()
    batches = window.queue_frames(2, 1)
    window.take()
    window.hear(3)
    assert window.drop() == batches
    assert window.is_empty
    assert (window.count, window.audio_bytes, window.unconfirmed) == (0, 0, 0)


def test_a_closed_batch_is_queued_after_all_others() -> None:
    window = Window()
    batches = window.queue_frames(1)
    queued = frames_at(40, 9)
    window.queue(queued)
    assert window.queued == [*batches, queued]
    assert window.next_position == 41
    assert window.unconfirmed == 2 * SIZE


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "close", "take", "confirm", "fail", "found", "drop"]),
        st.integers(1, 140),
    ),
    max_size=60,
)


@settings(max_examples=examples(200))
@given(STEPS)
def test_what_leaves_the_window_is_what_was_put_in_order_and_once(  # noqa: C901  # a verb a case
    steps: list[Step],
) -> None:
    """Against a list of all entries, and the number of those that are confirmed."""
    window, put, confirmed, closed = Window(0), list[Entry](), list[Entry](), 0
    for verb, number in steps:
        match verb:
            case "put":
                entries = tuple(frame(len(put) + n, 2) for n in range(number % 5 + 1))
                put += entries
                if window.put(entries, 0.0, 2 * len(entries)):
                    window.close_open()
                    closed = len(put)
            case "close":
                window.close_open()
                closed = len(put)
            case "take" if not window.in_flight and window.queued:
                taken = window.take()
                assert len(taken) == 1 or sum(it.count for it in taken) <= BATCH_ENTRIES
                assert taken[0].first_position == len(confirmed)
            case "confirm":
                confirmed += [it for batch in window.confirm() for it in batch.entries]
            case "fail":
                window.put_back()
            case "found" if not window.in_flight:
                for batch in window.confirm_below(len(confirmed) + number % 7):
                    confirmed += batch.entries
            case "drop":
                window.drop()
                put, closed = list(confirmed), len(confirmed)
                window.next_position = closed
        assert put[: len(confirmed)] == confirmed
        assert window.count == len(put) - len(confirmed)
        assert window.audio_bytes == window.unconfirmed == 2 * window.count
        assert len(window.open_entries) == len(put) - closed
        assert window.next_position == closed
        assert window.is_empty is (not (window.count or window.queued or window.in_flight))


def test_an_account_without_entries_takes_no_position() -> None:
    window = Window(5)
    empty = window.close_open()
    assert positions([empty]) == [(5, 5)]
    assert not window.is_empty
    assert window.count == 0
    assert window.take() == [empty]
    assert window.confirm() == [empty]
    assert window.is_empty


def test_a_batch_made_by_hand_is_like_one_that_was_closed() -> None:
    walk = Walk(1)
    walk.take_all([frame(0), frame(1)])
    window = Window(1)
    window.hear(0, 1)
    closed = window.close(RUN, LEASE, 0, walk.account())
    made = batch_of([frame(0), frame(1)], 1)
    made.received_at = [7.0, 7.0]
    assert all(getattr(closed, name) == getattr(made, name) for name in Batch.__slots__)
