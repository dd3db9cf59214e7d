"""Reads back all that was published and compares it with all that was sent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.broker import Broker
from benchmarks.frames import Speech
from benchmarks.plan import Load
from benchmarks.published import Layout, entry

_PAGE_BYTES = 2_000_000
_ENTRY_BYTES = 200


@dataclass(slots=True)
class Findings:
    """What is wrong with what was published, in frames; `foreign` are entries that no call sent."""

    checked: int = 0
    missing: int = 0
    repeated: int = 0
    disordered: int = 0
    altered: int = 0
    foreign: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether every frame is there once, in order, byte for byte, and nothing else."""
        return not any(count for _, count in self._wrong())

    def __str__(self) -> str:
        """Say what is wrong; `0` if nothing is."""
        return ", ".join(f"{count} {name}" for name, count in self._wrong() if count) or "0"

    def _wrong(self) -> Sequence[tuple[str, int]]:
        names = ("missing", "repeated", "disordered", "altered", "foreign")
        return [(name, getattr(self, name)) for name in names]


def verify(url: str, load: Load, layout: Layout) -> Findings:
    """Read every stream of a load and judge each entry."""
    speech = Speech(load.dialect, load.size, load.sample_rate_hz)
    findings = Findings()
    with Broker(url) as broker:
        for call in range(load.calls):
            key = layout.key(speech, call)
            _judge(_entries(broker, key, load.size), speech, load, call, findings, layout)
    return findings


def _judge(
    entries: Iterator[Sequence[bytes]],
    speech: Speech,
    load: Load,
    call: int,
    findings: Findings,
    layout: Layout,
) -> None:
    seen = bytearray(load.frames)
    highest = -1
    others = []
    for fields in entries:
        published = entry(fields)
        if published.kind != b"audio":
            others.append(published.kind)
            continue
        index = published.seq - speech.dialect.first_seq
        if not 0 <= index < load.frames:
            findings.foreign += 1
            continue
        findings.checked += 1
        findings.repeated += seen[index]
        findings.disordered += index < highest
        findings.altered += published.audio != speech.audio(call, index)
        seen[index] = 1
        highest = max(highest, index)
    findings.missing += load.frames - sum(seen)
    expected = [b"started", b"ended"] if layout.is_framed else []
    findings.foreign += others != expected


def _entries(broker: Broker, key: str, size: int) -> Iterator[Sequence[bytes]]:
    """Yield the fields of all entries, page by page."""
    count = max(1, _PAGE_BYTES // (size + _ENTRY_BYTES))
    start = b"-"
    while page := broker.ask("XRANGE", key, start, "+", "COUNT", count):
        for _, fields in page:
            yield fields
        if len(page) < count:
            return
        start = b"(" + page[-1][0]
