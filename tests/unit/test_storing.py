"""The number of what a store keeps next."""

from application.storing import number_above


def test_a_number_is_above_the_last_and_above_all_of_before_a_loss() -> None:
    numbers = [number_above(0)]
    for _ in range(2_000):
        numbers.append(number_above(numbers[-1]))
    assert numbers == sorted(set(numbers))
    assert number_above(0) > numbers[0], "of a store that has lost the last one"
    assert number_above(2**52) == 2**52 + 1, "of a clock that was set back"


def test_a_float_has_each_number() -> None:
    last = number_above(0)
    assert [int(float(last + n)) for n in range(10)] == [last + n for n in range(10)]
