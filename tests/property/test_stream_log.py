"""What a stream's log does when its store, its calls or another process get in the way.

Every rule is tried on whole lives of a stream, drawn at random: senders speak, start, resume and
end in one or two processes; calls and answers are lost or late; the store comes back as it was some
time ago, empty, or without one of its keys. At the end everything is delivered, and what is in
the store is compared with what was sent.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stream_model import ModelStore, Process, Session, frame
from virtual_time import HandDrivenClock

from application.delivery.byte_budget import BufferLimits
from application.delivery.live_stream import LiveStream
from domain.account import State
from domain.entries import Ended, Entry, Gap, Started
from domain.events import NEW_RUN, EndReason, Resume, Signal
from domain.media import AudioFrame
from examples import examples

ROOMY = BufferLimits(rewind_seconds=1e9)
"""Everything that was confirmed stays retained."""

SPARE = BufferLimits(rewind_seconds=0)
"""Nothing that was confirmed stays retained."""


@dataclass(frozen=True)
class Step:
    """What happens next; `process` and `number` mean something for some of them."""

    verb: str
    process: int = 0
    number: int = 1
    fate: str = "ok"


FATES = st.sampled_from(["ok", "ok", "ok", "answer lost", "lost", "late"])
PROCESSES = st.integers(0, 1)


def steps(*losses: str) -> st.SearchStrategy[list[Step]]:
    """Draw a life; of what a store can do only what `losses` names."""
    kinds = [
        st.builds(Step, st.just("speak"), PROCESSES, st.integers(1, 3)),
        st.builds(Step, st.just("send"), PROCESSES, fate=FATES),
        st.builds(Step, st.just("send"), PROCESSES, fate=FATES),
        st.builds(Step, st.just("send"), PROCESSES, fate=FATES),
        st.builds(Step, st.sampled_from(["start", "resume"]), PROCESSES),
        st.builds(Step, st.sampled_from(["end", "press", "doubt", "settle"]), PROCESSES),
        st.builds(Step, st.just("arrive late")),
        *(st.builds(Step, st.just(kind), number=st.integers(1, 5)) for kind in losses),
    ]
    return st.lists(st.one_of(kinds), min_size=10, max_size=60)


@dataclass
class Reading:
    """What a consumer finds in the stream at the end."""

    seen: Counter[tuple[str, int]]
    declared: set[tuple[str, int]]
    ends: Counter[str]


class Life:
    """One stream, and one or two processes that write it."""

    def __init__(self, processes: int, limits: BufferLimits = ROOMY) -> None:
        self.clock = HandDrivenClock()
        self.store = ModelStore(self.clock)
        self.processes = [Process(self.store, name, limits) for name in "ab"[:processes]]
        self.sessions: list[tuple[Session, LiveStream]] = []

    def play(self, life: Sequence[Step]) -> None:
        for step in life:
            self.clock.now += 0.001
            self.take(step)

    def take(self, step: Step) -> None:
        process = self.processes[step.process % len(self.processes)]
        match step.verb:
            case "speak":
                self.speak(process, step.number)
            case "send":
                process.step(step.fate)
                self.meet(process)
            case "start" | "resume" if process.pending is None:
                process.request_start(NEW_RUN if step.verb == "start" else Resume())
            case "settle":
                process.settle()
                self.meet(process)
            case "end" | "press":
                self.say(process, step.verb)
            case "doubt":
                process.log.doubt()
            case "arrive late":
                self.store.arrive_late()
            case "roll back" | "wipe" | "evict entries" | "evict head":
                self.forget(step)

    def forget(self, step: Step) -> None:
        match step.verb:
            case "roll back":
                self.store.roll_back(step.number)
            case "wipe":
                self.store.wipe()
            case "evict entries":
                self.store.evict_entries()
            case "evict head":
                self.store.evict_head()
        for process in self.processes:
            process.log.doubt()

    def speak(self, process: Process, frames: int = 1) -> None:
        live, session = process.live, process.session
        if live is None or session is None or process.pending is not None or not is_live(live):
            return
        for _ in range(frames):
            seq = live.interaction.unnumbered_seq
            entries = live.interaction.hear(frame(session.run, seq))
            process.log.put(live, entries, self.clock.now)
            session.seqs.append(seq)

    def say(self, process: Process, what: str) -> None:
        live = process.live
        if live is None or not is_live(live):
            return
        if what == "end":
            entries: tuple[Entry, ...] = live.interaction.end(EndReason.ENDED)
        else:
            entries = (live.interaction.note(Signal.DTMF, "{}"),)
        process.log.put(live, entries, self.clock.now)

    def meet(self, process: Process) -> None:
        """Have the sender of a start that is granted speak from now on."""
        pending = process.pending
        if pending is None or not pending.outcome.done():
            return
        process.pending = None
        if pending.outcome.exception() is not None:
            return
        live = pending.outcome.result()
        assert isinstance(live, LiveStream)
        live.note_caught_up()
        process.live, process.session = live, Session(live.run.name)
        live.listener = process.session
        self.sessions.append((process.session, live))

    def deliver_everything(self) -> None:
        self.store.late.clear()
        for _ in range(6):
            for process in self.processes:
                process.log.doubt()
                process.settle()
                self.meet(process)

    def read(self) -> Reading:
        """Read the stream as a consumer does; fail where it is not in order."""
        reading = Reading(Counter(), set(), Counter())
        run, expected, last_generation = "", None, 0
        for generation, entry in self.store.now.entries:
            assert generation >= last_generation
            last_generation = generation
            match entry:
                case Started():
                    assert entry.generation == generation
                    expected = expected if entry.run == run else None
                    run = entry.run
                case Gap(first, missing):
                    assert missing > 0
                    assert expected in (None, first)
                    expected = first + missing
                    reading.declared |= {(run, seq) for seq in range(first, expected)}
                case AudioFrame(seq=seq):
                    assert expected in (None, seq), "a hole is silent"
                    expected = seq + 1
                    reading.seen[run, seq] += 1
                case Ended():
                    reading.ends[run] += 1
        return reading

    def acked(self) -> list[tuple[str, int]]:
        return [
            (session.run, seq)
            for session, _ in self.sessions
            for seq in session.seqs
            if seq <= session.acked
        ]

    def newest(self) -> LiveStream | None:
        lives = [live for _, live in self.sessions]
        return max(lives, key=lambda live: live.lease.order, default=None)

    def told_lost(self) -> int:
        counts = [process.telemetry.total("lost") for process in self.processes]
        return sum(counts)


def is_live(live: LiveStream) -> bool:
    return not live.is_fenced and live.interaction.state is State.LIVE


def play(
    life: Sequence[Step], processes: int = 1, limits: BufferLimits = ROOMY
) -> tuple[Life, Reading]:
    async def run() -> tuple[Life, Reading]:
        lived = Life(processes, limits)
        lived.play(life)
        lived.deliver_everything()
        return lived, lived.read()

    with asyncio.Runner() as runner:
        return runner.run(run())


lives = settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))


@lives
@given(steps("roll back"))
def test_a_store_that_is_rolled_back_gets_again_what_it_lost(life: list[Step]) -> None:
    lived, reading = play(life)
    assert all(reading.seen[acked] == 1 for acked in lived.acked())
    assert lived.told_lost() == 0
    assert max(reading.ends.values(), default=0) <= 1


@lives
@given(steps("roll back", "wipe"))
def test_a_store_that_is_wiped_gets_all_that_is_retained(life: list[Step]) -> None:
    lived, reading = play(life)
    assert all(reading.seen[acked] == 1 for acked in lived.acked())
    assert max(reading.seen.values(), default=0) <= 1
    assert max(reading.ends.values(), default=0) <= 1


LOST_ANSWER_OF_A_RESUME = [
    *(Step("resume"), Step("send"), Step("send"), Step("speak")),
    *(Step("resume"), Step("send"), Step("send"), Step("send", fate="answer lost")),
    Step("evict head"),
]


@lives
@example(LOST_ANSWER_OF_A_RESUME)
@given(steps("evict entries", "evict head"))
def test_a_store_that_lost_one_key_gets_all_that_is_retained(life: list[Step]) -> None:
    lived, reading = play(life)
    assert all(reading.seen[acked] >= 1 for acked in lived.acked())


@lives
@example(LOST_ANSWER_OF_A_RESUME)
@given(steps("evict head"))
def test_a_store_that_lost_its_head_alone_is_written_in_place(life: list[Step]) -> None:
    lived, reading = play(life)
    assert max(reading.seen.values(), default=0) <= 1
    assert all(reading.seen[acked] == 1 for acked in lived.acked())


@lives
@given(steps("roll back", "wipe"))
def test_what_is_retained_no_more_is_declared_by_a_gap_and_in_the_ledger(life: list[Step]) -> None:
    lived, reading = play(life, limits=SPARE)
    head = lived.store.head
    for acked in lived.acked():
        is_of_last_run = head is not None and head.run is not None and head.run.name == acked[0]
        assert reading.seen[acked] == 1 or acked in reading.declared or not is_of_last_run
    if head is not None and head.run is not None:
        published = sum(count for (run, _), count in reading.seen.items() if run == head.run.name)
        assert head.account.ledger.published == published


@lives
@given(steps())
def test_an_answer_that_is_lost_or_late_doubles_nothing(life: list[Step]) -> None:
    lived, reading = play(life, processes=2)
    assert max(reading.seen.values(), default=0) <= 1
    assert max(reading.ends.values(), default=0) <= 1
    assert all(reading.seen[acked] == 1 for acked in lived.acked())


@lives
@given(steps("roll back", "wipe"))
def test_the_newest_start_is_never_fenced_by_an_older_one(life: list[Step]) -> None:
    lived, _ = play(life, processes=2)
    newest = lived.newest()
    assert newest is None or not newest.is_fenced or newest.interaction.state is State.ENDED


@lives
@given(steps("roll back", "wipe", "evict entries", "evict head"))
def test_positions_are_dense_and_no_hole_is_silent_whatever_happens(life: list[Step]) -> None:
    lived, _ = play(life, processes=2)
    head = lived.store.head
    if head is not None and not head.entries_lost:
        count = len(lived.store.now.entries)
        assert head.next_position in {count, head.first_kept + count}


@lives
@given(steps("roll back"))
def test_the_ledger_at_the_end_is_what_is_in_the_stream(life: list[Step]) -> None:
    lived, reading = play(life)
    for entry in (entry for _, entry in lived.store.now.entries):
        if isinstance(entry, Started):
            run = entry.run
        if isinstance(entry, Ended):
            published = sum(count for (of, _), count in reading.seen.items() if of == run)
            assert entry.ledger.published == published
            assert entry.ledger.missing == 0


def test_two_starts_at_one_time_are_told_apart_after_a_wipe() -> None:
    """The clock stands still: both are granted within the same millisecond."""
    with asyncio.Runner() as runner:
        runner.run(_two_starts())


async def _two_starts() -> None:
    life = Life(processes=2)
    older, newer = life.processes
    for process in (older, newer):
        process.request_start(NEW_RUN)
        process.settle()
        life.meet(process)
        life.speak(process)
        process.settle()
    life.forget(Step("wipe"))
    for process in (older, newer, older):
        process.log.doubt()
        process.settle()
    assert newer.live is not None
    assert not newer.live.is_fenced
    assert older.session is not None
    assert older.session.is_fenced


@pytest.mark.parametrize("first", [0, 1])
def test_a_second_process_that_holds_the_stream_fences_the_first(first: int) -> None:
    verbs = [("start", first), ("speak", first), ("resume", 1 - first), ("speak", first)]
    life = [step for verb, at in verbs for step in (Step(verb, at), Step("settle", at))]
    lived, _ = play(life, processes=2)
    assert [session.is_fenced for session, _ in lived.sessions] == [True, False]
