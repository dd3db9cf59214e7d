"""The automaton against a model that keeps everything in lists and counts it afterwards."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.account import Account, Grant, Recount, State
from domain.errors import IllegalTransition, StaleGeneration
from domain.events import (
    AudioAccepted,
    EndReason,
    Event,
    GapDetected,
    InteractionEnded,
    InteractionStarted,
    Opening,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
OPENING = Opening(
    StreamKey(TenantId("tenant"), StreamId("call")),
    InteractionId("call"),
    "exostreamkit",
    MEDIA,
    0,
)

LEGAL = {
    "awaiting": {"start": "live"},
    "live": {
        "start": "live",
        "hear": "live",
        "refuse": "live",
        "drop": "live",
        "begin again": "live",
        "cut": "cut",
        "end": "ended",
    },
    "cut": {"start": "live", "begin again": "cut", "end": "ended"},
    "ended": {"start": "live", "begin again": "ended"},
}

SEQS = st.one_of(st.integers(0, 30), st.integers(0, 3).map(lambda n: n * 10**12))
SIZES = st.integers(1, 400).map(lambda samples: 2 * samples)


@dataclass
class Frame:
    seq: int
    size: int
    position: int


@dataclass
class Run:
    """Everything that happened to one run, in lists."""

    published: list[Frame] = field(default_factory=list)
    lost: list[Frame] = field(default_factory=list)
    never_came: int = 0
    declared: int | None = None
    duplicates: int = 0
    refused: int = 0
    numbers: list[int] = field(default_factory=list)
    highest: int | None = None

    def ledger(self) -> Ledger:
        size = sum(frame.size for frame in self.published)
        return Ledger(
            received=len(self.published) + len(self.lost) + self.duplicates + self.refused,
            published=len(self.published),
            duplicate=self.duplicates,
            rejected=self.refused,
            lost=len(self.lost),
            missing=self.never_came + len(self.lost),
            bytes=size,
            audio_ms=size * 1_000 // (8_000 * 2),
        )

    def last_seq(self) -> int | None:
        """The highest that is published or declared missing."""
        return self.declared

    def undeclared(self, seq: int) -> tuple[int, int] | None:
        """What is missing before `seq` and has not been declared: first and count."""
        first = self.first_seq() if self.declared is None else self.declared + 1
        return None if first is None or first >= seq else (first, seq - first)

    def accept(self, seq: int) -> None:
        if self.highest is not None:
            self.never_came += seq - self.highest - 1
        self.numbers.append(seq)
        self.highest = seq

    def first_seq(self) -> int | None:
        return min((frame.seq for frame in self.published + self.lost), default=None)

    def next_number(self) -> int:
        return max(self.numbers, default=-1) + 1


@dataclass
class Snapshot:
    """The published stream at some moment: how long it is, and the run in it."""

    length: int
    run: Run
    state: str

    def account(self) -> Account:
        run = self.run
        return Account(
            self.length, run.first_seq(), run.last_seq(), run.ledger(), State(self.state)
        )


class InteractionAgainstLists(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.interaction = Interaction(OPENING)
        self.state = "awaiting"
        self.generation = 0
        self.run = Run()
        self.stream: list[Event] = []
        self.published = Snapshot(0, Run(), "live")

    def _do(self, verb: str, act: Callable[[], object]) -> bool:
        """Try a verb; it must raise exactly where the table has no entry, and change nothing."""
        after = LEGAL[self.state].get(verb)
        if after is None:
            before = (self.interaction.account, self.interaction.unnumbered_seq)
            with pytest.raises(IllegalTransition):
                act()
            assert before == (self.interaction.account, self.interaction.unnumbered_seq)
            return False
        self.state = after
        return True

    def _append(self, *events: Event) -> None:
        for event in events:
            assert event.position == len(self.stream)
            self.stream.append(event)

    def _publish(self) -> None:
        self.published = Snapshot(len(self.stream), deepcopy(self.run), self.state)

    @rule(above=st.integers(1, 3))
    def start_a_new_run(self, above: int) -> None:
        self._do("start", lambda: None)
        del self.stream[self.published.length :]
        account = Account(len(self.stream), 3, 9, Ledger(1, 1), State.CUT)
        self.generation += above
        event = self.interaction.start(Grant(self.generation, resumed=False, account=account))
        assert event == InteractionStarted(len(self.stream), self.generation, False, OPENING)
        self._append(event)
        self.run = Run()
        self._publish()

    @precondition(lambda self: self.published.state in {"live", "cut"} and self.generation)
    @rule(above=st.integers(1, 3), fresh=st.booleans())
    def resume_what_is_published(self, above: int, fresh: bool) -> None:
        if self.published.run.lost:
            return
        if fresh:
            self.interaction, self.state = Interaction(OPENING), "awaiting"
        self._do("start", lambda: None)
        del self.stream[self.published.length :]
        self.run = deepcopy(self.published.run)
        last_seq = self.run.last_seq()
        self.run.numbers = [] if last_seq is None else [last_seq]
        self.run.highest = last_seq
        self.generation += above
        grant = Grant(self.generation, resumed=True, account=self.published.account())
        event = self.interaction.start(grant)
        assert event == InteractionStarted(len(self.stream), self.generation, True, OPENING)
        self._append(event)
        self._publish()

    @rule(below=st.integers(0, 3), resumed=st.booleans())
    def start_under_a_generation_that_is_not_newer(self, below: int, resumed: bool) -> None:
        generation = self.generation - below
        before = (self.interaction.account, self.interaction.generation)
        with pytest.raises(StaleGeneration):
            self.interaction.start(Grant(generation, resumed=resumed, account=Account(99)))
        assert before == (self.interaction.account, self.interaction.generation)

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
            events = self.interaction.hear(frame)
            assert events, "a frame that takes the next number is never a duplicate"
            self._heard(frame, events)

    @rule(ahead=st.integers(1, 3))
    def hear_one_that_is_numbered_and_just_ahead(self, ahead: int) -> None:
        self.hear(ahead if self.run.highest is None else self.run.highest + ahead, 320)

    def _heard(self, frame: AudioFrame, events: tuple[Event, ...]) -> None:
        highest = self.run.highest
        if highest is not None and frame.seq <= highest:
            assert events == ()
            self.run.duplicates += 1
            return
        place = len(self.stream)
        absent = self.run.undeclared(frame.seq)
        if absent is None:
            assert events == (AudioAccepted(place, frame),)
        else:
            assert events == (GapDetected(place, *absent), AudioAccepted(place + 1, frame))
        self._append(*events)
        self.run.published.append(Frame(frame.seq, len(frame.audio), events[-1].position))
        self.run.accept(frame.seq)
        self.run.declared = frame.seq

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
            self.run.lost.append(Frame(seq, 0, -1))
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
    def publish_everything(self) -> None:
        if self.generation:
            self._publish()

    @rule()
    def cut(self) -> None:
        if self._do("cut", self.interaction.cut):
            self.interaction.cut()

    @rule(reason=st.sampled_from(EndReason))
    def end(self, reason: EndReason) -> None:
        if self._do("end", lambda: self.interaction.end(reason)):
            events = self.interaction.end(reason)
            absent = None if self.run.highest is None else self.run.undeclared(self.run.highest + 1)
            gap = () if absent is None else (GapDetected(len(self.stream), *absent),)
            place = len(self.stream) + len(gap)
            assert events == (*gap, InteractionEnded(place, reason, self.run.ledger()))
            self._append(*events)
            self.run.declared = self.run.highest

    @rule(above=st.integers(1, 3), forgotten=st.integers(0, 5))
    def begin_again(self, above: int, forgotten: int) -> None:
        lost, held = self.run.published[:forgotten], self.run.published[forgotten:]
        recount = Recount(forgotten=len(lost), audio_bytes=-sum(frame.size for frame in lost))

        def act() -> None:
            generation = self.generation + above
            self.interaction.begin_again(generation, 1 + len(held), recount)

        if not self._do("begin again", act):
            return
        act()
        self.generation += above
        self.run.lost += lost
        self.run.published = [
            replace(frame, position=place) for place, frame in enumerate(held, start=1)
        ]
        self.stream = [
            InteractionStarted(0, self.generation, True, OPENING),
            *(
                AudioAccepted(f.position, AudioFrame(MEDIA, f.seq, 0, bytes(f.size)))
                for f in self.run.published
            ),
        ]
        self._publish()

    @invariant()
    def the_interaction_is_where_the_lists_say(self) -> None:
        interaction = self.interaction
        assert interaction.state == self.state
        if self.state == "awaiting":
            return
        assert interaction.generation == self.generation
        assert interaction.ledger == self.run.ledger()
        assert interaction.last_seq == self.run.last_seq()
        assert interaction.account == Account(
            len(self.stream),
            self.run.first_seq(),
            self.run.last_seq(),
            self.run.ledger(),
            State(self.state),
        )
        if self.state == "live":
            assert interaction.unnumbered_seq == self.run.next_number()

    @invariant()
    def every_frame_heard_is_in_the_stream_once(self) -> None:
        run_frames = [(frame.position, frame.seq) for frame in self.run.published]
        held = {e.position: e.frame.seq for e in self.stream if isinstance(e, AudioAccepted)}
        assert all(held[position] == seq for position, seq in run_frames)
        assert [event.position for event in self.stream] == list(range(len(self.stream)))


InteractionAgainstLists.TestCase.settings = settings(
    deadline=None, max_examples=150, stateful_step_count=40
)


TestInteractionAgainstLists = InteractionAgainstLists.TestCase
