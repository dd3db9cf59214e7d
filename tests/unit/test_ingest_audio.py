"""A frame of audio arrives: what becomes of it, and how it is counted."""

import pytest
from sender_bench import SenderBench, timeless, until
from stream_parts import MEDIA

from application.ports.clock import Instant
from domain.entries import Gap, SignalNoted
from domain.errors import IllegalTransition, InvalidAudio, InvalidSequenceNumber
from domain.events import EndReason, Resume, Signal
from domain.media import AudioFrame
from domain.sequence import MAX_SEQ


def counted(bench: SenderBench) -> dict[str, int]:
    names = ("received", "published", "duplicate", "rejected", "lost", "missing")
    return {name: bench.telemetry.total(name) for name in names if bench.telemetry.total(name)}


@timeless()
async def test_a_frame_is_stored_as_it_came_and_stamped_with_its_reception(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    assert bench.ingest(live, 7, b"\1\2", Instant(bench.clock.now, 123_456))
    now_ms = bench.clock.epoch_ms()
    assert bench.ingest(live, 8, b"\3\4")
    await until(lambda: live.log.is_empty)
    assert bench.store.entries()[1:] == [
        AudioFrame(MEDIA, 7, 123_456, b"\1\2"),
        AudioFrame(MEDIA, 8, now_ms, b"\3\4"),
    ]
    assert counted(bench) == {"received": 2, "published": 2}


@timeless()
async def test_how_long_a_confirmation_took_counts_from_the_reception(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.store.seconds = 0.5
    bench.ingest(live, 0, b"ab", Instant(bench.clock.now - 2, 0))
    await until(lambda: live.log.is_empty)
    assert bench.telemetry.confirm_seconds == [pytest.approx(2.5)]


@timeless()
async def test_a_frame_without_a_number_takes_the_next(bench: SenderBench) -> None:
    live = await bench.begin()
    for seq in (None, None, 10, None):
        assert bench.ingest(live, seq, b"ab")
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [0, 1, 10, 11]


@timeless()
async def test_a_repeated_frame_is_counted_and_not_stored(bench: SenderBench) -> None:
    live = await bench.begin()
    assert bench.ingest(live, 3, b"ab")
    assert not bench.ingest(live, 3, b"ab")
    assert not bench.ingest(live, 2, b"ab")
    await until(lambda: live.log.is_empty)
    assert bench.store.seqs() == [3]
    assert counted(bench) == {"received": 3, "published": 1, "duplicate": 2}


@timeless()
async def test_frames_that_did_not_come_are_declared_and_counted(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0, 5)
    await until(lambda: live.log.is_empty)
    assert bench.store.entries()[2] == Gap(1, 4)
    assert counted(bench) == {"received": 2, "published": 2, "missing": 4}


@pytest.mark.parametrize(
    ("seq", "audio", "error"),
    [
        (0, b"", InvalidAudio),
        (0, b"abc", InvalidAudio),
        (-1, b"ab", InvalidSequenceNumber),
        (MAX_SEQ + 1, b"ab", InvalidSequenceNumber),
    ],
)
@timeless()
async def test_a_frame_that_is_refused_changes_nothing(
    bench: SenderBench, seq: int, audio: bytes, error: type[Exception]
) -> None:
    live = await bench.begin()
    before = live.interaction.account(1)
    with pytest.raises(error):
        bench.ingest(live, seq, audio)
    assert live.interaction.account(1) == before
    assert live.log.is_empty
    assert counted(bench) == {}


@timeless()
async def test_what_cannot_be_used_is_counted_by_its_reason(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.ingest.refuse(live, "bad_json")
    bench.ingest.refuse(live, "bad_audio", messages=3, unnumbered=True)
    assert bench.telemetry.counted["rejected", "bad_json"] == 1
    assert bench.telemetry.counted["rejected", "bad_audio"] == 3
    assert live.interaction.ledger.rejected == 4
    assert live.interaction.unnumbered_seq == 1
    assert live.log.is_empty


@timeless()
async def test_a_signal_has_its_place_among_the_frames(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    bench.ingest.note(live, Signal.DTMF, '{"digit":"5"}')
    bench.hear(live, 1)
    await until(lambda: live.log.is_empty)
    assert bench.store.entries()[2] == SignalNoted(Signal.DTMF, '{"digit":"5"}')
    assert bench.store.seqs() == [0, 1]


@timeless()
async def test_frames_that_full_buffers_cannot_take_are_lost_and_declared(
    bench: SenderBench,
) -> None:
    live = await bench.begin()
    bench.hear(live, 0)
    assert bench.ingest.drop(live, 1)
    assert bench.ingest.drop(live, None, frames=2)
    assert not bench.ingest.drop(live, 2)
    bench.hear(live, 9)
    await until(lambda: live.log.is_empty)
    assert bench.store.entries()[2] == Gap(1, 8)
    assert counted(bench) == {
        "received": 6, "published": 2, "duplicate": 1, "lost": 3, "missing": 8
    }  # fmt: skip
    assert live.interaction.ledger.lost == 3


@timeless()
async def test_what_a_superseded_sender_still_sends_is_lost(bench: SenderBench) -> None:
    older = await bench.begin()
    newer = await bench.begin(Resume())
    assert bench.ingest(older, 0, b"ab")
    bench.ingest.note(older, Signal.DTMF, "{}")
    bench.hear(newer, 0)
    await until(lambda: newer.log.is_empty)
    assert bench.store.seqs() == [0]
    assert not any(isinstance(entry, SignalNoted) for entry in bench.store.entries())
    assert counted(bench) == {"received": 2, "published": 1, "lost": 1}


@timeless()
async def test_an_ended_run_takes_nothing_more(bench: SenderBench) -> None:
    live = await bench.begin()
    bench.end(live, EndReason.ENDED)
    with pytest.raises(IllegalTransition):
        bench.ingest(live, 0, b"ab")
    await until(lambda: bench.background.is_idle)
    assert bench.store.seqs() == []
