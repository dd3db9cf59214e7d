"""One stream, all that writes it, and a store that loses what it had.

The whole inside of the service speaks to a store made of a list of past values. It loses calls and
answers, goes away, comes back as it was some time ago, empty or without one of its keys, and may be
shared with another process. At the end everything is let settle, and what is in the stream is
compared with what the senders sent.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lossy_broker import REWIND_SECONDS, Broker
from lossy_call import FRAME_BYTES, Line, Process, Run
from tokens import reproducible_tokens
from virtual_time import clock_of, timeless_runner

from application.delivery.byte_budget import BufferLimits
from application.delivery.live_stream import LiveStream
from application.delivery.log_state import LogState
from application.ports.errors import PublisherError
from application.start_interaction import RetryBudget
from domain.access import Principal
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import NEW_RUN, Opening, Resume
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat
from examples import examples

MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
SETTLED_SECONDS = 120.0
"""After so long the runs of the living and of the dead have ended, and nothing is retained."""

FAULTS = st.lists(st.sampled_from(["", "lost", "answer lost", "late"]), min_size=1, max_size=3)
WAITS = st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 2.5, 4.0, 6.0, 40.0])


def in_runs(entries: Sequence[tuple[int, Entry]]) -> list[tuple[str, list[Entry]]]:
    """Part a stream into its runs, by name."""
    runs: list[tuple[str, list[Entry]]] = []
    for _, entry in entries:
        if isinstance(entry, Started) and not (runs and runs[-1][0] == entry.run):
            runs.append((entry.run, []))
        if runs:
            runs[-1][1].append(entry)
    return runs


class LossyStore(RuleBasedStateMachine):
    """`is_sound` while nothing may be lost at all: see the rules that end it.

    `is_exact` unless the broker has come back once more while a stream was to be rebased.
    """

    processes_at_most = 1
    loses_only_what_is_retained = True
    may_lack_an_end = False

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(reproducible_tokens())
        self.runner = self.stack.enter_context(timeless_runner())
        self.broker = Broker(clock_of(self.runner))
        self.processes: list[Process] = []
        self.runs: dict[str, Run] = {}
        self.line: Line | None = None
        self.is_sound = True
        self.is_exact = True
        self.details = (f'{{"digit":"{n}"}}' for n in count())

    @initialize(tight=st.booleans(), linger=st.sampled_from([0.0, 0.0, 0.04, 0.2]))
    def begin(self, tight: bool, linger: float) -> None:
        limits = BufferLimits(rewind_seconds=REWIND_SECONDS, linger_seconds=linger)
        if tight and not self.loses_only_what_is_retained:
            limits = replace(limits, buffer_bytes=100 * FRAME_BYTES)
            self.is_sound = False

        async def start() -> None:
            for _ in range(self.processes_at_most):
                process = Process(self.broker, self.broker.clock, limits)
                await process.watch.check()
                self.processes.append(process)

        self.runner.run(start())
        self.connect(resume=False, process=0)

    # The sender

    @rule(resume=st.booleans(), process=st.integers(0, 1))
    def connect(self, resume: bool, process: int) -> None:
        self._connect(resume, process, late=0)

    @precondition(lambda self: not self.loses_only_what_is_retained)
    @rule(resume=st.booleans(), process=st.integers(0, 1), late=st.integers(1, 2))
    def connect_while_the_older_line_speaks(self, resume: bool, process: int, late: int) -> None:
        self.is_sound = False
        self._connect(resume, process, late)

    def _connect(self, resume: bool, process: int, late: int) -> None:
        """Connect, beside an older line: that is told, or has long gone."""
        to = self.processes[process % len(self.processes)]
        older = self.line
        if older is not None and late:
            to.connection.before_append = lambda: older.speak(late)
        opening = Opening(
            STREAM, InteractionId("call"), "d", MEDIA, 0, Resume() if resume else NEW_RUN
        )
        self.broker.has_unanswered_start |= bool(to.connection.faults) or self.broker.is_down
        try:
            stream = self.runner.run(to.start(opening, Principal(), budget=RetryBudget(0.0)))
        except PublisherError:
            self.broker.has_unanswered_start = True
            return
        assert isinstance(stream, LiveStream)
        if older is not None:
            self.runner.run(self._soon(Line.hang_up))
        name = stream.run.name
        self.line = Line(to, stream, name, self.runs.setdefault(name, Run()))

    @precondition(lambda self: self.line is not None)
    @rule(frames=st.sampled_from([1, 2, 5, 150]))
    def speak(self, frames: int) -> None:
        assert self.line is not None
        self.runner.run(self._soon(lambda line: line.speak(frames)))

    @precondition(lambda self: self.line is not None)
    @rule(back=st.integers(1, 3))
    def repeat(self, back: int) -> None:
        self.runner.run(self._soon(lambda line: line.repeat(back)))

    @precondition(lambda self: self.line is not None)
    @rule(seqs=st.integers(1, 3), frames=st.integers(1, 2))
    def leave_out(self, seqs: int, frames: int) -> None:
        def act(line: Line) -> None:
            line.leave_out(seqs)
            line.speak(frames)

        self.runner.run(self._soon(act))

    @precondition(lambda self: self.line is not None)
    @rule(frames=st.integers(1, 3))
    def drop(self, frames: int) -> None:
        self.runner.run(self._soon(lambda line: line.drop(frames)))

    @precondition(lambda self: self.line is not None)
    @rule()
    def press(self) -> None:
        self.runner.run(self._soon(lambda line: line.press(next(self.details))))

    @precondition(lambda self: self.line is not None)
    @rule()
    def hang_up(self) -> None:
        self.runner.run(self._soon(Line.hang_up))
        self.line = None

    @precondition(lambda self: self.line is not None)
    @rule()
    def end(self) -> None:
        self.runner.run(self._soon(Line.end))
        self.line = None

    async def _soon(self, act: Callable[[Line], None]) -> None:
        assert self.line is not None
        if self.line.is_fenced:
            self.line.hang_up()
        act(self.line)

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    # The broker

    @rule(faults=FAULTS, process=st.integers(0, 1))
    def have_calls_fail(self, faults: list[str], process: int) -> None:
        self.processes[process % len(self.processes)].connection.faults.extend(faults)

    @rule()
    def go_away(self) -> None:
        self.broker.is_down = True

    @rule(data=st.data())
    def come_back_younger(self, data: st.DataObject) -> None:
        self.come_back_as(data.draw(st.sampled_from(self.broker.covered()[::-1])))

    @rule()
    def come_back_as_young_as_may_be(self) -> None:
        self.come_back_as(self.broker.covered()[0])

    def come_back_as(self, moment: int) -> None:
        self._note_rebases()
        self.broker.come_back_as(moment)
        self.broker.is_down = False

    def _note_rebases(self) -> None:
        """While a stream is being rebased the ledger may count some frames as lost twice."""
        logs = [log for process in self.processes for log in process.sender._logs.values()]
        if any(log.state is LogState.REBASING for log in logs):
            self.is_sound = self.is_exact = False

    @precondition(lambda self: not self.loses_only_what_is_retained)
    @rule(data=st.data())
    def come_back_much_younger(self, data: st.DataObject) -> None:
        self.is_sound = False
        self._note_rebases()
        self.broker.come_back_as(data.draw(st.integers(0, len(self.broker.past) - 1)))
        self.broker.is_down = False

    @precondition(lambda self: not self.loses_only_what_is_retained)
    @rule()
    def come_back_empty(self) -> None:
        self.is_sound = False
        self._note_rebases()
        self.broker.wipe()
        self.broker.is_down = False

    @precondition(lambda self: not self.loses_only_what_is_retained)
    @rule()
    def evict_the_entries(self) -> None:
        self.is_sound = False
        self._note_rebases()
        self.broker.evict_entries()

    # What has to be

    @invariant()
    def no_writer_asks_for_what_makes_no_sense(self) -> None:
        assert not self.broker.mistakes
        for process in self.processes:
            assert not any(task.done() for task in process.tasks)
            assert min(process.telemetry.held_bytes()) >= 0

    def teardown(self) -> None:
        try:
            if self.processes:
                self.runner.run(self._settle())
                self._check_everything()
        finally:
            with self.stack:
                self.runner.run(self._close())

    async def _close(self) -> None:
        for process in self.processes:
            await process.close()

    async def _settle(self) -> None:
        """Let the sender go, the broker stay, and everything come to an end."""
        self.broker.is_down = False
        for process in self.processes:
            process.connection.faults.clear()
        if self.line is not None:
            self.line.hang_up()
        await asyncio.sleep(SETTLED_SECONDS)

    def _check_everything(self) -> None:
        self.no_writer_asks_for_what_makes_no_sense()
        for process in self.processes:
            assert process.watch.is_up
            assert process.background.is_idle
            assert process.sender._logs == {}
            assert process.telemetry.held_bytes() == (0, 0)
            if self.loses_only_what_is_retained:
                assert process.telemetry.short_frames == 0
        entries = self.broker.now.entries
        generations = [generation for generation, _ in entries]
        assert generations == sorted(generations)
        runs = in_runs(entries)
        for _, of_run in runs:
            self._check_run(of_run)
        if self.broker.has_unanswered_start:
            self.is_sound = False  # a start without a sender has fenced the writer
        if self.is_sound:
            self._check_that_nothing_is_lost(runs)

    def _check_run(self, entries: list[Entry]) -> None:
        """Every seq is published or declared, once and in order; the ledger says the same."""
        events = entries[1:]
        if self.may_lack_an_end and not any(isinstance(e, Ended) for e in events):
            return
        assert [e for e in events if isinstance(e, Ended)] == events[-1:]
        ended = events[-1]
        assert isinstance(ended, Ended)
        expected: int | None = None
        published, missing = 0, 0
        for event in events:
            if isinstance(event, Gap):
                assert event.missing > 0
                assert expected is None or event.first_missing == expected
                expected = event.first_missing + event.missing
                missing += event.missing
            if isinstance(event, AudioFrame):
                assert expected is None or event.seq == expected
                assert event.audio.startswith(f"{event.seq}/".encode())
                expected = event.seq + 1
                published += 1
        if not self.is_exact:
            return
        assert ended.ledger.published == published
        assert ended.ledger.missing - ended.ledger.lost <= missing <= ended.ledger.missing
        assert ended.ledger.bytes == published * FRAME_BYTES
        assert ended.ledger.audio_ms == published * 3

    def _check_that_nothing_is_lost(self, runs: list[tuple[str, list[Entry]]]) -> None:
        there = dict(runs)
        assert len(runs) == len(there)
        for name, run in self.runs.items():
            if not run.sent and name not in there:
                continue  # of a run that was given up before anything was sent nothing is kept
            found: list[int | str] = []
            for entry in there[name]:
                if isinstance(entry, AudioFrame):
                    found.append(entry.seq)
                if isinstance(entry, SignalNoted):
                    found.append(entry.details)
            assert found == run.sent
            ended = there[name][-1]
            assert isinstance(ended, Ended)
            if not self.broker.has_lost:  # counters that came with no entry are not retained
                assert ended.ledger.received == run.received
            assert run.acknowledged <= max([-1, *(s for s in found if isinstance(s, int))])
        assert sum(p.telemetry.counted["lost", "rolled_back"] for p in self.processes) == 0
        assert sum(p.telemetry.counted["lost", "superseded"] for p in self.processes) == 0


class LossyStoreBeyondRewind(LossyStore):
    """Loses more than what is retained, and senders speak while their stream is taken over."""

    loses_only_what_is_retained = False
    may_lack_an_end = True  # see the staged run whose end is retained no more


class Strict(LossyStoreBeyondRewind):
    """Every run that is there has its end, whatever was lost."""

    may_lack_an_end = False


class Shared(LossyStore):
    """Two processes: what one has kept does not help where the other holds the stream."""

    processes_at_most = 2

    def __init__(self) -> None:
        super().__init__()
        self.is_sound = False


@contextmanager
def staged(machine: LossyStore, *, tight: bool = False) -> Iterator[Any]:
    """Do by hand what a machine may do by itself; at the end it looks at everything."""
    try:
        machine.begin(tight=tight, linger=0.0)
        yield machine
    finally:
        machine.teardown()


def test_a_line_survives_that_the_one_before_it_sent_nothing() -> None:
    with staged(LossyStore()) as machine:
        machine.press()
        machine.connect(resume=False, process=0)
        machine.connect(resume=False, process=0)
        machine.speak(frames=2)
        machine.come_back_as(0)


def test_a_line_waits_for_all_before_it_although_the_last_of_them_is_over() -> None:
    with staged(LossyStore()) as machine:
        for _ in range(3):
            machine.speak(frames=2)
            machine.connect(resume=False, process=0)
        machine.connect(resume=False, process=0)
        machine.speak(frames=2)
        for _ in range(2):
            machine.come_back_as(0)
            machine.runner.run(machine.processes[0].watch.check())
            machine.wait(seconds=0.1)


def test_what_is_lost_for_good_is_declared_once_however_often_it_is_rebased() -> None:
    with staged(LossyStoreBeyondRewind(), tight=True) as machine:
        machine.speak(frames=150)
        machine.come_back_empty()
        machine.wait(seconds=2.5)
        machine.come_back_empty()


@pytest.mark.parametrize("resume", [True, False])
def test_a_frame_heard_too_late_is_in_no_account(resume: bool) -> None:
    with staged(LossyStoreBeyondRewind()) as machine:
        machine.speak(frames=3)
        machine.connect_while_the_older_line_speaks(resume=resume, process=0, late=2)
        machine.speak(frames=3)
        machine.come_back_empty()


def test_what_was_counted_while_the_broker_was_away_is_in_the_ledger_of_the_end() -> None:
    with staged(LossyStore()) as machine:
        machine.go_away()
        machine.speak(frames=1)
        machine.wait(seconds=1.0)
        machine.drop(frames=1)
        machine.come_back_as(len(machine.broker.past) - 1)
        machine.runner.run(machine.processes[0].watch.check())
        machine.connect(resume=False, process=0)


def test_a_run_whose_end_is_retained_no_more_is_not_rebased() -> None:
    with staged(Strict()) as machine:
        machine.speak(frames=1)
        machine.end()
        machine.wait(seconds=1.0)
        machine.connect(resume=False, process=0)
        machine.wait(seconds=4.0)
        machine.wait(seconds=1.0)
        machine.come_back_empty()


SECONDS = 3_600.0
"""For a soak, on a machine that does something else."""


def check(machine: type[LossyStore]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples(100, ci=200, soak=5_000),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(SECONDS)
def test_no_frame_is_lost_while_the_store_loses_only_what_is_retained() -> None:
    check(LossyStore)


@pytest.mark.timeout(SECONDS)
def test_what_is_lost_is_declared_when_the_store_loses_more() -> None:
    check(LossyStoreBeyondRewind)


@pytest.mark.timeout(SECONDS)
def test_what_is_lost_is_declared_when_another_process_takes_over() -> None:
    check(Shared)
