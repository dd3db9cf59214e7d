"""Makes events of a stream's entries, whatever the broker repeats, loses or rewrites."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from rtaa_reader.events import Audio, Call, Dtmf, Ended, Event, Gap, Mark, Started
from rtaa_reader.position import Position, Progress, numbers

Fields = Mapping[bytes, bytes]

MAX_PLACES, STEP_BACK = 600, 50
"""How many entries can be gone back, and at once: at 20 ms a frame, twelve seconds and one."""

_TYPES = {it.__name__.lower(): it for it in (Started, Audio, Gap, Dtmf, Mark, Ended)}


class Tape:
    """Give it what is stored from `start` on; it returns what is new.

    Before it trusts `start` it looks whether the entry before is the one that it has read. If not,
    the broker was rolled back or emptied: it reads from an earlier place, and leaves out what it
    has had of a run. `runs` has the run of each generation that is known.
    """

    def __init__(self, stream: str, lease: str, position: Position, call: Call) -> None:
        self.lease, self.position, self.call = lease, position, call
        self.frame_ms, self.is_checked, self._stream = 0.0, False, stream
        self.runs = {it.generation: it.run for it in position.runs}
        self._places = deque[tuple[str, int, Progress]](maxlen=MAX_PLACES)
        if position.entry:
            here = position.runs[-1]._replace(generation=numbers(position.entry)[0])
            self._places.append((position.entry, position.checksum, here))

    @property
    def start(self) -> str:
        """The id from which to read."""
        return ("(" * self.is_checked + self._places[-1][0]) if self._places else "-"

    def read(self, page: Sequence[tuple[bytes, Fields]]) -> list[Event]:
        """Return the events of entries from `start` on, without those that it has had."""
        if self._places and not self.is_checked:
            found = [(entry.decode(), _checksum(fields)) for entry, fields in page[:1]]
            if found != [self._places[-1][:2]]:
                for _ in range(min(STEP_BACK, len(self._places))):
                    self._places.pop()
                return []
            page = page[1:]
        self.is_checked = True
        return [event for entry, fields in page for event in self._read(entry.decode(), fields)]

    def _read(self, entry: str, fields: Fields) -> Iterator[Event]:
        kind, data = fields[b"type"].decode(), json.loads(fields.get(b"data", b"{}"))
        generation, here = numbers(entry)[0], self._places[-1][2] if self._places else Progress()
        run, checksum = here.run, _checksum(fields)
        if kind == "started":
            run, self.call = data["run"], Call.read(data)
        elif generation != here.generation:  # its `started` was trimmed
            run = self.runs.get(generation, "")
        self.runs[generation] = run
        here = here if run == here.run else Progress(run)
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
            skipped, missing = had._replace(seq=first - 1, signals=0), first - 1 - had.seq
            more: dict[str, Any] = {"first_missing": had.seq + 1, "missing": missing}
            yield self._event("gap", *self.position[:2], skipped, {**more, "declared": False})
        more = {"data": data}
        if kind == "audio":
            more = {"audio": fields[b"audio"], "received_at_ms": int(fields[b"received_at_ms"])}
        elif kind == "gap":
            first = max(first, had.seq + 1)
            more = {"first_missing": first, "missing": seq + 1 - first}
        elif kind == "started":
            more["resumed"] = data["resumed"] or had.generation >= 0
        if kind in {"started", "ended"}:
            seq, signals = had.seq, had.signals
        progress = Progress(run, max(generation, had.generation), seq, signals, kind == "ended")
        event = self._event(kind, entry, checksum, progress, more)
        self.frame_ms = event.duration_ms if isinstance(event, Audio) else self.frame_ms
        yield event

    def _event(
        self, kind: str, entry: str, checksum: int, progress: Progress, more: Mapping[str, Any]
    ) -> Event:
        self.position = self.position.behind(entry, checksum, progress)
        common: dict[str, Any] = {"run": progress.run, "seq": progress.seq, "entry": entry}
        common |= {"stream": self._stream, "call": self.call, "lease": self.lease}
        return _TYPES[kind](position=self.position, **common, **more)


def _checksum(fields: Fields) -> int:
    return crc32(b"\0".join(fields.values()))
