"""The life of one media stream as an automaton.

A sender starts the stream and is given a generation, the fencing number of the writer. It then
speaks: each frame is judged by its seq and becomes an event at the next dense position. The run
ends when somebody says so; when the sender is only lost the run is *cut* and may be taken up
again, under a newer generation, until it is ended. Ended is final: a start after it opens a new
run, whose seq and ledger begin anew while positions go on.

    state      start   hear   note   refuse   drop   begin again   cut   end
    awaiting   live    -      -      -        -      -             -     -
    live       live    live   live   live     live   live          cut   ended
    cut        live    -      -      -        -      cut           -     ended
    ended      live    -      -      -        -      ended         -     -

*Drop* is for a frame that there is no room for: it is accepted, and lost. *Begin again* is for a
writer whose destination has forgotten what it wrote: under a newer generation it goes on where the
destination stands, and what nobody holds any more is lost. What is lost is declared by a gap.
"""

from enum import StrEnum

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
    Signal,
    SignalReceived,
)
from domain.ledger import Ledger
from domain.media import AudioFrame
from domain.sequence import DUPLICATE, judge


class Verb(StrEnum):
    """What can be done to an interaction."""

    START = "start"
    HEAR = "hear"
    NOTE = "note"
    REFUSE = "refuse"
    DROP = "drop"
    BEGIN_AGAIN = "begin again"
    CUT = "cut"
    END = "end"


TRANSITIONS: dict[tuple[State, Verb], State] = {
    (State.AWAITING, Verb.START): State.LIVE,
    (State.LIVE, Verb.START): State.LIVE,
    (State.LIVE, Verb.HEAR): State.LIVE,
    (State.LIVE, Verb.NOTE): State.LIVE,
    (State.LIVE, Verb.REFUSE): State.LIVE,
    (State.LIVE, Verb.DROP): State.LIVE,
    (State.LIVE, Verb.BEGIN_AGAIN): State.LIVE,
    (State.LIVE, Verb.CUT): State.CUT,
    (State.LIVE, Verb.END): State.ENDED,
    (State.CUT, Verb.START): State.LIVE,
    (State.CUT, Verb.BEGIN_AGAIN): State.CUT,
    (State.CUT, Verb.END): State.ENDED,
    (State.ENDED, Verb.START): State.LIVE,
    (State.ENDED, Verb.BEGIN_AGAIN): State.ENDED,
}
"""The table above; a pair that is absent raises `IllegalTransition`."""


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
        """The highest seq published, or declared missing, in this run; None before the first."""
        return self._last_seq

    @property
    def ledger(self) -> Ledger:
        """The run's account, with every frame that took a position counted as published."""
        published, duplicate, rejected, lost = (
            self._published, self._duplicate, self._rejected, self._lost,
        )  # fmt: skip
        spanned = 0
        if self._first_seq is not None and self._highest_seq is not None:
            spanned = self._highest_seq - self._first_seq + 1
        return Ledger(
            published + duplicate + rejected + lost,
            published,
            duplicate,
            rejected,
            lost,
            spanned - published,
            self._bytes,
            self._opening.media.duration_ms(self._bytes),
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
            self._take_position(), grant.generation, grant.resumed, self._opening, grant.run
        )

    def hear(self, frame: AudioFrame) -> tuple[Event, ...]:
        """Give a frame its place: `()` for a duplicate, else itself, after any gap."""
        if self._state is not State.LIVE:
            self._advance(Verb.HEAR)
        seq = frame.seq
        gap: tuple[Event, ...] = ()
        is_next = seq - 1 == self._highest_seq == self._last_seq  # as nearly always
        if not is_next:
            if judge(seq, self._highest_seq) is DUPLICATE:
                self._duplicate += 1
                return ()
            if self._first_seq is None:
                self._first_seq = seq
            gap = self._declare_missing(seq)
        if seq >= self._unnumbered_seq:
            self._unnumbered_seq = seq + 1
        self._published += 1
        self._bytes += len(frame.audio)
        self._highest_seq = self._last_seq = seq
        position = self._next_position
        self._next_position = position + 1
        accepted = AudioAccepted(position, frame)
        return (*gap, accepted) if gap else (accepted,)

    def refuse(self, messages: int = 1, *, unnumbered: bool = False) -> None:
        """Count what cannot be used; a frame without a number of its own keeps its number."""
        self._advance(Verb.REFUSE)
        self._rejected += messages
        if unnumbered:
            self._unnumbered_seq += 1

    def note(self, signal: Signal, details: str) -> SignalReceived:
        """Give a signal its place among the frames."""
        self._advance(Verb.NOTE)
        return SignalReceived(self._take_position(), signal, details)

    def drop(self, seq: int, frames: int = 1, first_seq: int | None = None) -> bool:
        """Accept `frames` frames up to `seq` that cannot be published; False for a duplicate.

        Without `first_seq` they have no holes between them.
        """
        self._advance(Verb.DROP)
        if judge(seq, self._highest_seq) is DUPLICATE:
            self._duplicate += frames
            return False
        if self._first_seq is None:
            self._first_seq = seq - frames + 1 if first_seq is None else first_seq
        self._highest_seq = seq
        self._unnumbered_seq = max(self._unnumbered_seq, seq + 1)
        self._lost += frames
        return True

    def begin_again(self, generation: int, next_position: int, recount: Recount) -> None:
        """Go on at `next_position`; what is forgotten counts as lost, what is found as published.

        Raises:
            StaleGeneration: the generation is not newer than the one held.

        """
        if generation <= self._generation:
            raise StaleGeneration(f"generation {generation} is not above {self._generation}")
        self._advance(Verb.BEGIN_AGAIN)
        self._generation = generation
        self._next_position = next_position
        self._published += recount.frames
        self._bytes += recount.audio_bytes
        self._lost += recount.forgotten
        if recount.first_seq is None or recount.last_seq is None:
            return
        first, last = recount.first_seq, recount.last_seq
        self._first_seq = first if self._first_seq is None else min(self._first_seq, first)
        self._highest_seq = last if self._highest_seq is None else max(self._highest_seq, last)
        self._last_seq = last if self._last_seq is None else max(self._last_seq, last)
        self._unnumbered_seq = max(self._unnumbered_seq, last + 1)

    def cut(self) -> None:
        """Note that the sender is gone; the run may be taken up again."""
        self._advance(Verb.CUT)

    def end(self, reason: EndReason) -> tuple[Event, ...]:
        """End the run with its ledger, after a gap for what was dropped last."""
        self._advance(Verb.END)
        gap: tuple[Event, ...] = ()
        if self._highest_seq is not None:
            gap = self._declare_missing(self._highest_seq + 1)
            self._last_seq = self._highest_seq
        return (*gap, InteractionEnded(self._take_position(), reason, self.ledger))

    def _advance(self, verb: Verb) -> None:
        state = TRANSITIONS.get((self._state, verb))
        if state is None:
            raise IllegalTransition(f"{verb} is not possible while {self._state}")
        self._state = state

    def _declare_missing(self, seq: int) -> tuple[Event, ...]:
        """Say which seqs before `seq` are neither published nor declared."""
        first = self._first_seq if self._last_seq is None else self._last_seq + 1
        if first is None or first >= seq:
            return ()
        return (GapDetected(self._take_position(), first, seq - first),)

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
