"""What is true of every start of a stream, whatever the store has of it and the clocks say."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st
from stream_parts import MEDIA, OTHER_MEDIA, declared_in, head_of, live_account, request, run_of

from domain.account import State
from domain.entries import Ended, Entry, Gap, Started
from domain.events import NEW_RUN, Continuation, Resume, ResumeAbove
from domain.fold import highest_seq
from domain.head import Access, Head, Lease, start_of
from domain.starting import (
    LATE_MS,
    AlreadyHeld,
    AwaitFirstFrame,
    Begin,
    NotAllowed,
    StartRequest,
    TooLate,
    start,
)

TIMES = st.integers(0, 5_000)
SEQS = st.lists(st.integers(0, 9), max_size=4, unique=True).map(sorted)
OWNERS = st.sampled_from(["a", "b", "c", "a.1", "b.1"])
CONTINUATIONS: st.SearchStrategy[Continuation] = st.one_of(
    st.just(NEW_RUN), st.just(Resume()), st.builds(ResumeAbove, st.none() | st.integers(0, 12))
)
REQUESTS = st.builds(
    request,
    OWNERS,
    CONTINUATIONS,
    st.sampled_from(Access),
    st.integers(0, 3_000),
    st.sampled_from([MEDIA, OTHER_MEDIA]),
)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    account = live_account(*draw(SEQS), lost=draw(st.integers(0, 2)))
    account = replace(account, state=draw(st.sampled_from(State)))
    run = run_of(draw(st.sampled_from(["run", "a", "b"])), draw(st.sampled_from(Access)))
    lease = Lease(draw(st.integers(1, 5)), draw(OWNERS), draw(TIMES))
    head = head_of(account, run, lease=lease, first_kept=draw(st.integers(0, 1)))
    return replace(head, entries_lost=draw(st.booleans()))


@given(st.none() | heads(), REQUESTS, TIMES, TIMES)
def test_a_start_is_newer_than_the_holder_and_takes_the_next_generation(
    head: Head | None, asked: StartRequest, now_ms: int, later_than_ms: int
) -> None:
    decided = start(head, asked, now_ms, later_than_ms=later_than_ms)
    if not isinstance(decided, Begin):
        return
    lease = decided.lease
    assert lease.owner == asked.owner
    assert lease.granted_at_ms > later_than_ms
    assert lease.granted_at_ms >= now_ms - asked.waited_ms
    assert lease.generation == (1 if head is None else head.lease.generation + 1)
    if head is not None:
        assert lease.order > head.lease.order


@given(st.lists(st.tuples(st.integers(0, 20), TIMES, st.integers(0, 3_000)), max_size=12))
def test_two_starts_of_a_stream_are_never_equal_in_order(
    starts: list[tuple[int, int, int]],
) -> None:
    """Each is decided on any head there was: the store may come back to it, and other clocks go."""
    past: list[Head | None] = [None]
    orders = []
    for number, (at, now_ms, waited_ms) in enumerate(starts):
        head = past[at % len(past)]
        asked = request(f"owner{number}", Resume(), waited_ms=waited_ms)
        decided = start(head, asked, now_ms)
        if isinstance(decided, TooLate):
            continue
        assert isinstance(decided, Begin)
        assert head is None or decided.lease.order > head.lease.order
        orders.append(decided.lease.order)
        past.append(head_of(decided.account, decided.run, lease=decided.lease))
    assert len(set(orders)) == len(orders)


@given(st.none() | heads(), REQUESTS, TIMES)
@example(replace(head_of(live_account()), entries_lost=True), request("new", Resume()), 0)
def test_what_a_start_writes_is_dense_and_ends_what_it_does_not_continue(
    head: Head | None, asked: StartRequest, now_ms: int
) -> None:
    decided = start(head, asked, now_ms)
    if not isinstance(decided, Begin):
        return
    position = 0 if head is None else head.next_position
    generation = 0 if head is None else head.lease.generation
    entries: list[Entry] = []
    for segment in decided.segments:
        assert segment.entries
        assert segment.first_position == position
        assert segment.generation >= generation
        position, generation = segment.account.next_position, segment.generation
        entries += segment.entries
    assert decided.account == decided.segments[-1].account
    assert decided.account.state is State.LIVE
    assert position == decided.account.next_position
    opened = entries.pop()
    assert opened == Started(
        decided.lease.generation, decided.run.name, decided.resumed, asked.opening
    )
    assert decided.begun_at == position - 1
    has_open = head is not None and head.is_open
    ends = [entry for entry in entries if isinstance(entry, Ended)]
    assert len(ends) == (has_open and not decided.resumed)
    assert entries == [entry for entry in entries if isinstance(entry, Gap | Ended)]
    if ends:
        assert entries[-1] == ends[0]


@given(heads(), REQUESTS, TIMES)
def test_nothing_that_a_run_has_lost_is_silent_after_a_start(
    head: Head, asked: StartRequest, now_ms: int
) -> None:
    decided = start(head, asked, now_ms)
    if not isinstance(decided, Begin) or not head.is_open:
        return
    declared = [seq for segment in decided.segments for seq in declared_in(segment.entries)]
    account, highest = head.account, highest_seq(head.account)
    if head.entries_lost:
        assert decided.first_kept == head.next_position
        first = account.first_seq
        everything = [] if first is None or highest is None else list(range(first, highest + 1))
        assert declared == everything
    elif decided.resumed or highest is None or account.last_seq is None:
        assert declared == []
    else:
        assert declared == list(range(account.last_seq + 1, highest + 1))


@given(heads(), REQUESTS, TIMES)
def test_why_a_start_is_not_begun(head: Head, asked: StartRequest, now_ms: int) -> None:
    token = start_of(asked.owner)
    is_holder = start_of(head.lease.owner) == token
    is_of_run = head.run is not None and start_of(head.run.name) == token
    requested_at_ms = now_ms - asked.waited_ms
    is_late = head.lease.granted_at_ms > requested_at_ms + LATE_MS and asked.waited_ms >= LATE_MS
    match start(head, asked, now_ms):
        case AlreadyHeld():
            assert is_holder
        case TooLate():
            assert not is_holder
            assert is_of_run or is_late
        case NotAllowed():
            assert head.is_open
            assert asked.access is Access.OPEN
            assert head.run is not None
            assert head.run.access is Access.TOKEN
        case AwaitFirstFrame():
            assert head.is_open
            assert asked.opening.continuation == ResumeAbove(None)
        case Begin(resumed=resumed):
            assert not is_holder
            assert not is_of_run
            assert not is_late
            media = None if head.run is None else head.run.opening.media
            assert not resumed or (head.is_open and media == asked.opening.media)
