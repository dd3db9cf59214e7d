"""Whatever happens to a call, in whatever order: the session is driven without sockets or tasks.

A life is a list of events drawn at random: messages, what comes of starts, confirmations, fences,
time, drains, and a peer that leaves. The connection is a record of what the session has done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from counting_telemetry import CountingTelemetry
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual_time import HandDrivenClock

from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from application.call.actions import Attempt
from application.call.closing import Closing
from application.call.deadlines import TimeLimits
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
    Unknown,
)
from application.call.services import Services
from application.call.session import Session, State
from application.call.start_attempt import Settled
from application.call.wire import Wire
from application.delivery.byte_budget import BufferLimits, ByteBudget
from application.delivery.live_stream import LiveStream
from application.ingest_audio import IngestAudio
from application.ports.errors import BrokerUnavailable
from domain.account import Account
from domain.account import State as Life
from domain.entries import Entry
from domain.errors import NotAllowed
from domain.events import EndReason, Opening, ResumeAbove, Signal
from domain.head import Access, Lease, Run
from domain.identifiers import InteractionId, StreamId, TenantId
from domain.interaction import Interaction
from domain.media import AudioFrame, MediaFormat
from domain.starting import AwaitFirstFrame
from examples import examples

START = Start(TenantId("t"), InteractionId("i"), StreamId("s"), MediaFormat(8_000), ResumeAbove())


FULL = ("full", "drop", "room")
SETTLED = ("granted", "undecided", "not allowed", "away")


class RecordingLog:
    """Holds what is put; is confirmed when the test says so."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.confirmed = 0
        self.is_full = False
        self.is_start_requested = False

    @property
    def is_empty(self) -> bool:
        return self.confirmed == len(self.entries)

    def put(self, live: LiveStream, entries: tuple[Entry, ...], received_at: float) -> None:
        del received_at
        assert not live.is_fenced
        self.entries += entries

    def hurry(self) -> None:
        pass

    def note_caught_up(self) -> None:
        pass

    def note_dropped(self, frames: int) -> None:
        pass


@dataclass
class Pending:
    """A start that is pending."""

    opening: Opening
    settle: Callable[[Settled], None]
    is_given_up: bool = False
    is_cancelled: bool = False

    def give_up(self) -> None:
        self.is_given_up = True

    def cancel(self) -> None:
        self.is_cancelled = True

    async def wait(self) -> None:
        raise AssertionError


@dataclass
class Connection:
    """Does what a connection does, and remembers it."""

    wire: Wire
    clock: HandDrivenClock = field(default_factory=HandDrivenClock)
    telemetry: CountingTelemetry = field(default_factory=CountingTelemetry)
    pending: list[Pending] = field(default_factory=list)
    lives: list[LiveStream] = field(default_factory=list)
    done: list[tuple[str, LiveStream]] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    told_after_gone: list[str] = field(default_factory=list)
    told_drops: list[tuple[Mapping[str, object], int | None]] = field(default_factory=list)
    taken: int = 0
    """Messages that count: audio, and what is refused."""

    def __post_init__(self) -> None:
        unused: Any = None
        services = Services(
            start=unused,
            ingest=IngestAudio(self.clock, self.telemetry),
            end=unused,
            cut=unused,
            background=unused,
            budget=ByteBudget(BufferLimits(), self.telemetry),
            clock=self.clock,
            telemetry=self.telemetry,
            ack_interval=2,
            limits=TimeLimits(10, 20, 60, 10, 5),
        )
        self.session = Session(services, self, {})
        self.session.on_wire(self.wire)

    # Actions

    def reply(self, text: str) -> None:
        if self.session.is_gone:
            self.told_after_gone.append(text)

    ack = reply

    def close(self, closing: Closing) -> None:
        self.closings.append(closing)

    def wake(self) -> None:
        pass

    def start(
        self,
        opening: Opening,
        requested_at: float,
        budget: object,
        on_settled: Callable[[Settled], None],
    ) -> Attempt:
        assert requested_at <= self.clock.now
        del budget
        pending = [it for it in self.pending if it.opening.stream == opening.stream]
        assert not pending, "two attempts at one stream"
        self.pending.append(Pending(opening, on_settled))
        return self.pending[-1]

    def end(self, live: LiveStream, reason: EndReason) -> None:
        if live.is_fenced:
            return  # there is nothing to end, as in `EndInteraction`
        live.log.put(live, live.interaction.end(reason), 0)
        self.done.append(("end", live))

    def cut(self, live: LiveStream, reason: EndReason) -> None:
        del reason
        live.interaction.cut()
        self.done.append(("cut", live))

    def report_odd_start(self, odd: Sequence[object], context: Mapping[str, object]) -> None:
        raise AssertionError((odd, context))

    def report_dropping(self, context: Mapping[str, object]) -> None:
        self.told_drops.append((context, None))

    def report_dropped(self, frames: int, context: Mapping[str, object]) -> None:
        self.told_drops.append((context, frames))

    # Events

    def take(self, message: Message) -> None:
        session = self.session
        if not session.is_reading or session.is_gone or self.closings:
            return
        is_refused = isinstance(message, Start | BadStart) and session.is_started
        if session.state is not State.ENDING:
            self.taken += is_refused or isinstance(message, Audio | Refused)
        session.note_heard()
        session.on_message(message)

    def settle(self, how: str) -> None:
        """Settle the oldest start; only one that is not told its first frame can be undecided."""
        can_be_undecided = self.pending and self.pending[0].opening.continuation == ResumeAbove()
        if not self.pending or (how == "undecided" and not can_be_undecided):
            return
        pending = self.pending.pop(0)
        settled: Settled = BrokerUnavailable("away")
        if how == "granted":
            run, log = Run("run", pending.opening, Access.OPEN), RecordingLog()
            interaction = Interaction(pending.opening, Account())
            lease = Lease(1, "run", 0)
            live = LiveStream(interaction, log, lease, run, self.clock.now, Account())  # type: ignore[arg-type]
            self.lives.append(live)
            settled = live
        elif how == "undecided":
            settled = AwaitFirstFrame()
        elif how == "not allowed":
            settled = NotAllowed("no")
        pending.settle(settled)

    def put_early(self) -> None:
        while self.session.is_catching_up:
            self.session.put_early()

    def confirm(self) -> None:
        for live in self.lives:
            log = live.log
            assert isinstance(log, RecordingLog)
            frames = sum(isinstance(it, AudioFrame) for it in log.entries[log.confirmed :])
            log.confirmed = len(log.entries)
            if live.listener is not None:
                live.listener.on_confirmed(frames, live.interaction.last_seq)

    def happen(self, event: object) -> None:
        """Have it happen; a start may be settled before the close is noticed."""
        session = self.session
        if event in SETTLED:
            self.settle(str(event))
            return
        if self.closings:
            session.on_gone()
        if isinstance(event, float):
            self.clock.now += event
            session.on_time()
        elif event in FULL:
            self._fill(str(event))
        elif isinstance(event, str):
            self._happen_to_the_stream(event)
        else:
            self.take(event)  # type: ignore[arg-type]

    def _happen_to_the_stream(self, event: str) -> None:
        session = self.session
        listener = self.lives[-1].listener if self.lives else None
        match event:
            case "confirm":
                self.confirm()
            case "fence" if self.lives:
                self.lives[-1].tell_fenced()
            case "stall" if listener is not None:
                listener.on_stalled()
            case "drain":
                session.on_drain()
            case "drain over":
                session.on_drain_over()
            case "gone":
                session.on_gone()
            case "put":
                self.put_early()

    def _fill(self, event: str) -> None:
        """Have the buffers be full, or audio be dropped if they are, or have room again."""
        if event == "drop":
            self.session.drop()
            return
        for live in self.lives:
            assert isinstance(live.log, RecordingLog)
            live.log.is_full = event == "full"

    def finish(self) -> None:
        """Have the peer leave, and everything that is pending be settled."""
        self.session.on_gone()
        for _ in range(8):
            self.settle("granted")
            self.put_early()
        self.confirm()


messages = st.one_of(
    st.just(START),
    st.builds(Audio, st.integers(0, 9), st.just(b"ab"), st.sampled_from([None, None, "out"])),
    st.just(Audio(None, b"ab")),
    st.just(Audio(3, b"odd")),
    st.just(SignalMessage(Signal.DTMF, "{}")),
    st.just(End(EndReason.ENDED)),
    st.just(BadStart("no")),
    st.just(Refused(Refusal.MALFORMED_JSON, "no")),
    st.just(Unknown()),
)
events = st.one_of(
    messages,
    messages,
    st.sampled_from(["granted", "granted", "put", "put", "confirm", "undecided"]),
    st.sampled_from(["not allowed", "away", "fence", "stall", "drain", "drain over", "gone"]),
    st.floats(0, 15),
)
lives = st.lists(events, max_size=40)
wires = st.sampled_from([Agentstream(), Exostreamkit()])


def live_through(wire: Wire, life: list[object], *, finish: bool = True) -> Connection:
    connection = Connection(wire)
    for event in life:
        connection.happen(event)
    if finish:
        connection.finish()
    return connection


@given(wires, lives)
def test_it_is_closed_at_most_once_and_nothing_is_told_to_a_peer_that_is_gone(
    wire: Wire, life: list[object]
) -> None:
    connection = live_through(wire, life)
    assert len(connection.closings) <= 1
    assert connection.told_after_gone == []


@example(Agentstream(), [START, "granted", "put", "stall"])
@example(Agentstream(), [START, "granted", "put", *[Refused(Refusal.MALFORMED_JSON, "no")] * 60])
@given(wires, lives)
def test_it_is_never_closed_in_a_way_its_wire_does_not_tolerate(
    wire: Wire, life: list[object]
) -> None:
    for closing in live_through(wire, life).closings:
        assert closing.code not in wire.never_closed_with


@given(wires, lives)
def test_in_the_end_every_stream_that_was_granted_is_ended_or_cut_once(
    wire: Wire, life: list[object]
) -> None:
    connection = live_through(wire, life)
    assert connection.session.is_done
    for live in connection.lives:
        assert live.interaction.state is not Life.LIVE
        assert len([it for _, it in connection.done if it is live]) == 1
        assert live.listener is None


@example(Exostreamkit(), [START, *[BadStart("no")] * 60, Audio(1, b"ab"), "granted", "put"])
@given(wires, lives)
def test_every_frame_is_counted_once_whatever_becomes_of_it(wire: Wire, life: list[object]) -> None:
    connection = live_through(wire, life)
    counted = connection.telemetry.counted
    frames = sum(live.interaction.ledger.published for live in connection.lives)
    others = sum(count for (outcome, _), count in counted.items() if outcome != "missing")
    received = counted["received", ""]
    assert others - received + frames == received == connection.taken
    assert connection.telemetry.held_bytes().unconfirmed == 0


@example([START, Audio(1, b"ab"), 25.0, "granted"])
@example([START, Audio(1, b"ab"), "granted", "gone"])
@given(st.lists(events.filter(lambda it: it not in ("away", "not allowed")), max_size=40))
def test_nothing_is_lost_of_a_sender_that_cannot_send_it_again_if_its_start_is_granted(
    life: list[object],
) -> None:
    counted = live_through(Agentstream(), life).telemetry.counted
    assert counted["lost", "not_started"] == 0


DROP = [START, "granted", "put", "full", "drop", Audio(1, b"ab"), Audio(2, b"ab")]


@example([*DROP, "room", Audio(3, b"ab"), "full", "drop", Audio(4, b"ab")])
@example([*DROP, End(EndReason.ENDED)])
@given(
    st.lists(
        st.one_of(events, st.sampled_from(["room", *DROP[1:]])).filter(lambda it: it != "fence")
    )
)
def test_what_is_dropped_of_a_live_stream_is_told_at_its_begin_and_end(life: list[object]) -> None:
    connection = live_through(Agentstream(), life)
    told: dict[object, list[int | None]] = {}
    for context, frames in connection.told_drops:
        assert context["dialect"] == "agentstream"
        assert {"tenant_id", "interaction_id"} <= context.keys()
        told.setdefault(context["stream_id"], []).append(frames)
    for lines in told.values():
        assert lines[::2] == [None] * (len(lines) // 2)
        assert None not in lines[1::2]
        assert len(lines) % 2 == 0
    lost = sum(frames or 0 for _, frames in connection.told_drops)
    assert lost == connection.telemetry.counted["lost", ""]


@given(lives)
def test_frames_reach_their_stream_in_the_order_in_which_they_came(life: list[object]) -> None:
    connection = live_through(Agentstream(), life)
    for live in connection.lives:
        log = live.log
        assert isinstance(log, RecordingLog)
        put = [it.seq for it in log.entries if isinstance(it, AudioFrame)]
        assert put == sorted(set(put))


@settings(max_examples=examples(50))
@given(st.lists(messages, max_size=20))
def test_what_comes_early_becomes_what_it_would_have_become_later(sent: list[Message]) -> None:
    """A start that takes long changes nothing of what is put."""
    start: list[object] = [START, "granted", "put"]
    prompt = live_through(Exostreamkit(), [*start, *sent], finish=False)
    slow = live_through(Exostreamkit(), [START, *sent, "granted", "put"], finish=False)
    entries = [
        [it.log.entries for it in each.lives if isinstance(it.log, RecordingLog)]
        for each in (prompt, slow)
    ]
    own = [streams[0] if streams else [] for streams in entries]
    assert own[0] == own[1]
