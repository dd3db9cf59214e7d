"""The table of `domain.starting`, row by row."""

from dataclasses import replace

import pytest
from stream_parts import (
    OTHER_MEDIA,
    head_of,
    live_account,
    opening,
    request,
    run_of,
    started,
)

from domain.account import Account, State
from domain.entries import Ended, Gap, Started
from domain.events import NEW_RUN, Continuation, EndReason, Resume, ResumeAbove
from domain.head import Access, Head, Lease, Run
from domain.ledger import Ledger
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

NOW_MS = 50_000
LIVE = head_of(live_account(5, 6, 9), lease=Lease(3, "holder", 40_000), begun_at=0)
CUT = replace(LIVE, account=replace(LIVE.account, state=State.CUT))
ENDED = replace(LIVE, account=replace(LIVE.account, state=State.ENDED))
BY_TOKEN = replace(LIVE, run=run_of(access=Access.TOKEN))
ALL_LOST = replace(LIVE, entries_lost=True)
MADE_OF_THE_LAST_ENTRY = Head(
    "last", Lease(3, "", 0), 0, None, Account(next_position=5), account_lost=True
)


def begin(head: Head | None, asked: StartRequest, now_ms: int = NOW_MS) -> Begin:
    decided = start(head, asked, now_ms)
    assert isinstance(decided, Begin)
    return decided


def written(begun: Begin) -> list[object]:
    return [entry for segment in begun.segments for entry in segment.entries]


@pytest.mark.parametrize("head", [LIVE, CUT, ENDED, BY_TOKEN, ALL_LOST])
@pytest.mark.parametrize("owner", ["holder", "holder.2"])
def test_a_request_that_was_granted_holds_the_lease_already(head: Head, owner: str) -> None:
    assert start(head, request(owner), NOW_MS) == AlreadyHeld()
    by_attempt = replace(head, lease=replace(head.lease, owner="holder.1"))
    assert start(by_attempt, request(owner), NOW_MS) == AlreadyHeld()


@pytest.mark.parametrize("head", [LIVE, CUT, ENDED, BY_TOKEN])
@pytest.mark.parametrize("owner", ["run", "run.2"])
def test_a_request_that_began_the_run_and_was_superseded_is_too_late(
    head: Head, owner: str
) -> None:
    assert start(head, request(owner), NOW_MS) == TooLate()
    assert start(head, request(owner, Resume()), NOW_MS) == TooLate()


@pytest.mark.parametrize("continuation", [NEW_RUN, Resume(), ResumeAbove(), ResumeAbove(10)])
def test_a_request_of_well_before_that_of_the_holder_is_too_late(
    continuation: Continuation,
) -> None:
    waited_ms = NOW_MS - 40_000 + LATE_MS + 1
    assert start(LIVE, request("x", continuation, waited_ms=waited_ms), NOW_MS) == TooLate()
    not_well = request("x", Resume(), waited_ms=waited_ms - 1)
    assert isinstance(start(LIVE, not_well, NOW_MS), Begin)


def test_a_request_that_was_made_just_now_is_the_newest_whatever_the_clocks_say() -> None:
    holder = replace(LIVE, lease=replace(LIVE.lease, granted_at_ms=NOW_MS + 3_600_000))
    begun = begin(holder, request("x", waited_ms=LATE_MS - 1))
    assert begun.lease.granted_at_ms == NOW_MS + 3_600_001
    assert start(holder, request("x", waited_ms=LATE_MS), NOW_MS) == TooLate()


def test_a_late_request_is_refused_before_it_is_asked_for_its_right() -> None:
    waited_ms = NOW_MS - 40_000 + LATE_MS + 1
    assert start(BY_TOKEN, request("x", waited_ms=waited_ms), NOW_MS) == TooLate()


@pytest.mark.parametrize(
    "continuation", [NEW_RUN, Resume(), ResumeAbove(), ResumeAbove(0), ResumeAbove(99)]
)
@pytest.mark.parametrize("state", [State.LIVE, State.CUT])
def test_an_open_run_that_was_begun_with_a_token_is_not_taken_without_one(
    continuation: Continuation, state: State
) -> None:
    head = replace(BY_TOKEN, account=replace(BY_TOKEN.account, state=state))
    assert start(head, request("x", continuation), NOW_MS) == NotAllowed()
    with_token = request("x", Resume(), Access.TOKEN)
    assert begin(head, with_token).resumed


def test_an_ended_run_that_was_begun_with_a_token_is_followed_without_one() -> None:
    ended = replace(BY_TOKEN, account=ENDED.account)
    begun = begin(ended, request("x"))
    assert begun.run.access is Access.OPEN


def test_a_run_that_was_begun_without_a_token_is_taken_with_one_and_keeps_its_right() -> None:
    begun = begin(LIVE, request("x", Resume(), Access.TOKEN))
    assert begun.run.access is Access.OPEN


@pytest.mark.parametrize("continuation", [NEW_RUN, Resume(), ResumeAbove(), ResumeAbove(3)])
def test_a_stream_that_is_not_known_begins_with_a_new_run(continuation: Continuation) -> None:
    asked = request("x", continuation, Access.TOKEN)
    run = Run("x", asked.opening, Access.TOKEN)
    assert begin(None, asked) == Begin(
        Lease(1, "x", NOW_MS),
        run,
        False,
        begin(None, asked).segments,
        0,
        Account(next_position=1),
        0,
    )
    assert written(begin(None, asked)) == [started(1, "x", of=asked.opening)]


@pytest.mark.parametrize("continuation", [NEW_RUN, Resume(), ResumeAbove(), ResumeAbove(3)])
def test_after_an_end_a_new_run_begins(continuation: Continuation) -> None:
    asked = request("x", continuation)
    begun = begin(ENDED, asked)
    assert written(begun) == [started(4, "x", of=asked.opening)]
    assert (begun.begun_at, begun.resumed) == (ENDED.next_position, False)
    assert begun.account == Account(next_position=ENDED.next_position + 1)
    assert begun.run == Run("x", asked.opening, Access.OPEN)


@pytest.mark.parametrize("head", [LIVE, CUT])
@pytest.mark.parametrize(
    "asked",
    [
        request("x", NEW_RUN),
        request("x", Resume(), media=OTHER_MEDIA),
        request("x", ResumeAbove(9)),
        request("x", ResumeAbove(0)),
        request("x", ResumeAbove(10), media=OTHER_MEDIA),
    ],
)
def test_a_request_that_does_not_resume_ends_the_open_run_and_begins_a_new_one(
    head: Head, asked: StartRequest
) -> None:
    begun = begin(head, asked)
    ended, new = begun.segments
    assert ended.entries == (Ended(EndReason.DISCONNECTED, head.account.ledger),)
    assert ended.generation == head.lease.generation == 3
    assert ended.run == head.run
    assert new.entries == (started(4, "x", of=asked.opening),)
    assert new.run == begun.run == Run("x", asked.opening, Access.OPEN)
    assert begun.begun_at == head.next_position + 1
    assert begun.account == Account(next_position=head.next_position + 2)
    assert not begun.resumed


def test_the_end_of_an_open_run_comes_after_a_gap_for_what_was_dropped_last() -> None:
    dropped = Ledger(5, 3, lost=2, missing=4, bytes=960, audio_ms=60)
    head = replace(LIVE, account=replace(LIVE.account, ledger=dropped))
    gap, ended, _ = written(begin(head, request("x")))
    assert (gap, ended) == (Gap(10, 2), Ended(EndReason.DISCONNECTED, dropped))


@pytest.mark.parametrize("head", [LIVE, CUT])
@pytest.mark.parametrize("continuation", [Resume(), ResumeAbove(10), ResumeAbove(99)])
def test_a_request_that_resumes_continues_the_open_run(
    head: Head, continuation: Continuation
) -> None:
    asked = request("x", continuation)
    begun = begin(head, asked)
    assert written(begun) == [started(4, "run", resumed=True, of=asked.opening)]
    assert begun.resumed
    assert begun.run == Run("run", asked.opening, Access.OPEN)
    assert begun.begun_at == head.next_position
    assert begun.account == replace(
        head.account, next_position=head.next_position + 1, state=State.LIVE
    )


def test_an_open_run_without_a_frame_is_continued_by_any_first_seq() -> None:
    head = head_of(Account(next_position=1))
    assert begin(head, request("x", ResumeAbove(0))).resumed


@pytest.mark.parametrize("head", [LIVE, CUT])
def test_a_request_that_resumes_above_a_seq_that_is_not_known_yet_awaits_the_first_frame(
    head: Head,
) -> None:
    assert start(head, request("x", ResumeAbove()), NOW_MS) == AwaitFirstFrame()


@pytest.mark.parametrize("head", [None, LIVE, CUT, ENDED, ALL_LOST, MADE_OF_THE_LAST_ENTRY])
@pytest.mark.parametrize("now_ms", [1, 40_000, 90_000])
def test_a_start_takes_the_next_generation_and_is_newer_than_the_holder(
    head: Head | None, now_ms: int
) -> None:
    begun = begin(head, request("aaa", Resume()), now_ms)
    if head is None:
        assert begun.lease == Lease(1, "aaa", now_ms)
        return
    assert begun.lease.generation == head.lease.generation + 1
    assert begun.lease.order > head.lease.order
    assert begun.lease.granted_at_ms > head.lease.granted_at_ms


def test_a_start_is_newer_than_one_of_its_process_that_the_store_has_lost() -> None:
    decided = start(None, request("x"), NOW_MS, later_than_ms=NOW_MS + 7)
    assert isinstance(decided, Begin)
    assert decided.lease.granted_at_ms == NOW_MS + 8


def test_a_request_that_waited_is_granted_at_the_time_at_which_it_was_made() -> None:
    assert begin(None, request("x", waited_ms=400)).lease.granted_at_ms == NOW_MS - 400


@pytest.mark.parametrize("continuation", [NEW_RUN, Resume()])
def test_an_open_run_whose_entries_are_lost_is_declared_before_it_ends_or_continues(
    continuation: Continuation,
) -> None:
    """The rule of an eviction that leaves the facts behind."""
    begun = begin(ALL_LOST, request("x", continuation))
    lost = Ledger(3, lost=3, missing=5)
    gap, *rest = written(begun)
    assert gap == Gap(5, 5)
    assert begun.first_kept == ALL_LOST.next_position
    if begun.resumed:
        assert begun.account.ledger == lost
        assert begun.account.last_seq == 9
        assert isinstance(rest[0], Started)
    else:
        assert rest[0] == Ended(EndReason.DISCONNECTED, lost)
        assert begun.account.ledger == Ledger()


def test_an_ended_run_whose_entries_are_lost_has_nothing_to_declare() -> None:
    begun = begin(replace(ENDED, entries_lost=True), request("x", Resume()))
    assert written(begun) == [started(4, "x", of=opening(Resume()))]
    assert begun.first_kept == ENDED.next_position


def test_a_run_without_a_frame_whose_entries_are_lost_has_nothing_to_declare() -> None:
    head = replace(head_of(Account(next_position=1)), entries_lost=True)
    begun = begin(head, request("x", Resume()))
    assert len(written(begun)) == 1
    assert begun.first_kept == 1


def test_after_a_head_that_is_made_of_the_last_entry_a_new_run_begins() -> None:
    begun = begin(MADE_OF_THE_LAST_ENTRY, request("x", Resume()))
    assert written(begun) == [started(4, "x", of=opening(Resume()))]
    assert begun.begun_at == 5
    assert not begun.resumed


def test_what_retention_has_left_is_kept_in_the_head() -> None:
    assert begin(replace(LIVE, first_kept=2), request("x", Resume())).first_kept == 2
    assert begin(replace(LIVE, first_kept=2), request("x")).first_kept == 2
