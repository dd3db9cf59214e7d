"""Events of entries: what the kit makes of repeats, holes, rewritten and unknown entries."""

import json
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtaa_reader import Audio, Call, Dtmf, Ended, Event, Gap, Started, to_wav
from rtaa_reader.position import Position
from rtaa_reader.resample import Resampler
from rtaa_reader.tape import Tape

Entry = tuple[bytes, dict[bytes, bytes]]
AUDIO = b"\x01\x00" * 160


def entry(entry_id: str, kind: str, data: Any = None, **fields: bytes) -> Entry:
    more = {} if data is None else {b"data": json.dumps(data).encode()}
    return entry_id.encode(), {b"type": kind.encode(), **more} | {
        key.encode(): value for key, value in fields.items()
    }


def started(entry_id: str, run: str = "r", **more: Any) -> Entry:
    ids = {"tenant_id": "t", "interaction_id": "i", "stream_id": "s"}
    return entry(entry_id, "started", {"run": run, "resumed": False, **ids, **more})


def frame(entry_id: str, seq: int, audio: bytes = AUDIO) -> Entry:
    return entry(entry_id, "audio", seq=str(seq).encode(), received_at_ms=b"1", audio=audio)


def ended(entry_id: str) -> Entry:
    return entry(entry_id, "ended", {"reason": "ended", "ledger": {}})


def tape(position: Position = Position()) -> Tape:  # noqa: B008 - it is frozen
    return Tape("t/s", "lease", position, Call("t", "i", "s"))


def numbers(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))


def stored(entries: Sequence[Entry], start: str) -> list[Entry]:
    """Answer an XRANGE."""
    if start == "-":
        return list(entries)
    low, is_open = numbers(start.removeprefix("(")), start[0] == "("
    ids = [numbers(it[0].decode()) for it in entries]
    return [
        it for at, it in zip(ids, entries, strict=True) if at > low or (at == low and not is_open)
    ]


def read(from_: Tape, entries: Sequence[Entry], polls: int = 20) -> list[Event]:
    return [it for _ in range(polls) for it in from_.read(stored(entries, from_.start))]


def brief(events: Sequence[Event]) -> list[tuple[str, int]]:
    return [(it.type, it.seq) for it in events]


FIRST = [started("1-0"), *(frame(f"1-{n + 1}", n) for n in range(5))]


def test_entries_become_events_in_order() -> None:
    dtmf = entry("1-6", "dtmf", {"digit": "5"})
    gap = entry("1-7", "gap", {"first_missing": 5, "missing": 2})
    events = read(tape(), [*FIRST, dtmf, gap, frame("1-8", 7), ended("1-9")])
    assert brief(events) == [
        ("started", -1), *(("audio", n) for n in range(5)), ("dtmf", 4), ("gap", 6), ("audio", 7),
        ("ended", 7),
    ]  # fmt: skip
    assert isinstance(events[6], Dtmf)
    assert events[6].data == {"digit": "5"}


def test_a_stream_that_was_emptied_and_rewritten_gives_only_what_is_new() -> None:
    one = tape()
    read(one, [*FIRST, entry("1-6", "dtmf", {"digit": "5"})])
    rewritten = [
        started("2-0", resumed=True),
        entry("2-1", "gap", {"first_missing": 0, "missing": 3}),
        frame("2-2", 3),
        frame("2-3", 4),
        entry("2-4", "dtmf", {"digit": "5"}),
        entry("2-5", "dtmf", {"digit": "5"}),
        frame("2-6", 5),
    ]
    assert brief(read(one, rewritten)) == [("started", 4), ("dtmf", 4), ("audio", 5)]


def test_a_gap_reaches_from_what_was_read() -> None:
    one = tape()
    read(one, FIRST)
    gap = entry("2-1", "gap", {"first_missing": 2, "missing": 8})
    _, event = read(one, [started("2-0", resumed=True), gap])
    assert isinstance(event, Gap)
    assert (event.first_missing, event.missing, event.declared) == (5, 5, True)


def test_another_run_with_the_same_ids_is_read_from_its_start() -> None:
    one = tape()
    read(one, [*FIRST, ended("1-6")])
    other = [started("1-0", "other"), *(frame(f"1-{n + 1}", n, AUDIO[2:]) for n in range(7))]
    assert brief(read(one, other)) == [("started", -1), *(("audio", n) for n in range(7))]


def test_a_broker_rolled_back_is_followed_when_it_grows_once_more() -> None:
    one = tape()
    many = [started("1-0"), *(frame(f"1-{n + 1}", n) for n in range(200))]
    assert len(read(one, many)) == 201
    for size in (120, 150, 210):
        more = [started("1-0"), *(frame(f"1-{n + 1}", n) for n in range(size))]
        assert brief(read(one, more)) == [("audio", n) for n in range(200, size)]


def test_a_run_that_has_ended_is_not_read_once_more() -> None:
    one = tape()
    read(one, [*FIRST, ended("1-6")])
    again = [started("2-0"), frame("2-1", 3), frame("2-2", 4), ended("2-3")]
    assert read(one, again) == []


def test_the_next_owner_continues_after_the_position() -> None:
    first = read(tape(), FIRST)[3]
    position = Position.loads(first.position.dumps())
    assert brief(read(tape(position), FIRST)) == [("audio", 3), ("audio", 4)]


def test_what_was_trimmed_before_it_was_read_is_a_gap_that_is_not_declared() -> None:
    one = tape()
    read(one, FIRST)
    gap, audio = read(one, [frame("1-9", 8)])
    assert isinstance(gap, Gap)
    assert (gap.first_missing, gap.missing, gap.declared) == (5, 3, False)
    assert isinstance(audio, Audio)
    assert Position.loads(gap.position.dumps()).entry == "1-5"


def test_a_second_run_counts_from_its_own_start() -> None:
    entries = [*FIRST, ended("1-6"), started("2-7", "next"), frame("2-8", 0)]
    events = read(tape(), entries)
    assert [(it.type, it.run, it.seq) for it in events[-3:]] == [
        ("ended", "r", 4), ("started", "next", -1), ("audio", "next", 0),
    ]  # fmt: skip
    assert events[-1].position.has_read("r")
    assert not events[-1].position.has_read("next")


def test_a_run_before_all_that_are_remembered_is_read() -> None:
    starts = [started(f"{n}-{n}", f"r{n}") for n in range(10, 20)]
    position = read(tape(), starts)[-1].position
    assert [it.generation for it in position.runs] == list(range(12, 20))
    assert position.has_read("r11", 11, 19)
    assert not position.has_read("new", 20, 20)
    assert not position.has_read("new", 1, 2)  # on a broker that was emptied


def test_entries_of_unknown_types_are_ignored() -> None:
    unknown = entry("1-6", "hologram", {"first_missing": 1})
    assert brief(read(tape(), [*FIRST, unknown, frame("1-7", 5)]))[-1] == ("audio", 5)
    assert len(read(tape(), [*FIRST, unknown])) == len(FIRST)


def test_a_wav_file_has_silence_for_a_gap(tmp_path: Path) -> None:
    gap = entry("1-6", "gap", {"first_missing": 5, "missing": 2})
    events = read(tape(), [*FIRST, gap, frame("1-7", 7), ended("1-8")])
    assert to_wav(tmp_path / "it.wav", events) == 6
    with wave.open(str(tmp_path / "it.wav"), "rb") as file:
        assert file.getparams()[:3] == (1, 2, 8000)
        assert file.readframes(10_000) == AUDIO * 5 + bytes(2 * len(AUDIO)) + AUDIO
    assert to_wav(tmp_path / "none.wav", events[:1]) == 0
    assert not (tmp_path / "none.wav").exists()


def test_mu_law_is_decoded() -> None:
    entries = [started("1-0", encoding="mulaw"), frame("1-1", 0, b"\xff\x7f\x80\x00\xe7")]
    audio = read(tape(), entries)[1]
    assert isinstance(audio, Audio)
    samples = np.frombuffer(audio.pcm16, "<i2").tolist()
    assert samples == [0, 0, 32124, -32124, 260]
    assert audio.duration_ms == 5 / 8


def test_each_event_has_the_trace_parent_of_its_generation() -> None:
    first, second = (f"00-{digit * 32}-{digit * 16}-01" for digit in "12")
    entries = [
        started("1-0", traceparent=first), frame("1-1", 0),
        started("2-2", traceparent=second, resumed=True), frame("2-3", 1),
        started("3-4", "r2"), frame("3-5", 0),
    ]  # fmt: skip
    found = [event.call.traceparent for event in read(tape(), entries)]
    assert found == [first, first, second, second, None, None]


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_samples_for_recognisers_have_their_rate_and_loudness(rate: int) -> None:
    tone = (np.sin(np.arange(rate) / rate * 2 * np.pi * 440) * 16_384).astype("<i2").tobytes()
    size = rate // 50 * 2
    frames = [tone[at : at + size] for at in range(0, len(tone), size)]
    entries = [frame(f"1-{n + 1}", n, audio) for n, audio in enumerate(frames)]
    events = read(tape(), [started("1-0", sample_rate=rate), *entries, ended("1-99")])
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Ended)
    resampler = Resampler()
    samples = np.concatenate([resampler.feed(event) for event in events])
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(16_000, abs=2)
    expected = np.sin(np.arange(len(samples)) / 16_000 * 2 * np.pi * 440) / 2
    assert np.abs(samples - expected)[400:-400].max() < 0.01
