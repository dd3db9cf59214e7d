import asyncio

import pytest

from adapters.inbound.access import brake
from adapters.inbound.access.brake import FREE_FAILURES, MAX_ADDRESSES, MAX_WAITING, Brake
from application.ports.clock import Clock


class HandClock(Clock):
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def epoch_ms(self) -> int:
        raise NotImplementedError


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def is_delayed(subject: Brake, address: str) -> bool:
    """Whether the answer is not given at once."""
    answer = asyncio.ensure_future(subject.on_failure(address))
    await asyncio.sleep(0)
    delayed = not answer.done()
    answer.cancel()
    await asyncio.gather(answer, return_exceptions=True)
    return delayed


async def test_from_the_twentieth_failure_a_minute_on_answers_are_delayed(
    clock: HandClock,
) -> None:
    subject = Brake(clock)
    told = [await is_delayed(subject, "a") for _ in range(FREE_FAILURES + 5)]
    assert told == [False] * (FREE_FAILURES - 1) + [True] * 6
    assert not await is_delayed(subject, "b")


async def test_after_a_minute_the_count_starts_from_zero(clock: HandClock) -> None:
    subject = Brake(clock)
    for _ in range(FREE_FAILURES):
        await is_delayed(subject, "a")
    clock.now = 60.0
    assert not await is_delayed(subject, "a")


async def test_a_bounded_number_waits_and_the_others_are_refused(
    clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brake, "DELAY_SECONDS", 0.05)
    subject = Brake(clock)
    for _ in range(FREE_FAILURES):
        subject._note("a")
    answers = await asyncio.gather(*(subject.on_failure("a") for _ in range(MAX_WAITING + 7)))
    assert answers.count(False) == 7
    assert await subject.on_failure("a")  # their places are free again


async def test_the_memory_of_addresses_is_bounded(clock: HandClock) -> None:
    subject = Brake(clock)
    for n in range(MAX_ADDRESSES + 10):
        subject._note(f"address-{n}")
    assert len(subject._failures) == MAX_ADDRESSES
    assert "address-0" not in subject._failures
