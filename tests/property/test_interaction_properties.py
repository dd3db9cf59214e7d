"""The automaton against a model that keeps everything in lists and counts it afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stream_parts import MEDIA, OPENING

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted
from domain.errors import IllegalTransition
from domain.events import EndReason, Signal
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame
from examples import examples

LEGAL = {
    "live": {
        "hear": "live", "note": "live", "refuse": "live", "drop": "live",
        "rebase": "live", "cut": "cut", "end": "ended",
    },
    "cut": {"rebase": "cut", "end": "ended"},
    "ended": {"rebase": "ended"},
}  # fmt: skip

SEQS = st.one_of(st.integers(0, 30), st.integers(0, 3).map(lambda n: n * 10**12))
SIZES = st.integers(1, 400).map(lambda samples: 2 * samples)


@dataclass
class Run:
    """Everything that happened to one run, in lists."""

    published: list[tuple[int, int]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    evicted: list[int] = field(default_factory=list)
    declared: list[tuple[int, int]] = field(default_factory=list)
    duplicates: int = 0
    refused: int = 0
    highest: int | None = None
    reached: int | None = None
    numbers: list[int] = field(default_factory=list)

    @property
    def seqs(self) -> list[int]:
        return [seq for seq, _ in self.published]

    @property
    def first_seq(self) -> int | None:
        return min([*self.seqs, *self.dropped, *self.evicted], default=None)

    @property
    def last_seq(self) -> int | None:
        """The highest that is published or declared missing."""
        declared = [first + count - 1 for first, count in self.declared]
        return max([*self.seqs, *declared], default=None)

    def missing(self) -> int:
        """Count what is not published from the first seq to the highest, between neighbours."""
        if self.first_seq is None or self.reached is None:
            return 0
        marks = [self.first_seq - 1, *sorted(self.seqs), self.reached + 1]
        return sum(max(0, after - before - 1) for before, after in pairwise(marks))

    def ledger(self) -> Ledger:
        size = sum(size for _, size in self.published)
        lost = len(self.dropped) + len(self.evicted)
        return Ledger(
            received=len(self.published) + lost + self.duplicates + self.refused,
            published=len(self.published),
            duplicate=self.duplicates,
            rejected=self.refused,
            lost=lost,
            missing=self.missing(),
            bytes=size,
            audio_ms=size * 1_000 // (8_000 * 2),
        )

    def account(self, length: int, state: str) -> Account:
        return Account(length, self.first_seq, self.last_seq, self.ledger(), State(state))

    def next_number(self) -> int:
        return max(self.numbers, default=-1) + 1

    def accept(self, seq: int) -> None:
        self.highest = seq
        self.reached = seq if self.reached is None else max(seq, self.reached)
        self.numbers.append(seq)

    def undeclared(self, below: int) -> tuple[Entry, ...]:
        first = self.first_seq if self.last_seq is None else self.last_seq + 1
        if first is None or first >= below:
            return ()
        self.declared.append((first, below - first))
        return (Gap(first, below - first),)


class InteractionAgainstLists(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.run = Run()
        self.state = "live"
        self.length = 1
        self.interaction = Interaction(OPENING, Account(next_position=1))

    def _do(self, verb: str, act: Callable[[], object]) -> bool:
        """Try a verb; it must raise exactly where the table has no entry, and change nothing."""
        after = LEGAL[self.state].get(verb)
        if after is None:
            before = (self.interaction.account(0), self.interaction.unnumbered_seq)
            with pytest.raises(IllegalTransition):
                act()
            assert before == (self.interaction.account(0), self.interaction.unnumbered_seq)
            return False
        self.state = after
        return True

    @rule()
    def begin_a_new_run(self) -> None:
        self.interaction, self.state, self.run = Interaction(OPENING, Account(9)), "live", Run()

    @precondition(lambda self: self.state != "ended")
    @rule()
    def resume(self) -> None:
        """What was dropped after the last that is declared may come again, or is missing."""
        account = self.run.account(self.length, self.state)
        self.interaction, self.state = Interaction(OPENING, account), "live"
        last_seq = self.run.highest = self.run.last_seq
        self.run.numbers = [] if last_seq is None else [last_seq]

    @rule(seq=SEQS, size=SIZES)
    def hear(self, seq: int, size: int) -> None:
        frame = AudioFrame(MEDIA, seq, 0, bytes(size))
        if self._do("hear", lambda: self.interaction.hear(frame)):
            self._heard(frame, self.interaction.hear(frame))

    @rule(size=SIZES)
    def hear_unnumbered(self, size: int) -> None:
        seq = self.run.next_number()
        frame = AudioFrame(MEDIA, seq, 0, bytes(size))
        if self._do("hear", lambda: self.interaction.hear(frame)):
            assert self.interaction.unnumbered_seq == seq
            entries = self.interaction.hear(frame)
            assert entries, "a frame that takes the next number is never a duplicate"
            self._heard(frame, entries)

    @rule(ahead=st.integers(1, 3))
    def hear_one_that_is_numbered_and_just_ahead(self, ahead: int) -> None:
        self.hear(ahead if self.run.highest is None else self.run.highest + ahead, 320)

    def _heard(self, frame: AudioFrame, entries: tuple[Entry, ...]) -> None:
        highest = self.run.highest
        if highest is not None and frame.seq <= highest:
            assert entries == ()
            self.run.duplicates += 1
            return
        assert entries == (*self.run.undeclared(frame.seq), frame)
        self.run.published.append((frame.seq, len(frame.audio)))
        self.run.accept(frame.seq)
        self.length += len(entries)

    @rule(ahead=st.integers(-2, 3))
    def drop(self, ahead: int) -> None:
        highest = -1 if self.run.highest is None else self.run.highest
        seq = max(0, highest + ahead)
        if self._do("drop", lambda: self.interaction.drop(seq)):
            if self.run.highest is not None and seq <= self.run.highest:
                assert not self.interaction.drop(seq)
                self.run.duplicates += 1
                return
            assert self.interaction.drop(seq)
            self.run.dropped.append(seq)
            self.run.accept(seq)

    @rule(unnumbered=st.booleans())
    def refuse(self, unnumbered: bool) -> None:
        def act() -> None:
            self.interaction.refuse(unnumbered=unnumbered)

        if self._do("refuse", act):
            act()
            self.run.refused += 1
            if unnumbered:
                self.run.numbers.append(self.run.next_number())

    @rule()
    def note(self) -> None:
        if self._do("note", lambda: self.interaction.note(Signal.DTMF, "{}")):
            assert self.interaction.note(Signal.DTMF, "{}") == SignalNoted(Signal.DTMF, "{}")
            self.length += 1

    @rule()
    def cut(self) -> None:
        if self._do("cut", self.interaction.cut):
            self.interaction.cut()

    @rule(reason=st.sampled_from(EndReason))
    def end(self, reason: EndReason) -> None:
        if self._do("end", lambda: self.interaction.end(reason)):
            entries = self.interaction.end(reason)
            reached = self.run.reached
            gap = () if reached is None else self.run.undeclared(reached + 1)
            assert entries == (*gap, Ended(reason, self.run.ledger()))
            self.length += len(entries)

    @rule(evicted=st.integers(0, 5))
    def rebase(self, evicted: int) -> None:
        """The store lost the first frames: they are lost, and declared in front."""
        run = self.run
        lost, held = run.seqs[:evicted], run.published[evicted:]
        run.evicted += lost
        run.published = held
        if lost:
            run.declared.append((lost[0], lost[-1] - lost[0] + 1))
        account = run.account(self.length, self.state)
        if self._do("rebase", lambda: self.interaction.rebase(account)):
            self.interaction.rebase(account)

    @invariant()
    def the_interaction_is_where_the_lists_say(self) -> None:
        interaction = self.interaction
        assert interaction.state == self.state
        assert interaction.ledger == self.run.ledger()
        assert interaction.last_seq == self.run.last_seq
        assert interaction.account(7) == self.run.account(7, self.state)
        if self.state == "live":
            assert interaction.unnumbered_seq == self.run.next_number()


InteractionAgainstLists.TestCase.settings = settings(
    deadline=None, max_examples=examples(150), stateful_step_count=40
)

TestInteractionAgainstLists = InteractionAgainstLists.TestCase
