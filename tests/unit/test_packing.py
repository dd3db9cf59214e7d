"""Entries that wait for long take little memory, and come out as they went in."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from stream_parts import MEDIA, OPENING, frame, started

from application.delivery.packing import PackedEntries
from domain.entries import Ended, Entry, Gap, SignalNoted
from domain.events import EndReason, Signal
from domain.ledger import Ledger
from domain.media import AudioFrame
from domain.sequence import MAX_SEQ

FRAMES = st.builds(
    AudioFrame,
    st.just(MEDIA),
    st.integers(0, MAX_SEQ),
    st.integers(0, 2**53 - 1),
    st.binary(min_size=2, max_size=20).map(lambda audio: audio[: len(audio) // 2 * 2]),
)
OTHERS: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Gap, st.integers(0, MAX_SEQ), st.integers(1, 9)),
    st.builds(SignalNoted, st.sampled_from(Signal), st.text(max_size=9)),
    st.builds(Ended, st.sampled_from(EndReason), st.just(Ledger())),
    st.builds(started, st.integers(1, 9), resumed=st.booleans(), of=st.just(OPENING)),
)


@given(st.lists(st.one_of(FRAMES, FRAMES, OTHERS), max_size=40))
def test_what_is_packed_comes_out_as_it_went_in(entries: list[Entry]) -> None:
    packed = PackedEntries(entries, MEDIA)
    assert packed.unpack() == entries
    assert packed.unpack() == entries, "it stays packed"


def test_frames_that_are_packed_take_little_more_memory_than_their_audio() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        packed = PackedEntries([frame(seq, 320) for seq in range(1_000)], MEDIA)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 1_000 * (320 + 40)
    assert len(packed.unpack()) == 1_000
