"""What every store needs: streams that fail one by one, and the number of what comes next."""

import pytest

from application.ports.errors import BrokerRefused
from application.ports.store import Failed
from application.store_kit.storing import in_turn, number_above, separately

NOW = 1_767_225_600.123


def half(number: int) -> int:
    """Refuse what is odd."""
    if number % 2:
        raise BrokerRefused("odd")
    return number // 2


async def half_later(number: int) -> int:
    return half(number)


async def test_a_stream_that_fails_stops_no_other() -> None:
    for halves in (in_turn(half, [2, 3, 8]), await separately(half_later, [2, 3, 8])):
        assert [halves[0], halves[2]] == [1, 4]
        assert isinstance(halves[1], Failed)
        assert isinstance(halves[1].error, BrokerRefused)


def test_what_is_no_failure_of_a_store_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_turn(lambda it: 1 // it, [1, 0])


def test_a_number_is_above_the_last_and_above_all_of_before_a_loss() -> None:
    numbers = [number_above(0, NOW)]
    for _ in range(2_000):
        numbers.append(number_above(numbers[-1], NOW))
    assert numbers == sorted(set(numbers))
    assert number_above(0, NOW + 0.01) > numbers[-1], "of a store that has lost the last one"
    assert number_above(numbers[-1], NOW - 60) == numbers[-1] + 1, "of a clock that was set back"


def test_a_float_has_each_number() -> None:
    last = number_above(0, NOW)
    assert [int(float(last + n)) for n in range(10)] == [last + n for n in range(10)]
