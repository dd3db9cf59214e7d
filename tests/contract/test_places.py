"""What `Places` promises, held against places in one process and such that several share."""

from collections.abc import Callable
from itertools import cycle, islice

import pytest

from adapters.outbound.worker_board import Slot, WorkerBoard
from application.access.capacity import Capacity
from application.ports.places import Places

Make = Callable[[int], list[Places]]


def alone(places: int) -> list[Places]:
    return [Capacity(places)]


def shared(places: int) -> list[Places]:
    board = WorkerBoard.make(3)
    return [Slot(board, number, places) for number in range(3)]


@pytest.fixture(params=[alone, shared])
def make(request: pytest.FixtureRequest) -> Make:
    """Make so many places; return what each of those who share them has."""
    made: Make = request.param
    return made


@pytest.mark.parametrize("places", [1, 2, 2_000])
def test_as_many_places_are_taken_as_there_are(make: Make, places: int) -> None:
    takers = make(places)
    taken = [taker.take() for taker in islice(cycle(takers), places + 2)]
    assert taken == [True] * places + [False] * 2
    assert all(taker.is_full for taker in takers)


def test_a_place_given_back_can_be_taken_again_by_anybody(make: Make) -> None:
    takers = make(1)
    assert takers[0].take()
    assert not takers[-1].take()
    takers[0].give_back()
    assert not takers[0].is_full
    assert takers[-1].take()
    assert not takers[0].take()


def test_a_refused_taker_holds_no_place(make: Make) -> None:
    takers = make(1)
    takers[0].take()
    for _ in range(10):
        takers[-1].take()
    takers[0].give_back()
    assert takers[-1].take()
