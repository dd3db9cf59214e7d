"""Compares a store with an oracle: a dictionary of lists with the same compare-and-append rule.

Appends start from any head that a stream ever had, so most of them are late. They come from two
connections, with several streams in a call, are repeated, and meet outages, roll-backs and wipes if
the trial can simulate them.
"""

from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from application.ports.destination import Destination
from application.ports.reader import PublishedEntry
from application.ports.store import APPENDED, Append, Conflict, Failed, Mark, Outcome
from application.testing.appends import as_stored, begin, cut, following, frame, stream
from application.testing.conditions import unplugged
from application.testing.observed import (
    announced,
    attempt,
    expected,
    facts,
    head,
    plain,
    read,
    until_answered,
)
from application.testing.running import running
from application.testing.trial import Trial
from domain.entries import Ended, SignalNoted, Started
from domain.events import Signal
from domain.head import Head
from domain.identifiers import StreamKey

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Oracle = dict[StreamKey, tuple[Head, list[PublishedEntry]]]

STREAMS = 3
_numbers = count(1)


def mark_of(published: PublishedEntry) -> Mark:
    """Return the name of an entry in its stream."""
    return Mark(published.generation, published.position)


class StoreMachine(RuleBasedStateMachine):
    """Three streams of its own, which outlive no example."""

    def __init__(self, run: Run, trial: Trial, destinations: list[Destination]) -> None:
        super().__init__()
        self.run_in_loop = run
        self.trial = trial
        self.destinations = destinations
        number = next(_numbers)
        self.keys = [stream(f"model-{number}-{place}") for place in range(STREAMS)]
        self.oracle: Oracle = {}
        self.saved: Oracle | None = None
        self.heads: dict[StreamKey, list[Head | None]] = {key: [None] for key in self.keys}
        self.sent: list[Append] = []
        self.may_have_lost = False
        self.outages = 0

    @rule(
        data=st.data(),
        places=st.lists(st.integers(0, STREAMS - 1), min_size=1, max_size=STREAMS, unique=True),
        process=st.integers(0, 1),
    )
    def append(self, data: st.DataObject, places: list[int], process: int) -> None:
        """Write to some streams, from their heads or from older ones."""
        appends = [self.draw_append(data, self.keys[place]) for place in places]
        outcomes = self.run_in_loop(attempt(self.destinations[process], appends))
        assert outcomes == [self.decide(append) for append in appends]

    @rule(data=st.data(), process=st.integers(0, 1))
    def send_again(self, data: st.DataObject, process: int) -> None:
        """Send any append of the past once more."""
        if self.sent:
            append = data.draw(st.just(self.sent[-1]) | st.sampled_from(self.sent))
            outcomes = self.run_in_loop(attempt(self.destinations[process], [append]))
            assert outcomes == [self.decide(append)]

    @precondition(lambda self: self.outages < 1)
    @rule(data=st.data(), place=st.integers(0, STREAMS - 1))
    def outage(self, data: st.DataObject, place: int) -> None:
        """Fail and come back with all data."""
        self.outages += 1
        append = self.draw_append(data, self.keys[place])

        async def fail() -> Outcome:
            async with unplugged(self.trial):
                (outcome,) = await attempt(self.destinations[0], [append])
                return outcome

        assert isinstance(self.run_in_loop(fail()), Failed)
        self.find_again()

    @precondition(lambda self: self.outages < 1 and self.trial.has("save"))
    @rule()
    def save(self) -> None:
        """Save the current state."""
        self.run_in_loop(self.trial.save())
        self.saved = {key: (head, list(entries)) for key, (head, entries) in self.oracle.items()}

    @precondition(lambda self: self.saved is not None and self.outages < 1)
    @rule()
    def roll_back(self) -> None:
        """Come back rolled back."""
        self.outages += 1
        self.may_have_lost = True
        self.run_in_loop(self.trial.roll_back())
        self.oracle, self.saved = self.saved or {}, None
        self.find_again()

    @precondition(lambda self: self.outages < 1 and self.trial.has("wipe"))
    @rule()
    def wipe(self) -> None:
        """Come back empty."""
        self.outages += 1
        self.may_have_lost = True
        self.run_in_loop(self.trial.wipe())
        self.oracle, self.saved = {}, None
        self.find_again()

    @invariant()
    def it_has_what_the_oracle_has(self) -> None:
        """Compare heads and entries, as two connections see them."""
        self.run_in_loop(self.compare())

    async def compare(self) -> None:
        """Compare heads and entries with those of the oracle."""
        for destination in self.destinations:
            for key in self.keys:
                found, entries = self.oracle.get(key, (None, []))
                first = 0 if found is None else found.first_kept
                assert await head(destination, key) == as_stored(found)
                assert await read(destination, key) == entries[first:]

    def teardown(self) -> None:
        """Compare the announcements, unless some may be lost."""
        if self.may_have_lost:
            return
        for key in self.keys:
            found = facts(self.run_in_loop(announced(self.destinations[0], key)))
            entries = self.oracle[key][1] if key in self.oracle else []
            told = [it for it in entries if isinstance(it.entry, Started | Ended)]
            assert [(kind, mark) for kind, mark, *_ in found] == [
                ("ended" if isinstance(it.entry, Ended) else "started", mark_of(it)) for it in told
            ]

    def find_again(self) -> None:
        """Wait until every connection has reached the storage again."""
        for destination in self.destinations:
            self.run_in_loop(until_answered(destination))

    def draw_append(self, data: st.DataObject, key: StreamKey) -> Append:
        """Make an append from the head of a stream or from an older one."""
        now = self.oracle[key][0] if key in self.oracle else None
        base = data.draw(st.just(now) | st.just(now) | st.sampled_from(self.heads[key]))
        kinds = ["frames", "frames", "trim", "cut", "end", "resume", "start"]
        kind = "start" if base is None or not base.is_open else data.draw(st.sampled_from(kinds))
        if base is None or kind in {"start", "resume"}:
            append = begin(key, base, resumes=kind == "resume")
        elif kind == "cut":
            append = cut(base)
        else:
            append = self.draw_entries(data, base, kind)
        self.sent.append(append)
        self.heads[key].append(append.head)
        return append

    def draw_entries(self, data: st.DataObject, base: Head, kind: str) -> Append:
        """Make an append of frames, which may reveal a gap, and perhaps an end."""
        if base.run is None:
            raise ValueError("the head has no run")
        key = base.run.opening.stream
        seq = (base.account.last_seq or 0) + data.draw(st.integers(1, 3))
        entries = [frame(key, seq + n) for n in range(data.draw(st.integers(0, 4)))]
        keep_from = Mark(0, 0)
        if kind == "trim":
            kept = self.oracle[key][1][: base.next_position] if key in self.oracle else []
            if kept:
                keep_from = mark_of(data.draw(st.sampled_from(kept)))
        signal = SignalNoted(Signal.MARK, f'{{"name":"{seq}"}}')
        return following(base, *entries, signal, keep_from=keep_from, end=kind == "end")

    def decide(self, append: Append) -> Outcome:
        """Return the answer that a store must give, and update the oracle."""
        key = append.stream
        found, entries = self.oracle.get(key, (None, []))
        if append.expected != (None if found is None else found.revision):
            return plain(Conflict(found))
        added = [
            PublishedEntry(it.generation, it.position + len(entries), it.entry)
            for it in expected(append)
        ]
        self.oracle[key] = (append.head, entries + added)
        return APPENDED


def try_machine(trial: Trial) -> None:
    """Run the machine over a trial."""
    with running(trial) as run:
        destinations = [trial.connect(), trial.connect()]
        run_state_machine_as_test(
            lambda: StoreMachine(run, trial, destinations),  # type: ignore[arg-type]  # as documented
            settings=settings(
                max_examples=trial.examples,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
