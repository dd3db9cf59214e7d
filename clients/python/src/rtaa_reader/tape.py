"""Makes events from a stream's entries, without repeats after a loss of the broker."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from rtaa_reader.events import Audio, Call, Dtmf, Ended, Event, Gap, Mark, Started
from rtaa_reader.position import Position, Progress

Place = tuple[str, int, Progress]
"""A read entry, by id and checksum, and the position of its run there."""

MAX_PLACES, STEP_BACK = 600, 50
"""How far reading can go back, in total and in one step: 12 s and 1 s of 20 ms frames."""

_TYPES = {it.__name__.lower(): it for it in (Started, Audio, Gap, Dtmf, Mark, Ended)}


class Tape:
    """Give it the stored entries from `start` on; it returns the new events.

    `start` is the last read entry. If another one or none is there, the broker was rolled back or
    emptied: then it reads from an earlier entry, and skips the known frames of a run. `runs` has
    the run of each known generation.
    """

    def __init__(self, stream: str, lease: str, position: Position, call: Call) -> None:
        self.lease, self.position, self.call = lease, position, call
        self.frame_ms, self._common = 0.0, dict[str, Any](stream=stream, lease=lease)
        self.runs = {it.generation: it.run for it in position.runs}
        self._places: list[Place] = [(*position[:2], it) for it in position.runs[-1:]]

    @property
    def start(self) -> str:
        """The id from which to read."""
        return self._places[-1][0] if self._places else "-"

    def read(self, page: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Event]:
        """Return the events of entries from `start` on, without known ones."""
        entries = [(entry.decode(), crc32(b"\0".join(it.values())), it) for entry, it in page]
        last = [it[:2] for it in self._places[-1:]]
        if last != [it[:2] for it in entries[: len(last)]]:
            del self._places[-STEP_BACK:]
            return []
        del self._places[:-MAX_PLACES]
        return [event for it in entries[len(last) :] for event in self._read(*it)]

    def _read(self, entry: str, checksum: int, fields: Mapping[bytes, bytes]) -> Iterator[Event]:
        kind, data = fields[b"type"].decode(), json.loads(fields.get(b"data", b"{}"))
        generation = int(entry.partition("-")[0])
        if kind == "started":
            self.runs[generation], self.call = data["run"], Call.read(data)
        run = self.runs.get(generation, "")
        here = next((it[2] for it in self._places[-1:] if it[2].run == run), Progress(run))
        first = seq = int(fields.get(b"seq", here.seq))
        if kind == "gap":
            first, seq = data["first_missing"], data["first_missing"] + data["missing"] - 1
        signals = here.signals + (kind in {"dtmf", "mark"}) if seq == here.seq else 0
        self._places.append((entry, checksum, Progress(run, generation, seq, signals)))
        had = self.position.of(run)
        is_new = kind == "ended" or (seq, signals) > (had.seq, had.signals)
        is_new = generation > had.generation if kind == "started" else is_new
        if had.ended or not is_new or kind not in _TYPES:
            return
        if -1 < had.seq < first - 1:  # neither there nor declared
            skipped = *self.position[:2], had._replace(seq=first - 1, signals=0)
            absent = {"first_missing": had.seq + 1, "missing": first - 1 - had.seq}
            yield self._event("gap", skipped, {**absent, "declared": False})
        more: dict[str, Any] = {"data": data}
        if kind == "audio":
            more = {"audio": fields[b"audio"], "received_at_ms": int(fields[b"received_at_ms"])}
        elif kind == "gap":
            first = max(first, had.seq + 1)
            more |= {"first_missing": first, "missing": seq + 1 - first}
        elif kind == "started":
            more["resumed"] = data["resumed"] or had.generation >= 0
        seq, signals = max((seq, signals), (had.seq, had.signals))
        progress = Progress(run, max(generation, had.generation), seq, signals, kind == "ended")
        event = self._event(kind, (entry, checksum, progress), more)
        self.frame_ms = event.duration_ms if isinstance(event, Audio) else self.frame_ms
        yield event

    def _event(self, kind: str, place: Place, more: Mapping[str, Any]) -> Event:
        self.position, (entry, _, progress) = self.position.behind(*place), place
        common = self._common | {"run": progress.run, "seq": progress.seq, "entry": entry}
        return _TYPES[kind](type=kind, call=self.call, position=self.position, **common, **more)
