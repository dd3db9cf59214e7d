"""The life of one media stream as an automaton.

A sender starts the stream and is given a generation, the fencing number of the writer. It then
speaks: each frame is judged by its seq and becomes an event at the next dense position. The run
ends when somebody says so; when the sender is only lost the run is *cut* and may be taken up
again, under a newer generation, until it is ended. Ended is final: a start after it opens a new
run, whose seq and ledger begin anew while positions go on.

    state      start   hear   note   refuse   drop   abandon   cut   end
    awaiting   live    -      -      -        -      -         -     -
    live       live    live   live   live     live   -         cut   ended
    cut        live    -      -      -        -      cut       -     ended
    ended      live    -      -      -        -      cut       -     -

*Abandon* is for a writer whose last events were not published: it counts their frames as lost and
stands again where the published stream stands, so that an end which was not published can be
said again.
"""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import IllegalTransition, StaleGeneration
from domain.events import (
    AudioAccepted,
    EndReason,
    Event,
    GapDetected,
    InteractionEnded,
    InteractionStarted,
    Opening,
    Signal,
    SignalReceived,
)
from domain.ledger import NOTHING, Ledger
from domain.media import AudioFrame
from domain.sequence import DUPLICATE, Gap, judge


class State(StrEnum):
    """Where an interaction is in its life."""

    AWAITING = "awaiting"
    LIVE = "live"
    CUT = "cut"
    ENDED = "ended"


class Verb(StrEnum):
    """What can be done to an interaction."""

    START = "start"
    HEAR = "hear"
    NOTE = "note"
    REFUSE = "refuse"
    DROP = "drop"
    ABANDON = "abandon"
    CUT = "cut"
    END = "end"


TRANSITIONS: dict[tuple[State, Verb], State] = {
    (State.AWAITING, Verb.START): State.LIVE,
    (State.LIVE, Verb.START): State.LIVE,
    (State.LIVE, Verb.HEAR): State.LIVE,
    (State.LIVE, Verb.NOTE): State.LIVE,
    (State.LIVE, Verb.REFUSE): State.LIVE,
    (State.LIVE, Verb.DROP): State.LIVE,
    (State.LIVE, Verb.CUT): State.CUT,
    (State.LIVE, Verb.END): State.ENDED,
    (State.CUT, Verb.START): State.LIVE,
    (State.CUT, Verb.ABANDON): State.CUT,
    (State.CUT, Verb.END): State.ENDED,
    (State.ENDED, Verb.START): State.LIVE,
    (State.ENDED, Verb.ABANDON): State.CUT,
}
"""The table above; a pair that is absent raises `IllegalTransition`."""


@dataclass(frozen=True, slots=True)
class Account:
    """What is to be known of a run at one point of its stream.

    `first_seq` is the run's baseline and `last_seq` its highest published seq; both are None
    while nothing is published. `next_position` is the first position not yet taken.
    """

    next_position: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    ledger: Ledger = NOTHING
    state: State = State.LIVE


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to write a stream: the generation, and the account it begins with.

    `account.next_position` is the place of the `InteractionStarted` itself. `resumed` says that
    the account is of an open run that goes on; otherwise it is of a new one.
    """

    generation: int
    resumed: bool
    account: Account


class Interaction:
    """One media stream, from the point of view of whoever writes it."""

    __slots__ = (
        "_bytes",
        "_duplicate",
        "_first_seq",
        "_generation",
        "_highest_seq",
        "_last_seq",
        "_lost",
        "_next_position",
        "_opening",
        "_published",
        "_rejected",
        "_state",
        "_unnumbered_seq",
    )
    _next_position: int
    _first_seq: int | None
    _highest_seq: int | None
    _last_seq: int | None
    _unnumbered_seq: int
    _published: int
    _duplicate: int
    _rejected: int
    _lost: int
    _bytes: int

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._state = State.AWAITING
        self._generation = 0
        self._begin_run(Account(), resumed=False)

    @property
    def opening(self) -> Opening:
        """The wish this interaction was started with."""
        return self._opening

    @property
    def state(self) -> State:
        """Where the interaction is in its life."""
        return self._state

    @property
    def generation(self) -> int:
        """The generation that may write; 0 before the first start."""
        return self._generation

    @property
    def unnumbered_seq(self) -> int:
        """The seq that the next frame without a number of its own takes."""
        return self._unnumbered_seq

    @property
    def last_seq(self) -> int | None:
        """The highest seq published in this run, None before the first."""
        return self._last_seq

    @property
    def ledger(self) -> Ledger:
        """The run's account, with every frame that took a position counted as published."""
        spanned = 0
        if self._first_seq is not None and self._highest_seq is not None:
            spanned = self._highest_seq - self._first_seq + 1
        return Ledger(
            received=self._published + self._duplicate + self._rejected + self._lost,
            published=self._published,
            duplicate=self._duplicate,
            rejected=self._rejected,
            lost=self._lost,
            missing=spanned - self._published,
            bytes=self._bytes,
            audio_ms=self._opening.media.duration_ms(self._bytes),
        )

    @property
    def account(self) -> Account:
        """The run as it stands once every event handed out so far is published."""
        return Account(
            self._next_position, self._first_seq, self._last_seq, self.ledger, self._state
        )

    def start(self, grant: Grant) -> InteractionStarted:
        """Begin the granted generation.

        Raises:
            StaleGeneration: the granted generation is not newer than the one held.

        """
        if grant.generation <= self._generation:
            raise StaleGeneration(f"generation {grant.generation} is not above {self._generation}")
        self._advance(Verb.START)
        self._generation = grant.generation
        self._begin_run(grant.account, resumed=grant.resumed)
        return InteractionStarted(
            self._take_position(), grant.generation, grant.resumed, self._opening
        )

    def hear(self, frame: AudioFrame) -> tuple[Event, ...]:
        """Give a frame its place: `()` for a duplicate, else itself, after any gap."""
        self._advance(Verb.HEAR)
        seq = frame.seq
        verdict = judge(seq, self._highest_seq)
        if verdict is DUPLICATE:
            self._duplicate += 1
            return ()
        if self._first_seq is None:
            self._first_seq = seq
        self._highest_seq = self._last_seq = seq
        self._unnumbered_seq = max(self._unnumbered_seq, seq + 1)
        self._published += 1
        self._bytes += len(frame.audio)
        if isinstance(verdict, Gap):
            gap = GapDetected(self._take_position(), verdict.first_missing, verdict.missing)
            return gap, AudioAccepted(self._take_position(), frame)
        return (AudioAccepted(self._take_position(), frame),)

    def refuse(self, *, unnumbered: bool = False) -> None:
        """Count a frame that cannot be used; one without a number of its own keeps its number."""
        self._advance(Verb.REFUSE)
        self._rejected += 1
        if unnumbered:
            self._unnumbered_seq += 1

    def note(self, signal: Signal, details: str) -> SignalReceived:
        """Give a signal its place among the frames."""
        self._advance(Verb.NOTE)
        return SignalReceived(self._take_position(), signal, details)

    def drop(self, frame: AudioFrame) -> bool:
        """Accept a frame that cannot be published: it is lost. False for a duplicate."""
        self._advance(Verb.DROP)
        if judge(frame.seq, self._highest_seq) is DUPLICATE:
            self._duplicate += 1
            return False
        if self._first_seq is None:
            self._first_seq = frame.seq
        self._highest_seq = frame.seq
        self._unnumbered_seq = max(self._unnumbered_seq, frame.seq + 1)
        self._lost += 1
        return True

    def abandon(self, published: Account, frames: int, audio_bytes: int) -> None:
        """Count the last `frames` of `audio_bytes` as lost and go back to what is published."""
        self._advance(Verb.ABANDON)
        self._published -= frames
        self._bytes -= audio_bytes
        self._lost += frames
        self._last_seq = published.last_seq
        self._next_position = published.next_position

    def cut(self) -> None:
        """Note that the sender is gone; the run may be taken up again."""
        self._advance(Verb.CUT)

    def end(self, reason: EndReason) -> InteractionEnded:
        """End the run with its ledger."""
        self._advance(Verb.END)
        return InteractionEnded(self._take_position(), reason, self.ledger)

    def _advance(self, verb: Verb) -> None:
        state = TRANSITIONS.get((self._state, verb))
        if state is None:
            raise IllegalTransition(f"{verb} is not possible while {self._state}")
        self._state = state

    def _take_position(self) -> int:
        position = self._next_position
        self._next_position = position + 1
        return position

    def _begin_run(self, account: Account, *, resumed: bool) -> None:
        run = account if resumed else Account(next_position=account.next_position)
        self._next_position = run.next_position
        self._first_seq = run.first_seq
        self._highest_seq = run.last_seq
        self._last_seq = run.last_seq
        self._unnumbered_seq = 0 if run.last_seq is None else run.last_seq + 1
        self._published = run.ledger.published
        self._duplicate = run.ledger.duplicate
        self._rejected = run.ledger.rejected
        self._lost = run.ledger.lost
        self._bytes = run.ledger.bytes
