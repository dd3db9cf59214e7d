"""One run of a published stream as a WAV file and a JSON file beside it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from application.ports.reader import PublishedEntry
from domain.account import State
from domain.entries import Ended, Gap, Started
from domain.head import Head
from domain.media import AudioFrame, MediaFormat
from entrypoints.cli.wav_file import WavFile

MAX_SILENCE_MS = 3_600_000
"""A gap that lasts longer is noted, not written."""

MAX_GAPS_LISTED = 10_000

SILENCE_RULE = (
    "a gap is as long as its missing frames times the frame before it, or the frame after it "
    "where none is before"
)


@dataclass(slots=True)
class Silence:
    """A gap as it is written down; `silence_ms` None where no silence stands for it."""

    position: int
    first_missing: int
    missing: int
    silence_ms: int | None = None


class RunExport:
    """Takes the entries of one run in order, then completes its two files."""

    def __init__(self, directory: Path, stem: str, number: int) -> None:
        self.number = number
        self.wav_path = directory / f"{stem}_run{number}.wav"
        self.json_path = directory / f"{stem}_run{number}.json"
        self.frames = self.gap_count = self._silence_bytes = 0
        self.started: Started | None = None
        self.ended: Ended | None = None
        self._is_full = False
        self.first_received_at_ms: int | None = None
        self._generations: list[int] = []
        self._gaps: list[Silence] = []
        self._holes: list[dict[str, int]] = []
        self._waiting: Silence | None = None
        self._first_position: int | None = None
        self._next_position = 0
        self._last_frame: AudioFrame | None = None
        self._wav: WavFile | None = None

    def add(self, published: PublishedEntry) -> None:
        """Write one entry; audio as long as the WAV file has room for it."""
        entry = published.entry
        self._note_position(published.position)
        if published.generation not in self._generations[-1:]:
            self._generations.append(published.generation)
        match entry:
            case AudioFrame():
                self._write_frame(entry)
            case Gap(first_missing, missing):
                self._note_gap(Silence(published.position, first_missing, missing))
            case Started():
                self.started = self.started or entry
                self._wav_of(entry.opening.media)
            case Ended():
                self.ended = entry

    @property
    def wav(self) -> WavFile | None:
        """The WAV file; None as long as its format is unknown."""
        return self._wav

    def close_wav(self) -> None:
        """Complete the WAV file; nothing more can be added."""
        if self._wav is not None:
            self._wav.close()

    def write_account(self, head: Head, *, is_last: bool) -> dict[str, Any]:
        """Write the JSON file and return its contents; `is_last`: no run follows in the stream."""
        account = self._account(head, is_last=is_last)
        text = json.dumps(account, indent=2, ensure_ascii=False)
        self.json_path.write_text(text + "\n", encoding="utf-8")
        return account

    def _note_position(self, position: int) -> None:
        if self._first_position is None:
            self._first_position = position
        elif position > self._next_position:
            absent = position - self._next_position
            self._holes.append({"first_position": self._next_position, "positions": absent})
        self._next_position = position + 1

    def _write_frame(self, frame: AudioFrame) -> None:
        wav = self._wav_of(frame.media)
        if self._waiting is not None:
            self._write_silence(wav, self._waiting, frame)
            self._waiting = None
        self.frames += 1
        if self._has_room(wav, len(frame.audio)):
            wav.write(frame.audio)
        if self.first_received_at_ms is None:
            silence = wav.media.duration_ms(self._silence_bytes)
            self.first_received_at_ms = frame.received_at_ms - silence
        self._last_frame = frame

    def _has_room(self, wav: WavFile, size: int) -> bool:
        """Whether this fits into the WAV file, which ends at the first item that does not fit."""
        self._is_full = self._is_full or not wav.has_room_for(size)
        return not self._is_full

    def _note_gap(self, gap: Silence) -> None:
        self.gap_count += 1
        if self.gap_count <= MAX_GAPS_LISTED:
            self._gaps.append(gap)
        if self._last_frame is None or self._wav is None:
            self._waiting = gap
        else:
            self._write_silence(self._wav, gap, self._last_frame)

    def _write_silence(self, wav: WavFile, gap: Silence, model: AudioFrame) -> None:
        size = gap.missing * len(model.audio)
        silence_ms = model.media.duration_ms(size)
        if silence_ms <= MAX_SILENCE_MS and self._has_room(wav, size):
            wav.write_silence(size)
            gap.silence_ms = silence_ms
            self._silence_bytes += size

    def _wav_of(self, media: MediaFormat) -> WavFile:
        if self._wav is None:
            self._wav = WavFile(self.wav_path, media)
        return self._wav

    def _account(self, head: Head, *, is_last: bool) -> dict[str, Any]:
        ledger = None if self.ended is None else self.ended.ledger
        if ledger is None and is_last:
            ledger = head.account.ledger
        doubts = self._doubts()
        return {
            "run": self.number,
            "state": self._state(head, is_last=is_last),
            "reason": self.ended and self.ended.reason.value,
            "recovered": self.ended is not None and self.ended.recovered,
            "complete": not doubts,
            "incomplete_because": doubts,
            "ledger": ledger and ledger.counters(),
            **self._opening(),
            **self._audio(),
            "generations": self._generations,
            "first_position": self._first_position,
            "last_position": self._next_position - 1,
            "stream_trimmed_before_position": head.first_kept,
            "holes": self._holes,
            "gap_count": self.gap_count,
            "gaps": [asdict(gap) for gap in self._gaps],
            "silence_rule": SILENCE_RULE,
        }

    def _state(self, head: Head, *, is_last: bool) -> str:
        if self.ended is not None:
            return "ended"
        if not is_last:
            return "unknown"
        return "cut" if head.account.state is State.CUT else "live"

    def _doubts(self) -> list[str]:
        """Return why the WAV file lacks audio of the sender; empty if it is complete."""
        found = []
        if self.started is None or self.started.resumed:
            found.append("the beginning is no longer kept")
        if self._holes:
            found.append("positions are absent")
        if self._is_full:
            found.append("the WAV file is full: it holds at most 4 GiB")
        if self.ended is None:
            return [*found, "the run has not ended"]
        ledger = self.ended.ledger
        found += [
            f"the ledger says {name} {ledger.counters()[name]}"
            for name in ("missing", "lost", "rejected")
            if ledger.counters()[name]
        ]
        if self.frames != ledger.published:
            found.append(f"{self.frames} frames found of {ledger.published} published")
        return found

    def _opening(self) -> dict[str, Any]:
        if self.started is None:
            return {}
        opening = self.started.opening
        return {
            "tenant_id": opening.stream.tenant_id,
            "stream_id": opening.stream.stream_id,
            "interaction_id": opening.interaction_id,
            "track": opening.track,
            "dialect": opening.dialect,
            "started_at_ms": opening.started_at_ms,
        }

    def _audio(self) -> dict[str, Any]:
        if self._wav is None:
            return {"wav": None}
        media, size = self._wav.media, self._wav.audio_bytes
        return {
            "wav": self.wav_path.name,
            "sample_rate": media.sample_rate,
            "encoding": media.encoding.value,
            "channels": media.channels,
            "frames": self.frames,
            "wav_ms": media.duration_ms(size),
            "silence_ms": media.duration_ms(self._silence_bytes),
        }
