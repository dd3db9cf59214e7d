"""Judges the frames and gaps of one run: once, in order, byte for byte, no hole hidden."""

from collections.abc import Iterable
from typing import Any

from history import BYTES, GAP, ORDER, STRANGER, TWICE, Defect, Entry, SentRun, digest, some

FARTHEST_HOLE = 1_000_000
"""A gap is noted seq by seq up to this; the lab sends none as wide."""


class AudioJudge:
    """Hears the entries of a run in order; then `stored` and `declared` are what they held."""

    def __init__(self, where: str, sent: SentRun) -> None:
        self.stored: set[int] = set()
        self.declared: set[int] = set()
        self.defects: list[Defect] = []
        self._where = where
        self._sent = sent
        self._expected: int | None = None

    def hear(self, entries: Iterable[Entry]) -> None:
        for entry_id, entry in entries:
            if entry["type"] == "gap":
                self._hear_gap(entry_id, entry["data"])
            elif entry["type"] == "audio":
                self._hear_frame(entry_id, int(entry["seq"]), entry["audio"])
        if both := self.stored & self.declared:
            what = f"declared, but stored: {some(both)}"
            self.defects.append(Defect(GAP, self._where, what, len(both)))

    def _hear_gap(self, entry_id: str, gap: dict[str, Any]) -> None:
        first, missing = gap["first_missing"], gap["missing"]
        if self._expected not in (None, first) or missing < 1:
            self._find(GAP, entry_id, f"{missing} from {first}, expected {self._expected}")
        self.declared.update(range(first, first + min(missing, FARTHEST_HOLE)))
        self._expected = first + missing

    def _hear_frame(self, entry_id: str, seq: int, audio: bytes) -> None:
        expected = seq if self._expected is None else self._expected
        if seq in self.stored:
            self._find(TWICE, entry_id, f"seq {seq}")
        elif seq < expected:
            self._find(ORDER, entry_id, f"seq {seq} where {expected} was expected")
        elif seq > expected:
            self._find(GAP, entry_id, f"{seq - expected} from {expected} not declared")
        if seq not in self._sent.digests:
            self._find(STRANGER, entry_id, f"seq {seq}")
        elif self._sent.digests[seq] != digest(audio):
            self._find(BYTES, entry_id, f"seq {seq} differs")
        self.stored.add(seq)
        self._expected = max(expected, seq + 1)

    def _find(self, kind: str, entry_id: str, what: str) -> None:
        self.defects.append(Defect(kind, f"{self._where} at {entry_id}", what))
