"""Decides a start request of a stream by the head in the store.

    the open run               the start request                     answer
    ────────────────────────────────────────────────────────────────────────────────────
    any                        granted before, and holds the lease   AlreadyHeld
    any                        granted before, and superseded        TooLate
    any                        requested well before the holder's    TooLate
    begun with a token         without one                           NotAllowed
    none, or ended             any                                   Begin: a new run
    open                       does not resume, or another format    Begin: ends it, a new run
    open                       resumes                               Begin: the run continues
    open                       resumes above a seq not known yet     AwaitFirstFrame

Every `Begin` takes the next generation, and a lease that is newer than the holder's.
"""

from dataclasses import dataclass, replace

from domain.account import Account
from domain.entries import Ended, Started
from domain.events import EndReason, Opening, resumes_run
from domain.fold import Fold, Segment, highest_seq, nothing_published
from domain.head import Access, Head, Lease, Run, start_of

LATE_MS = 1_000
"""Only a start that has waited so long may be older than the holder's. A start that is decided at
once is the newest, whatever the clocks show."""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A sender asks to start a stream.

    `owner` is the random token of this attempt, and the name of the run if it begins one. The
    request was made `waited_ms` ago.
    """

    opening: Opening
    owner: str
    access: Access
    waited_ms: int = 0


@dataclass(frozen=True, slots=True)
class Begin:
    """Append `segments` under `lease`; `account` is the run after them."""

    lease: Lease
    run: Run
    resumed: bool
    segments: tuple[Segment, ...]
    begun_at: int
    account: Account
    first_kept: int

    @property
    def ends_older_run(self) -> bool:
        """Whether it ends an open run."""
        return any(type(entry) is Ended for part in self.segments for entry in part.entries)


@dataclass(frozen=True, slots=True)
class AlreadyHeld:
    """An earlier attempt of this request was stored; there is nothing to append."""


@dataclass(frozen=True, slots=True)
class AwaitFirstFrame:
    """The sender's first seq decides, and is not known yet."""


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """The open run was begun with a token, and the request has none."""


@dataclass(frozen=True, slots=True)
class TooLate:
    """The holder's start was requested later."""


Decision = Begin | AlreadyHeld | AwaitFirstFrame | NotAllowed | TooLate


def start(  # noqa: PLR0911  # a table
    head: Head | None, request: StartRequest, now_ms: int, *, later_than_ms: int = 0
) -> Decision:
    """Decide a start request at the store's time `now_ms`.

    `later_than_ms` is the time of the newest grant that the process knows, if the store lost it.
    """
    requested_at_ms = now_ms - request.waited_ms
    granted_at_ms = max(requested_at_ms, later_than_ms + 1)
    if head is None:
        return _begin(None, request, granted_at_ms, resumed=False)
    request_token = start_of(request.owner)
    if start_of(head.lease.owner) == request_token:
        return AlreadyHeld()
    if head.run is not None and start_of(head.run.name) == request_token:
        return TooLate()
    is_late = request.waited_ms >= LATE_MS
    if is_late and head.lease.granted_at_ms > requested_at_ms + LATE_MS:
        return TooLate()
    resumes = False
    if head.is_open and head.run is not None:
        if head.run.access is Access.TOKEN and request.access is not Access.TOKEN:
            return NotAllowed()
        is_resumed = resumes_run(request.opening.continuation, head.account.last_seq)
        if is_resumed is None:
            return AwaitFirstFrame()
        resumes = is_resumed and head.run.opening.media == request.opening.media
    return _begin(head, request, granted_at_ms, resumed=resumes)


def _begin(head: Head | None, request: StartRequest, granted_at_ms: int, *, resumed: bool) -> Begin:
    opening, access = request.opening, request.access
    if head is None:
        run, account, first_kept = Run(request.owner, opening, access), Account(), 0
        lease = Lease(1, request.owner, granted_at_ms)
        return _under(lease, run, account, (), first_kept, resumed=False)
    granted_at_ms = max(granted_at_ms, head.lease.granted_at_ms + 1)
    lease = Lease(head.lease.generation + 1, request.owner, granted_at_ms)
    before, account, first_kept = _declare_lost(head)
    if resumed and head.run is not None:
        run = replace(head.run, opening=opening)
        return _under(lease, run, account, before, first_kept, resumed=True)
    if head.is_open and head.run is not None:
        fold = Fold(head.run, account)
        fold.end(EndReason.DISCONNECTED)
        ended = fold.segment(head.lease.generation)
        before, account = (*before, ended), ended.account
    run = Run(request.owner, opening, access)
    account = Account(next_position=account.next_position)
    return _under(lease, run, account, before, first_kept, resumed=False)


def _declare_lost(head: Head) -> tuple[tuple[Segment, ...], Account, int]:
    """Declare entries that the store has lost of an open run without a writer."""
    if not head.entries_lost or not head.is_open or head.run is None:
        return (), head.account, head.next_position if head.entries_lost else head.first_kept
    fold = Fold(head.run, nothing_published(head.account, head.next_position))
    fold.declare(highest_seq(head.account))
    segment = fold.segment(head.lease.generation)
    return (segment,) if segment.entries else (), segment.account, head.next_position


def _under(
    lease: Lease,
    run: Run,
    account: Account,
    before: tuple[Segment, ...],
    first_kept: int,
    *,
    resumed: bool,
) -> Begin:
    fold = Fold(run, account)
    fold.start(Started(lease.generation, run.name, resumed, run.opening))
    segment = fold.segment(lease.generation)
    return Begin(
        lease,
        run,
        resumed,
        (*before, segment),
        segment.first_position,
        segment.account,
        first_kept,
    )
