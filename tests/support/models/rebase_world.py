"""A stream as its writer wrote it, and what may become of its store: for the rules of a rebase.

Everything is a plain list: `Stored` is one state of the store, and each append makes another one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

from stream_model import Stored
from stream_parts import OPENING, Walk, frame, run_of

from domain.account import Account, State
from domain.entries import Ended, Entry, Started
from domain.events import EndReason, Signal
from domain.fold import Segment
from domain.head import Head, Lease, Run
from domain.interaction import Interaction
from domain.rebase import HeldRun, Rebased

Step = tuple[str, int]


class Writer:
    """Writes a stream without a failure; `appends` are its segments, `past` the store's states.

    `sent` are the seqs of all frames that the stream's sender ever makes: each writer hears them in
    order, from where it takes the stream over.
    """

    def __init__(self, sent: Sequence[int], stored: Stored | None = None, name: str = "us") -> None:
        self.sent = sent
        self.name = name
        self.past = [Stored()] if stored is None else [stored]
        self.appends: list[Segment] = []
        self.runs = 0
        self.entries: list[Entry] = []
        head = self.past[0].head
        self.position = 0 if head is None else head.next_position
        self.generation = 0 if head is None else head.lease.generation
        self.begun_at = 0
        self.run = run_of()
        self.interaction: Interaction | None = None
        if head is not None and head.run is not None:
            self.run, self.begun_at = head.run, head.begun_at
            self.interaction = Interaction(OPENING, head.account)
            if head.account.state is State.ENDED:
                self.interaction.end(EndReason.ENDED)

    @property
    def is_open(self) -> bool:
        return self.interaction is not None and self.interaction.state is not State.ENDED

    def play(self, steps: Sequence[Step]) -> None:
        for verb, number in steps:
            self.take(verb, number)
        self.append()

    def take(self, verb: str, number: int) -> None:
        if verb == "new run":
            self.begin()
        elif self.is_open:
            self.continue_(verb, number)

    def continue_(self, verb: str, number: int) -> None:
        interaction = self.interaction
        assert interaction is not None
        match verb:
            case "resume":
                self.resume()
            case "end":
                self.write(*interaction.end(EndReason.ENDED))
                self.append()
            case "append":
                self.append()
            case "hear":
                for seq in self.next_sent(number):
                    self.write(*interaction.hear(frame(seq)))
            case "drop":
                for seq in self.next_sent(number):
                    interaction.drop(seq)
            case "note":
                self.write(interaction.note(Signal.DTMF, "{}"))
            case "refuse":
                interaction.refuse()

    def next_sent(self, frames: int) -> list[int]:
        assert self.interaction is not None
        reached = self.interaction.unnumbered_seq
        return [seq for seq in self.sent if seq >= reached][:frames]

    def begin(self) -> None:
        if self.is_open and self.interaction is not None:
            self.append()
            self.write(*self.interaction.end(EndReason.DISCONNECTED))
            self.append()
        self.runs += 1
        self.start(run_of(f"{self.name}-run{self.runs}"), Account(), resumed=False)

    def resume(self) -> None:
        self.append()
        assert self.interaction is not None
        self.start(self.run, self.interaction.account(self.position), resumed=True)

    def start(self, run: Run, account: Account, *, resumed: bool) -> None:
        self.run, self.begun_at = run, self.position
        self.generation += 1
        after = replace(account, next_position=self.position + 1, state=State.LIVE)
        self.interaction = Interaction(OPENING, after)
        self.write(Started(self.generation, run.name, resumed, OPENING))
        self.append()

    def write(self, *entries: Entry) -> None:
        self.entries += entries
        self.position += len(entries)

    def append(self) -> None:
        if self.interaction is None or not self.entries:
            return
        account = self.interaction.account(self.position)
        segment = Segment(self.run, self.generation, tuple(self.entries), account)
        lease = Lease(self.generation, f"{self.name}{self.generation}", 1_000 + self.generation)
        self.appends.append(segment)
        self.past.append(grown(self.past[-1], segment, lease, self.begun_at))
        self.entries = []


def grown(stored: Stored, segment: Segment, lease: Lease, begun_at: int) -> Stored:
    """Return the state after an append."""
    entries, generation = list(stored.entries), segment.generation
    for entry in segment.entries:
        generation = entry.generation if isinstance(entry, Started) else generation
        entries.append((generation, entry))
    head = Head(f"r{len(entries)}", lease, begun_at, segment.run, segment.account)
    return Stored(head, tuple(entries))


def joined(segments: Sequence[Segment], marks: Sequence[bool]) -> list[Segment]:
    """Join neighbours of one run and generation, as what is retained is, where a mark says so."""
    result: list[Segment] = []
    for index, segment in enumerate(segments):
        last = result[-1] if result else None
        may = last is not None and (last.run.name, last.generation) == (
            segment.run.name,
            segment.generation,
        )
        if last is not None and may and marks and marks[index % len(marks)]:
            entries = (*last.entries, *segment.entries)
            result[-1] = Segment(segment.run, segment.generation, entries, segment.account)
        else:
            result.append(segment)
    return result


def held_runs(segments: Sequence[Segment], run: str, base: Account) -> list[HeldRun]:
    """Return the runs of consecutive segments; `base` is the account of `run` before the first."""
    return [
        HeldRun(of[-1].run, base if name == run else Account(), of)
        for name, group in groupby(segments, key=lambda segment: segment.run.name)
        for of in [list(group)]
    ]


@dataclass
class Stretch:
    """Consecutive entries of one run as a consumer reads them; `has_start` if none is before."""

    run: str
    has_start: bool
    walk: Walk = field(default_factory=Walk)
    ends: int = 0


def stretches(entries: Sequence[tuple[int, Entry]]) -> list[Stretch]:
    result: list[Stretch] = []
    for _, entry in entries:
        if isinstance(entry, Started) and not (
            entry.resumed and result and result[-1].run == entry.run
        ):
            result.append(Stretch(entry.run, not entry.resumed))
        result[-1].walk.take(entry)
        result[-1].ends += isinstance(entry, Ended)
    return result


def check_order(stored: Stored, rebased: Rebased) -> None:
    """Positions are dense after the head, generations ascend, every one has its `Started`."""
    head = stored.head
    is_empty = head is None or head.entries_lost
    position = 0 if head is None or is_empty else head.next_position
    generation = 0 if head is None else head.lease.generation
    begun_at = 0 if head is None else head.begun_at
    for written in rebased.written:
        segment = written.segment
        assert segment.first_position == position
        for entry in segment.entries:
            if isinstance(entry, Started):
                assert entry.generation > generation
                assert entry.run == segment.run.name
                generation, begun_at = entry.generation, position
            position += 1
        assert segment.account.next_position == position
        assert segment.generation == generation
        assert written.begun_at == begun_at
    if rebased.written:
        assert rebased.lease.generation == generation


def check_stretch(stretch: Stretch) -> None:
    """Every seq from the first to the last is published or declared, once, and in order."""
    walk = stretch.walk
    told = sorted([*walk.seqs, *walk.declared])
    assert walk.seqs == sorted(walk.seqs)
    assert told == (list(range(told[0], told[-1] + 1)) if told else [])
    assert stretch.ends <= 1
    assert not stretch.ends or isinstance(walk.entries[-1], Ended)


def check_account(account: Account, stretch: Stretch) -> None:
    """The account is balanced, and is what is there; what it has beside was dropped last."""
    walk = stretch.walk
    ledger = account.ledger
    assert (ledger.published, ledger.bytes) == (len(walk.seqs), walk.size)
    assert account.last_seq == walk.last_seq
    undeclared = ledger.missing - len(walk.declared)
    assert undeclared >= 0
    assert undeclared == 0 or account.state is not State.ENDED
    assert ledger == walk.ledger(ledger.duplicate, ledger.rejected, ledger.lost, undeclared)
    if stretch.ends:
        assert account.state is State.ENDED
        ended = walk.entries[-1]
        assert isinstance(ended, Ended)
        assert ended.ledger == ledger


def after(stored: Stored, rebased: Rebased) -> Iterator[Stored]:
    """Yield the states of the store while what is written is appended, one segment at a time."""
    head = stored.head
    state = Stored(None, ()) if head is None or head.entries_lost else stored
    for written in rebased.written:
        lease = replace(rebased.lease, generation=written.segment.generation)
        state = grown(state, written.segment, lease, written.begun_at)
        yield state


def boundaries(segments: Sequence[Segment]) -> list[Account]:
    """Return the account before each segment of a writer, and after the last."""
    accounts = [Account()]
    for before, segment in pairwise([None, *segments]):
        assert segment is not None
        if before is not None:
            accounts.append(before.account)
    return [*accounts, segments[-1].account] if segments else accounts
