import pytest

from application.capacity import Capacity


@pytest.mark.parametrize("places", [1, 2, 2_000])
def test_as_many_places_are_taken_as_there_are(places: int) -> None:
    capacity = Capacity(places)
    assert [capacity.take() for _ in range(places + 2)] == [True] * places + [False] * 2
    assert capacity.is_full


def test_a_place_given_back_can_be_taken_again() -> None:
    capacity = Capacity(1)
    assert capacity.take()
    assert not capacity.take()
    capacity.give_back()
    assert not capacity.is_full
    assert capacity.take()
    assert not capacity.take()


def test_a_refused_taker_holds_no_place() -> None:
    capacity = Capacity(1)
    capacity.take()
    for _ in range(10):
        capacity.take()
    capacity.give_back()
    assert capacity.take()
