"""The life of one media stream as an automaton, from its start to the next.

A start gives the sender a generation. From then on each frame is checked by its seq and becomes an
entry of the stream. The run ends when its sender ends it. If the sender is lost, the run is *cut*:
it waits for a start that resumes it under a newer generation, until it is ended. `ended` is final:
the next start opens a new run.

    state    hear   note   refuse   drop   rebase   cut   end
    live     live   live   live     live   live     cut   ended
    cut      -      -      -        -      cut      -     ended
    ended    -      -      -        -      ended    -     -

*Drop* is for a frame that full buffers cannot take: it is accepted, and lost. *Rebase* is for a
store that lost written entries: it replaces the account of the run by that of the rebase. A gap
declares lost frames.
"""

from enum import StrEnum

from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted
from domain.errors import IllegalTransition
from domain.events import EndReason, Opening, Signal
from domain.fold import highest_seq
from domain.ledger import Ledger
from domain.media import AudioFrame


class Verb(StrEnum):
    """The operations of an interaction."""

    HEAR = "hear"
    NOTE = "note"
    REFUSE = "refuse"
    DROP = "drop"
    REBASE = "rebase"
    CUT = "cut"
    END = "end"


TRANSITIONS: dict[tuple[State, Verb], State] = {
    (State.LIVE, Verb.HEAR): State.LIVE,
    (State.LIVE, Verb.NOTE): State.LIVE,
    (State.LIVE, Verb.REFUSE): State.LIVE,
    (State.LIVE, Verb.DROP): State.LIVE,
    (State.LIVE, Verb.REBASE): State.LIVE,
    (State.LIVE, Verb.CUT): State.CUT,
    (State.LIVE, Verb.END): State.ENDED,
    (State.CUT, Verb.REBASE): State.CUT,
    (State.CUT, Verb.END): State.ENDED,
    (State.ENDED, Verb.REBASE): State.ENDED,
}
"""The table above; a pair that is absent raises `IllegalTransition`."""


class Interaction:
    """One generation of a media stream; `account` is that of the run after its `Started`."""

    __slots__ = (
        "_bytes",
        "_duplicate",
        "_duplicates_upto",
        "_first_seq",
        "_highest_seq",
        "_last_seq",
        "_lost",
        "_opening",
        "_published",
        "_rejected",
        "_state",
        "_unnumbered_seq",
    )
    _first_seq: int | None
    _duplicates_upto: int | None
    _highest_seq: int | None
    _last_seq: int | None
    _unnumbered_seq: int
    _published: int
    _duplicate: int
    _rejected: int
    _lost: int
    _bytes: int

    def __init__(self, opening: Opening, account: Account) -> None:
        self._opening = opening
        self._state = State.LIVE
        self._adopt(account)
        # A sender that resumes continues after what is published: it may resend dropped frames.
        # Those that it does not resend are missing.
        self._duplicates_upto = account.last_seq
        self._unnumbered_seq = 0 if account.last_seq is None else account.last_seq + 1

    @property
    def opening(self) -> Opening:
        """How this generation was opened."""
        return self._opening

    @property
    def state(self) -> State:
        """The state of the interaction."""
        return self._state

    @property
    def unnumbered_seq(self) -> int:
        """The seq for the next frame that has no number."""
        return self._unnumbered_seq

    @property
    def last_seq(self) -> int | None:
        """The highest seq published, or declared missing, in this run; None before the first."""
        return self._last_seq

    @property
    def audio_bytes(self) -> int:
        """The audio of the run that became entries, in bytes."""
        return self._bytes

    @property
    def ledger(self) -> Ledger:
        """The run's ledger, with every frame that became an entry counted as published."""
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

    def account(self, next_position: int) -> Account:
        """Return the account of the run if all entries so far are below `next_position`."""
        return Account(next_position, self._first_seq, self._last_seq, self.ledger, self._state)

    def hear(self, frame: AudioFrame) -> tuple[Entry, ...]:
        """Return the entries of a frame: `()` for a duplicate, else the frame, after any gap."""
        if self._state is not State.LIVE:
            self._advance(Verb.HEAR)
        seq = frame.seq
        gap: tuple[Entry, ...] = ()
        is_next = seq - 1 == self._highest_seq == self._last_seq  # as nearly always
        if not is_next:
            if self._is_duplicate(seq):
                self._duplicate += 1
                return ()
            self._note_first(seq)
            gap = self._declare_missing(seq)
        if seq >= self._unnumbered_seq:
            self._unnumbered_seq = seq + 1
        self._published += 1
        self._bytes += len(frame.audio)
        self._duplicates_upto = self._last_seq = seq
        if is_next or self._highest_seq is None or seq > self._highest_seq:
            self._highest_seq = seq
        return (*gap, frame) if gap else (frame,)

    def refuse(self, messages: int = 1, *, unnumbered: bool = False) -> None:
        """Count refused messages; a refused frame without a number uses up its number."""
        self._advance(Verb.REFUSE)
        self._rejected += messages
        if unnumbered:
            self._unnumbered_seq += 1

    def note(self, signal: Signal, details: str) -> SignalNoted:
        """Return the entry of a signal."""
        self._advance(Verb.NOTE)
        return SignalNoted(signal, details)

    def drop(self, seq: int, frames: int = 1, first_seq: int | None = None) -> bool:
        """Accept `frames` frames up to `seq` that cannot be published; False for a duplicate.

        Without `first_seq` they have no holes between them.
        """
        self._advance(Verb.DROP)
        if self._is_duplicate(seq):
            self._duplicate += frames
            return False
        self._note_first(seq - frames + 1 if first_seq is None else first_seq)
        self._duplicates_upto = seq
        if self._highest_seq is None or seq > self._highest_seq:
            self._highest_seq = seq
        self._unnumbered_seq = max(self._unnumbered_seq, seq + 1)
        self._lost += frames
        return True

    def rebase(self, account: Account) -> None:
        """Continue from the account of the run after a rebase."""
        self._advance(Verb.REBASE)
        self._adopt(account)
        if account.last_seq is not None:
            upto = self._duplicates_upto
            self._duplicates_upto = max(account.last_seq, -1 if upto is None else upto)
            self._unnumbered_seq = max(self._unnumbered_seq, account.last_seq + 1)

    def cut(self) -> None:
        """Note that the sender is gone; the run may be resumed."""
        self._advance(Verb.CUT)

    def end(self, reason: EndReason) -> tuple[Entry, ...]:
        """End the run with its ledger, after a gap for the frames that were dropped last."""
        self._advance(Verb.END)
        gap: tuple[Entry, ...] = ()
        if self._highest_seq is not None:
            gap = self._declare_missing(self._highest_seq + 1)
            self._last_seq = self._highest_seq
        return (*gap, Ended(reason, self.ledger))

    def _advance(self, verb: Verb) -> None:
        state = TRANSITIONS.get((self._state, verb))
        if state is None:
            raise IllegalTransition(f"{verb} is not possible while {self._state}")
        self._state = state

    def _is_duplicate(self, seq: int) -> bool:
        """Return whether a seq is not above the highest accepted (or, on resume, published) one."""
        return self._duplicates_upto is not None and seq <= self._duplicates_upto

    def _note_first(self, seq: int) -> None:
        """Set the baseline of the run; it may become lower if all earlier frames were dropped."""
        first = self._first_seq
        if first is None or (self._duplicates_upto is None and seq < first):
            self._first_seq = seq

    def _declare_missing(self, seq: int) -> tuple[Entry, ...]:
        """Return the gap for seqs before `seq` that are neither published nor declared."""
        first = self._first_seq if self._last_seq is None else self._last_seq + 1
        if first is None or first >= seq:
            return ()
        return (Gap(first, seq - first),)

    def _adopt(self, account: Account) -> None:
        ledger = account.ledger
        self._first_seq = account.first_seq
        self._last_seq = account.last_seq
        self._highest_seq = highest_seq(account)
        self._published = ledger.published
        self._duplicate = ledger.duplicate
        self._rejected = ledger.rejected
        self._lost = ledger.lost
        self._bytes = ledger.bytes
