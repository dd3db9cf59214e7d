"""One stream, all that writes it, and a destination that forgets.

The whole inside of the service speaks to a broker made of a few values. It loses calls and answers,
goes away, comes back as it was some time ago, and may be shared with another process. At the end
everything is let settle, and what stands in the stream is compared with what the senders said.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

import pytest
from bench import CountingTelemetry, clock_of, timeless_runner
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

from application.background import Background
from application.broker_watch import BrokerWatch
from application.buffer import BufferLimits
from application.cut_interaction import CutInteraction
from application.end_interaction import EndInteraction
from application.ingest_audio import IngestAudio
from application.live_stream import LiveStream, LiveStreams
from application.ports.clock import Clock
from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable, PublisherError
from application.ports.open_runs import OpenRuns
from application.ports.publisher import (
    Appended,
    Batch,
    Fenced,
    Hole,
    Lease,
    Outcome,
    Reclaim,
    Reclaimed,
    StreamPublisher,
    Undecided,
    Vanished,
)
from application.ports.reader import StreamReader
from application.publication import Publication
from application.publication_listener import PublicationListener
from application.recover_runs import RecoverRuns
from application.settle_start import SettleStart
from application.start_interaction import StartInteraction
from domain.access import Sender
from domain.account import Account, Grant, State
from domain.events import (
    ANEW,
    AudioAccepted,
    EndReason,
    Event,
    GapDetected,
    GoOn,
    InteractionEnded,
    InteractionStarted,
    Opening,
    Signal,
    SignalReceived,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat

T = TypeVar("T")
MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
REWIND_SECONDS = 5.0
RESUME_SECONDS = 30.0
SETTLED_SECONDS = 120.0
"""After so long the runs of the living and of the dead have ended, and nothing is kept any more."""
FRAME_BYTES = 48


# The broker


@dataclass(frozen=True)
class Entry:
    """What stands at one position; the entry's index is its position."""

    generation: int
    run: str
    event: Event


@dataclass(frozen=True)
class Stored:
    """All that the broker knows of the stream at one moment."""

    entries: tuple[Entry, ...] = ()
    grant: Grant | None = None
    owner: str = ""
    run: str = ""
    account: Account = field(default_factory=Account)
    given_up: frozenset[str] = frozenset()
    was_reclaimed: bool = False
    index: frozenset[tuple[int, int, bool]] = frozenset()

    @property
    def generation(self) -> int:
        return 0 if self.grant is None else self.grant.generation

    @property
    def is_open(self) -> bool:
        return self.grant is not None and self.account.state is not State.ENDED

    def is_past(self, lease: Lease) -> bool:
        is_older = self.grant is not None and self.grant.said_at_ms < lease.said_at_ms
        return self.was_reclaimed and is_older

    def announced(self, said: set[tuple[int, int, bool]]) -> "Stored":
        return replace(self, index=self.index | said)


class Broker:
    """Keeps its past, so that it can come back as it was; `past` is of this life only."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now = Stored()
        self.past: list[tuple[float, Stored]] = [(-math.inf, self.now)]
        self.granted = count(1)
        self.epoch = 0
        self.is_down = False
        self.mistakes: list[str] = []
        self.beats: dict[StreamKey, float] = {}
        self.next_beat = count()
        self.has_unanswered_start = False
        self.has_forgotten = False

    def store(self, stored: Stored) -> None:
        self.now = stored
        self.past.append((self.clock.monotonic(), stored))

    def covered(self) -> list[int]:
        """Which moments of the past lie within what the rewind covers."""
        oldest = self.clock.monotonic() - REWIND_SECONDS
        return [
            i
            for i in range(len(self.past))
            if i + 1 == len(self.past) or self.past[i + 1][0] > oldest
        ]

    def come_back_as(self, moment: int) -> None:
        self.has_forgotten |= self.past[moment][1] is not self.now
        del self.past[moment + 1 :]
        self.now = self.past[-1][1]
        self.epoch += 1

    def wipe(self) -> None:
        self.has_forgotten = True
        self.past = [(-math.inf, Stored())]
        self.come_back_as(0)

    # Writing; each returns the answer

    def begin(self, opening: Opening, owner: str, *, again: bool) -> Grant | Fenced:
        now = self.now
        if now.grant is not None and now.owner == owner:
            self._announce({(now.generation, now.grant.account.next_position, False)})
            return now.grant
        if again:
            self.store(replace(now, given_up=now.given_up | {owner}))
        if again or owner in now.given_up:
            return Fenced(now.generation)
        resumed = now.is_open and isinstance(opening.continuation, GoOn)
        run = now.run if resumed else owner
        return self._grant(opening, owner, run, now.generation + 1, resumed=resumed)

    def reclaim(self, wish: Reclaim) -> Grant | Fenced:
        now = self.now
        if now.grant is None:
            return self._grant(
                wish.opening, wish.owner, wish.run, wish.above + 1, resumed=True, lease=wish.lease
            )
        if now.owner == wish.owner:
            self._announce({(now.generation, now.grant.account.next_position, False)})
            return now.grant
        is_held_here = now.owner in {wish.lease.owner, wish.predecessor}
        is_later = now.grant.said_at_ms > wish.lease.said_at_ms
        is_not_last = now.generation > wish.above or (
            not is_held_here and (is_later or now.generation >= wish.lease.generation)
        )
        if is_not_last and not now.is_past(wish.lease):
            return Fenced(now.generation)
        resumed = now.is_open and now.run == wish.run
        generation = max(now.generation, wish.above) + 1
        return self._grant(
            wish.opening, wish.owner, wish.run, generation, resumed=resumed, lease=wish.lease
        )

    def _grant(
        self,
        opening: Opening,
        owner: str,
        run: str,
        generation: int,
        *,
        resumed: bool,
        lease: Lease | None = None,
    ) -> Grant:
        now, entries, said = self.now, list(self.now.entries), set[tuple[int, int, bool]]()
        if now.is_open and not resumed:
            said.add((now.generation, len(entries), True))
            ended = InteractionEnded(len(entries), EndReason.DISCONNECTED, now.account.ledger)
            entries.append(Entry(now.generation, now.run, ended))
        account = replace(now.account if resumed else Account(), next_position=len(entries))
        account = replace(account, state=State.LIVE)
        granted_at = next(self.granted) if lease is None else lease.said_at_ms
        grant = Grant(generation, resumed, account, run, granted_at)
        said.add((generation, len(entries), False))
        started = InteractionStarted(len(entries), generation, resumed, opening)
        entries.append(Entry(generation, run, started))
        account = replace(account, next_position=len(entries))
        reclaimed = lease is not None
        self.store(
            Stored(tuple(entries), grant, owner, run, account, now.given_up, reclaimed, now.index)
        )
        self._announce(said)
        return grant

    def end_untended(self) -> bool:
        now, position = self.now, len(self.now.entries)
        if not now.is_open:
            return False
        ended = InteractionEnded(position, EndReason.DISCONNECTED, now.account.ledger, True)
        entries = (*now.entries, Entry(now.generation, now.run, ended))
        account = replace(now.account, next_position=position + 1, state=State.ENDED)
        self.store(replace(now, entries=entries, owner="", account=account))
        self._announce({(now.generation, position, True)})
        return True

    def append(self, batch: Batch) -> Outcome:
        now = self.now
        if now.grant is None:
            return Vanished()
        if (now.generation, now.owner) != (batch.lease.generation, batch.lease.owner):
            return Fenced(now.generation, is_past=now.is_past(batch.lease))
        here, end = len(now.entries), batch.first_position + len(batch.events)
        self._check(batch)
        if batch.first_position > here:
            return Hole(here)
        ends = {
            (now.generation, event.position, True)
            for event in batch.events
            if isinstance(event, InteractionEnded)
        }
        if end < here or (end == here and batch.events):
            self._announce(ends)
            return Appended(here)
        if not now.is_open:
            says_only_that = not batch.events and batch.account.state is State.ENDED
            return Appended(here) if says_only_that else Fenced(now.generation)
        new = [
            Entry(now.generation, now.run, event)
            for event in batch.events[here - batch.first_position :]
        ]
        self.store(replace(now, entries=(*now.entries, *new), account=batch.account))
        self._announce(ends)
        return Appended(end)

    def _announce(self, said: set[tuple[int, int, bool]]) -> None:
        if said:
            self.store(self.now.announced(said))

    def _check(self, batch: Batch) -> None:
        """Note what no writer may ever ask for."""
        end = batch.first_position + len(batch.events)
        positions = [event.position for event in batch.events]
        if positions != list(range(batch.first_position, end)):
            self.mistakes.append(f"positions {positions} from {batch.first_position}")
        if batch.account.next_position != end:
            self.mistakes.append(f"account says {batch.account.next_position}, batch ends at {end}")


class Connection(StreamPublisher, OpenRuns, Destination):
    """One process's way to the broker. `faults` are met by its next calls, one each."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.faults: list[str] = []
        self.runs: dict[str, str] = {}
        self.before_begin: Callable[[], None] | None = None
        self.before_reclaim: Callable[[], None] | None = None
        self._said: set[tuple[int, int, bool]] = set()
        self._noticed = 0

    @property
    def epoch(self) -> int:
        return self._noticed

    @property
    def publisher(self) -> "Connection":
        return self

    @property
    def open_runs(self) -> "Connection":
        return self

    @property
    def reader(self) -> StreamReader:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        raise NotImplementedError

    async def verify_writable(self) -> None:
        self._reach()

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        self._reach()
        for stream in streams:
            self.broker.beats[stream] = next(self.broker.next_beat)

    async def beats(self) -> Mapping[StreamKey, float]:
        self._reach()
        return dict(self.broker.beats)

    async def end_untended(self, stream: StreamKey, beat: float) -> bool:
        if (await self.beats()).get(stream) != beat:
            return False
        del self.broker.beats[stream]
        return self.broker.end_untended()

    async def begin(
        self,
        opening: Opening,
        *,
        owner: str,
        has_token: bool,  # noqa: ARG002  # the port's
        waited_seconds: float = 0.0,  # noqa: ARG002  # who is older is tried elsewhere
        again: bool = False,
        epoch: int | None = None,
    ) -> Grant | Undecided | Fenced:
        self._reach()
        if epoch not in {None, self.epoch}:
            raise BrokerUnavailable("the connection was lost meanwhile")
        if self.before_begin is not None:
            act, self.before_begin = self.before_begin, None
            act()
        self.broker.has_unanswered_start |= self.faults[:1] in (["answer lost"], ["late"])
        grant = await self._call(lambda: self.broker.begin(opening, owner, again=again))
        if isinstance(grant, Grant):
            self.runs[owner] = grant.run
        return grant

    async def append(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        sent = [replace(batch, events=tuple(batch.events)) for batch in batches]
        return await self._call(lambda: [self.broker.append(batch) for batch in sent])

    async def reclaim(
        self, reclaims: Sequence[Reclaim], *, epoch: int | None = None
    ) -> Sequence[Reclaimed]:
        if self.before_reclaim is not None:
            act, self.before_reclaim = self.before_reclaim, None
            act()
        self._reach()
        if epoch not in {None, self.epoch}:
            raise BrokerUnavailable("the epoch is another")
        return await self._call(lambda: [self.broker.reclaim(wish) for wish in reclaims])

    async def announce_again(self) -> None:
        await self._call(lambda: self.broker._announce(self._said - self.broker.now.index))

    async def _call(self, write: Callable[[], T]) -> T:
        fault = self.faults.pop(0) if self.faults and not self.broker.is_down else ""
        await asyncio.sleep(0)
        self._reach()
        if fault == "lost":
            self._lose_connection()
        if fault == "late":
            asyncio.get_running_loop().call_later(6.0, self._write_late, write)
            await asyncio.Event().wait()
        before = self.broker.now.index
        answer = write()
        self._said |= self.broker.now.index - before
        if fault == "answer lost":
            self._lose_connection()
        return answer

    def _write_late(self, write: Callable[[], object]) -> None:
        if not self.broker.is_down:
            write()

    def _reach(self) -> None:
        if self.broker.is_down:
            raise BrokerUnavailable("down")
        self._noticed = max(self._noticed, self.broker.epoch)

    def _lose_connection(self) -> None:
        self.broker.epoch += 1
        raise BrokerUnavailable("the connection was lost")


# The service


class Process:
    """Everything between a conversation and the broker."""

    def __init__(self, broker: Broker, clock: Clock, limits: BufferLimits) -> None:
        self.connection = Connection(broker)
        self.telemetry = CountingTelemetry()
        self.publication = Publication(
            self.connection, clock, self.telemetry, limits, retention_seconds=math.inf
        )
        self.background = Background()
        self.live_streams = LiveStreams(self.publication, clock)
        self.watch = BrokerWatch(self.connection, self.publication, clock, self.telemetry)
        self.end = EndInteraction(
            clock, self.telemetry, self.live_streams, self.background, expire_seconds=math.inf
        )
        self.cut = CutInteraction(
            self.end,
            self.live_streams,
            self.background,
            clock,
            resume_seconds=RESUME_SECONDS,
            expire_seconds=1e9,
        )
        self.start = StartInteraction(
            self.connection,
            self.connection,
            self.live_streams,
            SettleStart(
                self.connection,
                self.live_streams,
                self.cut,
                self.background,
                self.watch,
                clock,
                expire_seconds=1e9,
            ),
            self.publication,
            clock,
        )
        self.ingest = IngestAudio(clock, self.telemetry)
        recover = RecoverRuns(self.connection, self.live_streams, resume_seconds=RESUME_SECONDS)
        self.tasks = [
            asyncio.create_task(recover.run()),
            asyncio.create_task(self.publication.run()),
            asyncio.create_task(self.watch.run()),
        ]

    async def close(self) -> None:
        await self.background.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


# The sender


@dataclass
class Run:
    """What was said in one run, and what became of it."""

    said: list[int | str] = field(default_factory=list)
    left_out: set[int] = field(default_factory=set)
    received: int = 0
    acknowledged: int = -1


class Line(PublicationListener):
    """A connection of the sender to a process."""

    def __init__(self, process: Process, stream: LiveStream, run: str, log: Run) -> None:
        self.process = process
        self.stream = stream
        self.run = run
        self.log = log
        last_seq = stream.interaction.last_seq
        self.next_seq = max(-1 if last_seq is None else last_seq, log.acknowledged) + 1
        self.is_fenced = stream.outbox.is_fenced
        stream.outbox.listen(self)

    def on_confirmed(self, frames: int, last_seq: int | None) -> None:
        if frames and last_seq is not None:
            self.log.acknowledged = max(self.log.acknowledged, last_seq)

    def on_fenced(self) -> None:
        self.is_fenced = True

    def on_stalled(self) -> None:
        """A sender that does not hang up."""

    @property
    def is_heard(self) -> bool:
        return self.stream.interaction.state is State.LIVE and not self.stream.outbox.is_fenced

    def speak(self, frames: int) -> None:
        for _ in range(frames):
            self._pass_over_what_was_left_out()
            self._say(self.next_seq)
            self.next_seq += 1

    def leave_out(self, seqs: int) -> None:
        """Say some not, now and when everything is said again."""
        for _ in range(seqs):
            self._pass_over_what_was_left_out()
            if self.next_seq not in self.log.said:
                self.log.left_out.add(self.next_seq)
            self.next_seq += 1

    def _pass_over_what_was_left_out(self) -> None:
        while self.next_seq in self.log.left_out:
            self.next_seq += 1

    def repeat(self, back: int) -> None:
        self._say(max(0, self.next_seq - back))

    def press(self, details: str) -> None:
        if self.is_heard:
            self.process.ingest.note(self.stream, Signal.DTMF, details)
            self.log.said.append(details)

    def drop(self, frames: int) -> None:
        if self.is_heard:
            self.process.ingest.drop(self.stream, None, frames)
            self.log.received += frames
            self.next_seq = self.stream.interaction.unnumbered_seq

    def _say(self, seq: int) -> None:
        if not self.is_heard:
            return
        self.log.received += 1
        if self.process.ingest(self.stream, seq, audio(self.run, seq)):
            self.log.said.append(seq)

    def hang_up(self) -> None:
        self.stream.outbox.listen(None)
        if self.stream.interaction.state is State.LIVE:
            self.process.cut(self.stream)

    def end(self) -> None:
        self.stream.outbox.listen(None)
        if self.is_heard:
            self.process.end(self.stream, EndReason.ENDED)


def in_runs(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Part a stream where a start does not go on with what was before."""
    runs: list[list[Entry]] = []
    for entry in entries:
        if isinstance(entry.event, InteractionStarted) and not (runs and entry.event.resumed):
            runs.append([])
        runs[-1].append(entry)
    return runs


def audio(run: str, seq: int) -> bytes:
    """What is said in a frame: no two are alike."""
    return f"{run}/{seq}".encode().ljust(FRAME_BYTES, b".")


FAULTS = st.lists(st.sampled_from(["", "lost", "answer lost", "late"]), min_size=1, max_size=3)
WAITS = st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 2.5, 4.0, 6.0, 40.0])


class ForgetfulDestination(RuleBasedStateMachine):
    """`is_sound` while nothing may be lost at all: see the rules that end it.

    `is_exact` unless the broker has come back once more while a stream was to be begun again.
    """

    processes_at_most = 1
    forgets_at_most_what_is_kept = True
    may_lack_an_end = False

    def __init__(self) -> None:
        super().__init__()
        self.runner = timeless_runner()
        self.broker = Broker(clock_of(self.runner))
        self.processes: list[Process] = []
        self.runs: dict[str, Run] = {}
        self.line: Line | None = None
        self.is_sound = True
        self.is_exact = True
        self.details = (f'{{"digit":"{n}"}}' for n in count())

    @initialize(tight=st.booleans())
    def begin(self, tight: bool) -> None:
        limits = BufferLimits(rewind_seconds=REWIND_SECONDS)
        if tight and not self.forgets_at_most_what_is_kept:
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

    @precondition(lambda self: not self.forgets_at_most_what_is_kept)
    @rule(resume=st.booleans(), process=st.integers(0, 1), late=st.integers(1, 2))
    def connect_while_the_older_line_speaks(self, resume: bool, process: int, late: int) -> None:
        self.is_sound = False
        self._connect(resume, process, late)

    def _connect(self, resume: bool, process: int, late: int) -> None:
        """Connect, beside an older line: that is told, or has long gone."""
        to = self.processes[process % len(self.processes)]
        older = self.line
        if older is not None and late:
            to.connection.before_begin = lambda: older.speak(late)
        opening = Opening(STREAM, InteractionId("call"), "d", MEDIA, 0, GoOn() if resume else ANEW)
        try:
            stream = self.runner.run(to.start(opening, Sender()))
        except PublisherError:
            return
        assert isinstance(stream, LiveStream)
        if older is not None:
            self.runner.run(self._soon(Line.hang_up))
        name = to.connection.runs[stream.outbox.lease.owner]
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
        self._note_reclaims()
        self.broker.come_back_as(moment)
        self.broker.is_down = False

    def _note_reclaims(self) -> None:
        held = [outbox for process in self.processes for outbox in process.publication._held()]
        if any(outbox._reclaim_owner is not None for outbox in held):
            self.is_sound = self.is_exact = False

    @precondition(lambda self: not self.forgets_at_most_what_is_kept)
    @rule(data=st.data())
    def come_back_much_younger(self, data: st.DataObject) -> None:
        self.is_sound = False
        self._note_reclaims()
        self.broker.come_back_as(data.draw(st.integers(0, len(self.broker.past) - 1)))
        self.broker.is_down = False

    @precondition(lambda self: not self.forgets_at_most_what_is_kept)
    @rule()
    def come_back_empty(self) -> None:
        self.is_sound = False
        self._note_reclaims()
        self.broker.wipe()
        self.broker.is_down = False

    # What has to be

    @invariant()
    def nobody_asks_for_what_makes_no_sense(self) -> None:
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
            self.runner.run(self._close())
            self.runner.close()

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
        self.nobody_asks_for_what_makes_no_sense()
        for process in self.processes:
            assert process.watch.is_up
            assert process.background.is_idle
            assert process.live_streams.keys() == []
            assert process.publication._held() == []
            assert process.telemetry.held_bytes() == (0, 0)
            if self.forgets_at_most_what_is_kept:
                assert process.telemetry.short_frames == 0
        entries = self.broker.now.entries
        assert [entry.event.position for entry in entries] == list(range(len(entries)))
        generations = [entry.generation for entry in entries]
        assert generations == sorted(generations)
        for run in in_runs(entries):
            self._check_run(run[0].run, run)
        standing = {entry.run: [e for e in entries if e.run == entry.run] for entry in entries}
        if self.broker.has_unanswered_start:
            self.is_sound = False  # a start that nobody knows of has fenced the writer
        if self.is_sound:
            self._check_that_nothing_is_lost(entries, standing)
        self._check_index(entries)

    def _check_run(self, name: str, entries: list[Entry]) -> None:
        """Every seq is published or declared, once and in order; the ledger says the same."""
        started, *events = [entry.event for entry in entries]
        assert isinstance(started, InteractionStarted)
        if self.may_lack_an_end and not any(isinstance(e, InteractionEnded) for e in events):
            return
        assert [e for e in events if isinstance(e, InteractionEnded)] == events[-1:]
        ended = events[-1]
        assert isinstance(ended, InteractionEnded)
        heard = {seq for seq in self.runs.get(name, Run()).said if isinstance(seq, int)}
        expected: int | None = None
        published, missing = 0, 0
        for event in events:
            if isinstance(event, GapDetected):
                assert event.missing > 0
                assert expected is None or event.first_missing == expected
                expected = event.first_missing + event.missing
                missing += event.missing
            if isinstance(event, AudioAccepted):
                seq = event.frame.seq
                assert expected is None or seq == expected
                assert seq in heard
                assert event.frame.audio == audio(name, seq)
                expected = seq + 1
                published += 1
        if not self.is_exact:
            return
        assert ended.ledger.published == published
        assert ended.ledger.missing - ended.ledger.lost <= missing <= ended.ledger.missing
        assert ended.ledger.bytes == published * FRAME_BYTES
        assert ended.ledger.audio_ms == published * 3

    def _check_that_nothing_is_lost(
        self, entries: Sequence[Entry], standing: dict[str, list[Entry]]
    ) -> None:
        assert len(in_runs(entries)) == len(standing)
        for name, run in self.runs.items():
            if not run.said and name not in standing:
                continue  # of a run that was given up before anything was said nothing is kept
            stands: list[int | str] = []
            for entry in standing[name]:
                if isinstance(entry.event, AudioAccepted):
                    stands.append(entry.event.frame.seq)
                if isinstance(entry.event, SignalReceived):
                    stands.append(entry.event.details)
            assert stands == run.said
            ended = standing[name][-1].event
            assert isinstance(ended, InteractionEnded)
            if not self.broker.has_forgotten:  # counters that came with no event are not kept
                assert ended.ledger.received == run.received
            assert run.acknowledged <= max([-1, *(s for s in stands if isinstance(s, int))])
        assert sum(p.telemetry.counted["lost", "forgotten"] for p in self.processes) == 0
        assert sum(p.telemetry.counted["lost", "superseded"] for p in self.processes) == 0

    def _check_index(self, entries: Sequence[Entry]) -> None:
        if not self.is_sound:
            return
        for entry in entries:
            if isinstance(entry.event, InteractionStarted | InteractionEnded):
                has_ended = isinstance(entry.event, InteractionEnded)
                said = (entry.generation, entry.event.position, has_ended)
                assert said in self.broker.now.index


class MuchForgotten(ForgetfulDestination):
    """Forgets more than what is kept, and senders speak while their stream is taken over."""

    forgets_at_most_what_is_kept = False
    may_lack_an_end = True  # see the staged run whose end is kept no more


class Strict(MuchForgotten):
    """Every run that stands has its end, whatever was forgotten."""

    may_lack_an_end = False


class Shared(ForgetfulDestination):
    """Two processes: what one has kept does not help where the other holds the stream."""

    processes_at_most = 2

    def __init__(self) -> None:
        super().__init__()
        self.is_sound = False


@contextmanager
def staged(machine: ForgetfulDestination, *, tight: bool = False) -> Iterator[Any]:
    """Do by hand what a machine may do by itself; at the end it looks at everything."""
    try:
        machine.begin(tight=tight)
        yield machine
    finally:
        machine.teardown()


def test_a_line_survives_that_the_one_before_it_said_nothing() -> None:
    with staged(ForgetfulDestination()) as machine:
        machine.press()
        machine.connect(resume=False, process=0)
        machine.connect(resume=False, process=0)
        machine.speak(frames=2)
        machine.come_back_as(0)


def test_a_line_waits_for_all_before_it_although_the_last_of_them_is_over() -> None:
    with staged(ForgetfulDestination()) as machine:
        for _ in range(3):
            machine.speak(frames=2)
            machine.connect(resume=False, process=0)
        machine.connect(resume=False, process=0)
        machine.speak(frames=2)
        for _ in range(2):
            machine.come_back_as(0)
            machine.runner.run(machine.processes[0].watch.check())
            machine.wait(seconds=0.1)


def test_what_is_lost_for_good_is_declared_once_however_often_it_is_begun_again() -> None:
    with staged(MuchForgotten(), tight=True) as machine:
        machine.speak(frames=150)
        machine.come_back_empty()
        machine.wait(seconds=2.5)
        machine.come_back_empty()


@pytest.mark.parametrize("resume", [True, False])
def test_a_frame_heard_too_late_is_in_nobodys_account(resume: bool) -> None:
    with staged(MuchForgotten()) as machine:
        machine.speak(frames=3)
        machine.connect_while_the_older_line_speaks(resume=resume, process=0, late=2)
        machine.speak(frames=3)
        machine.come_back_empty()


def test_what_was_counted_while_the_broker_was_away_is_in_the_ledger_of_the_end() -> None:
    with staged(ForgetfulDestination()) as machine:
        machine.go_away()
        machine.speak(frames=1)
        machine.wait(seconds=1.0)
        machine.drop(frames=1)
        machine.come_back_as(len(machine.broker.past) - 1)
        machine.runner.run(machine.processes[0].watch.check())
        machine.connect(resume=False, process=0)


def test_a_broker_that_forgets_once_more_before_a_stream_is_begun_again() -> None:
    with staged(ForgetfulDestination()) as machine:
        machine.speak(frames=1)
        machine.connect(resume=False, process=0)
        machine.speak(frames=2)
        machine.wait(seconds=0.1)
        machine.connect(resume=True, process=0)
        machine.speak(frames=2)
        machine.wait(seconds=0.1)
        last = {stored.generation: i for i, (_, stored) in enumerate(machine.broker.past)}
        machine.processes[0].connection.before_reclaim = lambda: machine.broker.come_back_as(
            last[1]
        )
        machine.come_back_as(last[2])


def test_a_run_whose_end_is_kept_no_more_is_not_begun_again() -> None:
    with staged(Strict()) as machine:
        machine.speak(frames=1)
        machine.end()
        machine.wait(seconds=1.0)
        machine.connect(resume=False, process=0)
        machine.wait(seconds=4.0)
        machine.wait(seconds=1.0)
        machine.come_back_empty()


def test_a_reclaim_whose_answer_is_lost_is_not_another_process() -> None:
    with staged(ForgetfulDestination()) as machine:
        process = machine.processes[0]
        machine.speak(frames=2)
        machine.wait(seconds=0.1)
        machine.connect(resume=True, process=0)
        machine.speak(frames=2)
        machine.wait(seconds=0.1)
        last = {stored.generation: i for i, (_, stored) in enumerate(machine.broker.past)}
        process.connection.before_reclaim = lambda: process.connection.faults.append("answer lost")
        for moment in (last[1], 0):
            machine.come_back_as(moment)
            machine.runner.run(process.watch.check())
            machine.wait(seconds=1.0)


def check(machine: type[ForgetfulDestination], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_is_lost_while_no_more_is_forgotten_than_is_kept() -> None:
    check(ForgetfulDestination, 100)


def test_what_is_lost_is_declared_when_more_is_forgotten() -> None:
    check(MuchForgotten, 100)


def test_what_is_lost_is_declared_when_another_process_takes_over() -> None:
    check(Shared, 100)
