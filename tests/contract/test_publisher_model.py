"""Every registered destination against a model: a list of entries and a handful of facts."""

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from application.ports.destination import Destination, DestinationOptions
from application.ports.publisher import Appended, Batch, Fenced, Hole, Lease, Reclaim
from domain.account import Account, Grant, State
from domain.errors import NotAllowed
from domain.events import ANEW, AudioAccepted, EndReason, Event, GoOn, InteractionEnded, Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat
from entrypoints.registry import destination_adapters

MEDIA = MediaFormat(8_000)
_names = count()


@dataclass
class Model:
    """One stream as it must be: (generation, what) at each position."""

    entries: list[tuple[int, Any]] = field(default_factory=list)
    generation: int = 0
    open: bool = False
    with_token: bool = False
    seqs: list[int] = field(default_factory=list)


@dataclass
class Held:
    """A lease somebody believes to hold, with the run it thinks it writes."""

    lease: Lease
    next_position: int
    seqs: list[int]
    run: str
    ended: bool = False
    last: Batch | None = None


class PublisherMachine(RuleBasedStateMachine):
    def __init__(self, runner: asyncio.Runner, destination: Destination) -> None:
        super().__init__()
        self.runner = runner
        self.destination = destination
        self.key = StreamKey(TenantId("model"), StreamId(f"s{next(_names)}"))
        self.model = Model()
        self.held: list[Held] = []

    def opening(self, *, resume: bool) -> Opening:
        name = InteractionId(self.key.stream_id)
        return Opening(
            self.key, name, "exostreamkit", MEDIA, 1_700_000_000_000, GoOn() if resume else ANEW
        )

    @rule(resume=st.booleans(), token=st.booleans())
    def begin(self, resume: bool, token: bool) -> None:
        owner = f"owner-{len(self.held)}-{next(_names)}"
        call = self.destination.publisher.begin(
            self.opening(resume=resume), owner=owner, has_token=token
        )
        model = self.model
        if model.open and model.with_token and not token:
            with pytest.raises(NotAllowed):
                self.runner.run(call)
            return
        grant = self.runner.run(call)
        assert isinstance(grant, Grant)
        goes_on = model.open and resume
        if model.open and not goes_on:
            model.entries.append((model.generation, ("ended", len(model.seqs))))
        if not goes_on:
            model.seqs = []
            model.with_token = token
        model.generation += 1
        assert (grant.generation, grant.resumed) == (model.generation, goes_on)
        assert grant.account.next_position == len(model.entries)
        assert grant.account.last_seq == (model.seqs[-1] if model.seqs else None)
        assert grant.account.ledger.published == len(model.seqs)
        model.entries.append((model.generation, ("started", goes_on)))
        model.open = True
        self.hold(grant, owner)

    @rule(data=st.data(), token=st.booleans())
    def reclaim(self, data: st.DataObject, token: bool) -> None:
        """The last one goes on where it stands; one before it in no past and no future."""
        if not self.held:
            return
        held, model = data.draw(st.sampled_from(self.held)), self.model
        owner = f"again-{next(_names)}"
        opening = self.opening(resume=False)
        wish = Reclaim(held.lease, held.run, opening, token, model.generation, owner)
        (outcome,) = self.runner.run(self.destination.publisher.reclaim([wish]))
        if held.lease.generation != model.generation:
            assert outcome == Fenced(model.generation)
            return
        assert isinstance(outcome, Grant)
        if not model.open:
            model.seqs, model.with_token = [], token
        model.generation += 1
        assert (outcome.generation, outcome.resumed) == (model.generation, model.open)
        assert outcome.account.next_position == len(model.entries)
        assert outcome.account.last_seq == (model.seqs[-1] if model.seqs else None)
        model.entries.append((model.generation, ("started", model.open)))
        model.open = True
        assert list(self.runner.run(self.destination.publisher.reclaim([wish]))) == [outcome]
        self.hold(outcome, owner)

    def hold(self, grant: Grant, owner: str) -> None:
        self.held.append(
            Held(
                Lease(self.key, grant.generation, owner, grant.said_at_ms),
                len(self.model.entries),
                list(self.model.seqs),
                grant.run,
            )
        )

    @rule(
        data=st.data(),
        size=st.integers(0, 4),
        end=st.sampled_from([False, False, True]),
        skip=st.sampled_from([0, 0, 0, 0, 1, 2]),
    )
    def append(self, data: st.DataObject, size: int, end: bool, skip: int) -> None:
        if not self.held:
            return
        held = data.draw(st.just(self.held[-1]) | st.sampled_from(self.held))
        if held.ended:
            return
        seqs = held.seqs + [self.next_seq(held) + n for n in range(size)]
        position = held.next_position + skip
        events: list[Event] = [
            AudioAccepted(position + n, AudioFrame(MEDIA, seq, 5, bytes([seq % 256]) * 2))
            for n, seq in enumerate(seqs[len(held.seqs) :])
        ]
        if end:
            events.append(
                InteractionEnded(position + size, EndReason.ENDED, self.ledger(len(seqs)))
            )
        state = State.ENDED if end else State.LIVE
        account = Account(
            position + len(events),
            seqs[0] if seqs else None,
            seqs[-1] if seqs else None,
            self.ledger(len(seqs)),
            state,
        )
        batch = Batch(
            held.lease, InteractionId(self.key.stream_id), position, tuple(events), account
        )
        (outcome,) = self.runner.run(self.destination.publisher.append([batch]))
        if held.lease.generation != self.model.generation:
            assert outcome == Fenced(self.model.generation)
        elif skip:
            assert outcome == Hole(len(self.model.entries))
        else:
            self.model.entries += [
                (held.lease.generation, ("audio", event.frame.seq, event.frame.audio))
                if isinstance(event, AudioAccepted)
                else (held.lease.generation, ("ended", len(seqs)))
                for event in events
            ]
            assert outcome == Appended(len(self.model.entries))
            self.model.seqs = seqs
            self.model.open = not end
            held.seqs, held.ended, held.last = seqs, end, batch
            held.next_position = len(self.model.entries)

    @rule(data=st.data())
    def send_the_last_batch_again(self, data: st.DataObject) -> None:
        again = [held for held in self.held if held.last is not None]
        if not again:
            return
        held = data.draw(st.sampled_from(again))
        assert held.last is not None
        (outcome,) = self.runner.run(self.destination.publisher.append([held.last]))
        if held.lease.generation != self.model.generation:
            assert outcome == Fenced(self.model.generation)
        else:
            assert outcome == Appended(len(self.model.entries))

    @rule(data=st.data())
    def ask_whether_the_tail_is_there(self, data: st.DataObject) -> None:
        """An account alone, of what was published, is answered and changes nothing."""
        again = [held for held in self.held if held.last is not None]
        if not again:
            return
        held = data.draw(st.sampled_from(again))
        assert held.last is not None
        tail = Batch(
            held.lease, held.last.interaction_id, held.next_position, (), held.last.account
        )
        (outcome,) = self.runner.run(self.destination.publisher.append([tail]))
        if held.lease.generation != self.model.generation:
            assert outcome == Fenced(self.model.generation)
        else:
            assert outcome == Appended(len(self.model.entries))

    @invariant()
    def the_stream_is_as_the_model(self) -> None:
        async def read() -> list[tuple[int, Any]]:
            found: list[tuple[int, Any]] = []
            async for published in self.destination.reader.read(self.key):
                event = published.event
                assert event.position == len(found)
                what: Any
                if isinstance(event, AudioAccepted):
                    what = ("audio", event.frame.seq, event.frame.audio)
                elif isinstance(event, InteractionEnded):
                    what = ("ended", event.ledger.published)
                else:
                    what = ("started", getattr(event, "resumed", None))
                found.append((published.generation, what))
            return found

        assert self.runner.run(read()) == self.model.entries
        facts = self.runner.run(self.destination.reader.facts(self.key))
        assert (facts is not None) == bool(self.model.entries)
        if facts is not None and self.model.seqs:
            assert facts.account.ledger == self.ledger(len(self.model.seqs))
            assert facts.account.last_seq == self.model.seqs[-1]
            assert facts.account.first_seq == self.model.seqs[0]
            assert (facts.account.state is State.ENDED) is not self.model.open

    def next_seq(self, held: Held) -> int:
        return held.seqs[-1] + 1 if held.seqs else 0

    def ledger(self, frames: int) -> Ledger:
        """An account in which every counter depends on the frames."""
        return Ledger(frames * 4, frames, frames, frames, frames, frames + 3, 2 * frames, frames)


@pytest.mark.parametrize("name", sorted(destination_adapters()))
def test_a_destination_behaves_as_the_model(name: str) -> None:
    adapter = destination_adapters()[name]
    with asyncio.Runner() as runner:
        trial = adapter.trial()
        plugged = runner.run(trial.__aenter__())
        destination = adapter.connect(DestinationOptions(prefix="model"), plugged.environment)
        try:
            run_state_machine_as_test(
                lambda: PublisherMachine(runner, destination),  # type: ignore[arg-type]  # as documented
                settings=settings(
                    max_examples=60,
                    stateful_step_count=25,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(destination.close())
            runner.run(trial.__aexit__(None, None, None))
