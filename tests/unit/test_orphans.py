"""How the run of a writer that is gone is ended."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_parts import OPENING, head_of, live_account

from domain.account import Account, State
from domain.entries import Ended, Gap
from domain.events import EndReason
from domain.head import Head, Lease
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.orphans import end_orphan
from domain.placement import Newer, Reach, place

LIVE = head_of(live_account(5, 6, 9), lease=Lease(3, "gone", 40_000))


@pytest.mark.parametrize("state", [State.LIVE, State.CUT])
def test_an_orphaned_run_gets_its_end_and_its_ledger(state: State) -> None:
    head = replace(LIVE, account=replace(LIVE.account, state=state))
    end = end_orphan(head, "finder")
    assert end is not None
    assert end.segment.entries == (
        Ended(EndReason.DISCONNECTED, LIVE.account.ledger, recovered=True),
    )
    assert end.segment.run == LIVE.run
    assert end.segment.first_position == LIVE.next_position
    assert end.segment.account == replace(
        LIVE.account, next_position=LIVE.next_position + 1, state=State.ENDED
    )


def test_the_end_belongs_to_the_runs_own_generation_under_the_next_lease() -> None:
    end = end_orphan(LIVE, "finder")
    assert end is not None
    assert end.segment.generation == 3
    assert end.lease == Lease(3, "finder", 40_001)


def test_what_was_dropped_last_is_declared_before_the_end() -> None:
    ledger = Ledger(5, 3, lost=2, missing=4, bytes=960, audio_ms=60)
    end = end_orphan(replace(LIVE, account=replace(LIVE.account, ledger=ledger)), "finder")
    assert end is not None
    assert end.segment.entries == (
        Gap(10, 2),
        Ended(EndReason.DISCONNECTED, ledger, recovered=True),
    )


def test_what_was_dropped_before_a_resume_is_declared_before_the_end() -> None:
    dropping = Interaction(OPENING, LIVE.account)
    dropping.drop(11, frames=2)
    resumed = Interaction(OPENING, dropping.account(LIVE.next_position))
    account = resumed.account(LIVE.next_position + 1)
    end = end_orphan(replace(LIVE, account=account), "finder")
    assert end is not None
    assert end.segment.entries == (
        Gap(10, 2),
        Ended(EndReason.DISCONNECTED, account.ledger, recovered=True),
    )
    assert (account.ledger.lost, account.ledger.missing) == (2, 4)


def test_a_run_without_a_frame_is_ended_too() -> None:
    end = end_orphan(head_of(Account(next_position=1)), "finder")
    assert end is not None
    assert end.segment.entries == (Ended(EndReason.DISCONNECTED, Ledger(), recovered=True),)


@given(st.integers(0, 2**50))
def test_a_writer_that_is_only_frozen_is_fenced_by_the_end_of_its_run(granted_at_ms: int) -> None:
    lease = Lease(3, "frozen", granted_at_ms)
    end = end_orphan(replace(LIVE, lease=lease), "finder")
    assert end is not None
    assert end.lease.owner == "finder"
    reach = Reach(frozenset({"frozen"}), 0, LIVE.next_position, lease)
    after = head_of(end.segment.account, lease=end.lease)
    assert place(after, reach) == Newer()


@pytest.mark.parametrize(
    "head",
    [
        None,
        replace(LIVE, account=replace(LIVE.account, state=State.ENDED)),
        replace(LIVE, run=None),
        replace(LIVE, entries_lost=True),
        Head("last", Lease(3, "", 0), 0, None, Account(next_position=5), account_lost=True),
    ],
)
def test_where_no_run_is_open_or_its_entries_are_lost_nothing_is_ended(head: Head | None) -> None:
    assert end_orphan(head, "finder") is None
