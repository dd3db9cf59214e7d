"""What a sender sent and heard, kept for a judge. Plain values, and no audio: a digest of it."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

Entry = tuple[str, dict[str, Any]]
"""An entry as `published.entries` returns it."""


def digest(audio: bytes) -> bytes:
    """Stand for some audio."""
    return blake2b(audio, digest_size=8).digest()


@dataclass(frozen=True)
class Started:
    """A reply `started`, and what the sender had been promised when it came."""

    connection: int
    generation: int
    last_seq: int | None
    promised: int | None


@dataclass
class SentRun:
    """One run as its sender knows it: from a start to the `ended` it heard."""

    digests: dict[int, bytes] = field(default_factory=dict)
    first_sent_on: dict[int, int] = field(default_factory=dict)
    times_sent: int = 0
    acks: list[tuple[int, int]] = field(default_factory=list)
    started: list[Started] = field(default_factory=list)
    errors: list[tuple[int, str]] = field(default_factory=list)
    closes: list[tuple[int, int]] = field(default_factory=list)
    ledger: dict[str, int] | None = None
    is_over: bool = False
    perhaps_ended_before: int = 0
    promised: int | None = None

    def sent(self, connection: int, seq: int, audio: bytes) -> None:
        """A frame is handed to a socket, once more or for the first time."""
        if seq not in self.digests:
            self.digests[seq] = digest(audio)
            self.first_sent_on[seq] = connection
        self.times_sent += 1

    def heard_ack(self, connection: int, seq: int) -> None:
        """`ack`: everything up to `seq` is confirmed or was refused."""
        self.acks.append((connection, seq))
        self._promise(seq)

    def heard_started(self, connection: int, generation: int, last_seq: int | None) -> None:
        """`started`: what is up to `last_seq` is published."""
        self.started.append(Started(connection, generation, last_seq, self.promised))
        if last_seq is not None:
            self._promise(last_seq)

    def heard_error(self, connection: int, code: str) -> None:
        """`error`: a message was refused."""
        self.errors.append((connection, code))

    def heard_close(self, connection: int, code: int) -> None:
        """The connection was closed, or lost: 1006."""
        self.closes.append((connection, code))

    def heard_ended(self, ledger: dict[str, int]) -> None:
        """`ended`: everything is published that can be."""
        self.ledger = ledger
        self.is_over = True

    def found_over(self) -> None:
        """A resume found the run ended, by an `end` of ours whose answer was lost."""
        self.is_over = True

    def found_empty(self) -> None:
        """A resume found nothing of a run without a frame: it is still open, or this is another."""
        self.perhaps_ended_before += 1

    def without_started(self, generations: set[int]) -> "SentRun":
        """Return the run without the replies of generations that are not its own."""
        return replace(
            self, started=[it for it in self.started if it.generation not in generations]
        )

    def _promise(self, seq: int) -> None:
        self.promised = seq if self.promised is None else max(self.promised, seq)


@dataclass
class SentStream:
    """One stream: its runs, in order."""

    name: str
    tenant: str = "tenant-abc"
    runs: list[SentRun] = field(default_factory=list)

    def begin_run(self) -> SentRun:
        """A start that is to open a run is about to be sent."""
        self.runs.append(SentRun())
        return self.runs[-1]

    def event_id(self, entry_id: str) -> str:
        """Name a started or ended entry as the index does."""
        return f"{self.tenant}/{self.name}/{entry_id}"


@dataclass(frozen=True)
class Defect:
    """Something published, or not, that breaks the promise; `count` of the same kind."""

    kind: str
    where: str
    what: str
    count: int = 1

    def __str__(self) -> str:
        times = f" ({self.count}x)" if self.count > 1 else ""
        return f"{self.kind}: {self.where}: {self.what}{times}"


LOST = "lost acked"
TWICE = "twice"
ORDER = "order"
BYTES = "bytes"
STRANGER = "never sent"
POSITION = "position"
GAP = "gap"
RUN = "run"
ENDED = "ended"
LEDGER = "ledger"
REPLY = "reply"
INDEX = "index"

KINDS = (LOST, TWICE, ORDER, BYTES, STRANGER, POSITION, GAP, RUN, ENDED, LEDGER, REPLY, INDEX)


def report(defects: list[Defect], limit: int = 40) -> str:
    """Say what was found, the first of each kind before the rest."""
    seen: dict[str, list[Defect]] = {}
    for defect in defects:
        seen.setdefault(defect.kind, []).append(defect)
    lines = [
        f"{kind}: {sum(d.count for d in found)} in {len(found)} places"
        for kind, found in seen.items()
    ]
    firsts = [d for found in seen.values() for d in found[: max(1, limit // len(seen))]]
    return "\n".join([*lines, *(f"  {defect}" for defect in firsts)])


def some(seqs: AbstractSet[int]) -> str:
    """Write seqs as ranges, the first few."""
    ranges: list[list[int]] = []
    for seq in sorted(seqs):
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1][1] = seq
        else:
            ranges.append([seq, seq])
    shown = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges[:5])
    return shown + (" …" if len(ranges) > 5 else "")
