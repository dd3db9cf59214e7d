"""The starts of one stream that are requested in this process, one after the other.

A start is decided on the head of the store once everything before it is stored, and queued as the
next append. While it is pending, entries of the older generation are held back: they follow if it
is withdrawn, and are dropped if it is granted.
"""

import secrets
from dataclasses import dataclass, replace

from application.delivery.holdings import Holdings, WriterLease
from application.delivery.pending_start import PendingStart
from application.ports.errors import BrokerUnavailable
from domain.account import Account
from domain.entries import Entry
from domain.errors import NotAllowed, Superseded
from domain.head import Head, Lease, Run
from domain.media import AudioFrame
from domain.starting import AlreadyHeld, AwaitFirstFrame, Begin, TooLate, start
from domain.starting import NotAllowed as WithoutToken

HeldBack = tuple[tuple[Entry, ...], float]


@dataclass(frozen=True, slots=True)
class Begun:
    """A start whose append is queued or in flight, and the state before it."""

    begin: Begin
    continues: bool
    writer: WriterLease | None
    next_position: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A stored start: from now on the log writes this generation.

    `has_replaced` if it ended a run that was open.
    """

    pending: PendingStart
    run: Run
    lease: Lease
    account: Account
    dropped_frames: int
    has_replaced: bool = False


class Starts:
    """Decides start requests; `holdings` are those of the log."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self.requested: list[PendingStart] = []
        """The unsettled starts, in order; read-only."""
        self.begun: Begun | None = None
        """The start whose append is queued or in flight; read-only."""
        self._held_back: list[HeldBack] = []

    @property
    def is_ready(self) -> bool:
        """Whether the first start requested may be decided."""
        return bool(self.requested) and self.requested[0].is_ready

    @property
    def held_back_since(self) -> float | None:
        """When the first held-back entry was received; None without one."""
        return self._held_back[0][1] if self._held_back else None

    def add(self, pending: PendingStart) -> None:
        """Queue a request after the earlier ones."""
        self.requested.append(pending)

    def hold_back(self, entries: tuple[Entry, ...], received_at: float) -> None:
        """Hold entries of the older generation back until the begun start is settled."""
        self._held_back.append((entries, received_at))

    def note_attempt(self) -> None:
        """Note that the begun start is being sent."""
        self.requested[0].is_attempted = True

    def is_queued(self, pending: PendingStart) -> bool:
        """Whether the begun start belongs to this request, and was never sent."""
        is_first = self.begun is not None and self.requested[0] is pending
        return is_first and not pending.is_attempted

    def remove(self, pending: PendingStart) -> bool:
        """Remove a request, unless it may be stored; return whether it is removed."""
        if pending not in self.requested or pending.is_attempted:
            return False
        self.requested.remove(pending)
        return True

    def decide(self, head: Head | None, now: float, now_ms: int) -> Opened | None:
        """Decide the first request by the head of the store, at the store's time `now_ms`.

        Returns the generation if the request was granted before; otherwise a start may be queued.
        """
        pending, writer = self.requested[0], self._holdings.writer
        held_ms = 0 if writer is None else writer.lease.granted_at_ms
        match start(head, pending.request(now), now_ms, later_than_ms=held_ms):
            case Begin() as begin if not pending.is_given_up:
                self._queue(head, begin)
                return None
            case AlreadyHeld() if head is not None and head.run is not None:
                self._holdings.adopt_head(head, head.run)
                return self._open(head.run, head.lease, head.account)
            case AwaitFirstFrame() as undecided:
                pending.settle(undecided)
            case WithoutToken():
                pending.fail(NotAllowed("the open run was begun with a token"))
            case TooLate():
                pending.fail(Superseded("a newer connection has begun the stream"))
        self.requested.pop(0)
        return None

    def is_stored(self, head: Head | None) -> bool:
        """Whether the begun start was stored although its answer was lost.

        A head without account has no owner: its position and generation decide.
        """
        if head is None or not self.requested[0].is_attempted:
            return False
        if head.account_lost:
            return self._holdings.is_at_end(head)
        return head.lease.owner == self.requested[0].owner

    def finish(self) -> Opened:
        """Note that the begun start is stored."""
        begun = self.begun
        if begun is None:
            raise AssertionError("no start is begun")
        self.begun = None
        begin = begun.begin
        opened = self._open(begin.run, begin.lease, begin.account)
        return replace(opened, has_replaced=begin.ends_older_run)

    def prepare_confirmation(self) -> None:
        """Release retained entries if the begun start does not continue them."""
        if self.begun is not None and not self.begun.continues:
            begin = self.begun.begin
            self._holdings.retained.reset(begin.run, begin.account)

    def withdraw(self) -> list[HeldBack]:
        """Remove the begun start from the queue, to decide it again.

        Returns the held-back entries of the older generation, which follow now.
        """
        begun = self.begun
        if begun is not None:
            self.requested[0].retry(secrets.token_hex(8))
            self._holdings.withdraw(begun.writer, begun.next_position)
            self.begun = None
        held_back, self._held_back = self._held_back, []
        return held_back

    def drop_held_back(self) -> int:
        """Drop held-back entries; return how many frames they were."""
        held_back, self._held_back = self._held_back, []
        return sum(type(entry) is AudioFrame for entries, _ in held_back for entry in entries)

    def abandon(self) -> int:
        """Give up every request; return how many frames were held back for them."""
        for pending in self.requested:
            pending.fail(BrokerUnavailable("the start could not be stored"))
        self.requested.clear()
        self.begun = None
        return self.drop_held_back()

    def _queue(self, head: Head | None, begin: Begin) -> None:
        holdings = self._holdings
        continues = holdings.is_at_end(head)
        self.begun = Begun(begin, continues, holdings.writer, holdings.window.next_position)
        holdings.begin(head, begin, continues=continues)

    def _open(self, run: Run, lease: Lease, account: Account) -> Opened:
        return Opened(self.requested.pop(0), run, lease, account, self.drop_held_back())
