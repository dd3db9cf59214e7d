"""The table of `domain.placement`: where the head of a store is, seen from a writer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_parts import head_of

from domain.account import Account
from domain.head import Head, Lease
from domain.placement import At, Elsewhere, Newer, Placement, Reach, place

LEASE = Lease(4, "us.2", 5_000)
REACH = Reach(frozenset({"us.1", "us.2"}), 10, 20, LEASE, ((10, 3), (14, 4)))


def head_at(position: int, owner: str = "us.2", granted_at_ms: int = 5_000) -> Head:
    lease = Lease(4, owner, granted_at_ms)
    return head_of(Account(next_position=position), lease=lease)


def test_a_lease_that_is_rebased_has_the_order_of_its_start_and_a_token_of_its_own() -> None:
    assert LEASE.rebased("3") == Lease(5, "us.3", 5_000)
    assert LEASE.rebased("3").rebased("4").order == LEASE.order


@pytest.mark.parametrize("position", [10, 11, 19, 20])
@pytest.mark.parametrize("owner", ["us.1", "us.2"])
def test_a_head_of_the_writers_own_inside_its_log_is_at_its_position(
    position: int, owner: str
) -> None:
    assert place(head_at(position, owner), REACH) == At(position)


@pytest.mark.parametrize("position", [0, 9, 21])
def test_a_head_of_the_writers_own_outside_its_log_is_elsewhere(position: int) -> None:
    """Below it nothing is held any more; above it the positions are not of this log."""
    assert place(head_at(position), REACH) == Elsewhere()


def test_a_head_of_the_writers_own_whose_entries_are_lost_is_elsewhere() -> None:
    assert place(replace(head_at(15), entries_lost=True), REACH) == Elsewhere()


def test_a_store_without_the_stream_is_elsewhere() -> None:
    assert place(None, REACH) == Elsewhere()


@pytest.mark.parametrize("position", [0, 15, 30])
def test_a_lease_that_was_granted_later_is_newer(position: int) -> None:
    assert place(head_at(position, "other", 5_001), REACH) == Newer()
    lost = replace(head_at(position, "other", 5_001), entries_lost=True)
    assert place(lost, REACH) == Newer()


@pytest.mark.parametrize("position", [0, 15, 30])
def test_a_lease_of_the_past_does_not_fence_the_writer(position: int) -> None:
    """The store came back to a time before the writer's start."""
    assert place(head_at(position, "other", 4_999), REACH) == Elsewhere()


def test_of_two_leases_of_one_time_the_token_tells_which_is_newer() -> None:
    assert place(head_at(15, "z", 5_000), REACH) == Newer()
    assert place(head_at(15, "a", 5_000), REACH) == Elsewhere()


def test_a_lease_of_the_same_start_fences_never() -> None:
    """An attempt of it that arrived late, or one that was rebased: the writer is the same."""
    assert place(head_at(15, "us.9", 9_000), REACH) == Elsewhere()
    assert place(head_at(15, "us", 9_000), REACH) == Elsewhere()


def test_a_generation_is_no_measure_of_who_is_newer() -> None:
    """After a wipe they begin at 1 again."""
    newer = head_of(Account(next_position=3), lease=Lease(1, "other", 5_001))
    assert place(newer, REACH) == Newer()
    older = head_of(Account(next_position=3), lease=Lease(99, "other", 4_999))
    assert place(older, REACH) == Elsewhere()


def made_of_the_last_entry(generation: int, position: int) -> Head:
    account = Account(next_position=position + 1)
    return Head("last", Lease(generation, "", 0), 0, None, account, account_lost=True)


@pytest.mark.parametrize(
    ("generation", "position", "expected"),
    [
        (3, 10, At(11)),
        (3, 13, At(14)),
        (4, 14, At(15)),
        (4, 19, At(20)),
        (3, 14, Elsewhere()),  # that position is held, and was written by a later generation
        (4, 13, Elsewhere()),
        (5, 15, Elsewhere()),
        (3, 9, At(10)),  # it is held no more, and what is held after it is of its generation
        (2, 9, Elsewhere()),
        (4, 9, Elsewhere()),
        (3, 8, Elsewhere()),
        (4, 20, Elsewhere()),
        (4, 2, Elsewhere()),
    ],
)
def test_a_head_made_of_the_last_entry_is_the_writers_if_it_wrote_that_entry(
    generation: int, position: int, expected: Placement
) -> None:
    assert place(made_of_the_last_entry(generation, position), REACH) == expected


@pytest.mark.parametrize(
    ("generation", "position", "expected"),
    [(4, 19, At(20)), (3, 19, Elsewhere()), (4, 18, Elsewhere()), (4, 20, Elsewhere())],
)
def test_a_writer_that_holds_nothing_knows_its_last_entry_by_its_lease(
    generation: int, position: int, expected: Placement
) -> None:
    empty = replace(REACH, first_position=20, generations=())
    assert place(made_of_the_last_entry(generation, position), empty) == expected


@given(
    st.integers(0, 30),
    st.sampled_from(["us.1", "us.2", "us.3", "other", "zzz"]),
    st.integers(4_998, 5_002),
    st.booleans(),
)
def test_a_head_is_in_exactly_one_place(
    position: int, owner: str, granted_at_ms: int, entries_lost: bool
) -> None:
    head = replace(head_at(position, owner, granted_at_ms), entries_lost=entries_lost)
    is_own = owner in REACH.owners
    is_of_same_start = owner.startswith("us.")
    is_inside = 10 <= position <= 20 and not entries_lost
    match place(head, REACH):
        case At(at):
            assert is_own
            assert is_inside
            assert at == position
        case Newer():
            assert not is_of_same_start
            assert (granted_at_ms, owner) > (5_000, "us")
        case Elsewhere():
            assert not (is_own and is_inside)
            assert is_of_same_start or (granted_at_ms, owner) < (5_000, "us")


@given(st.integers(0, 9_000), st.integers(0, 9_000))
def test_of_two_writers_exactly_one_is_newer_and_the_other_continues(
    ours: int, theirs: int
) -> None:
    us, them = Lease(2, "us", ours), Lease(2, "them", theirs)
    there = head_of(Account(next_position=0), lease=them)
    here = head_of(Account(next_position=0), lease=us)
    seen = {
        type(place(there, Reach(frozenset({"us"}), 0, 0, us))),
        type(place(here, Reach(frozenset({"them"}), 0, 0, them))),
    }
    assert seen == {Newer, Elsewhere}
