"""What asks a broker that is away asks it less and less often, and continues when it is back."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import pytest
from virtual_time import HandDrivenClock, clock_of, timeless_runner

from adapters.outbound.in_memory import InMemory, InMemoryStore, Memory
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.reader import Announcement
from entrypoints.advice import log_advice
from entrypoints.cli.tail_calls import Filters, Tail
from entrypoints.cli.tail_lines import TailLines
from entrypoints.configuration import read_settings
from entrypoints.registry import destination_adapters

SETTINGS = read_settings(
    destination_adapters(), {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
)


class AskedDestination(InMemoryStore):
    """Remembers when it was asked; `error` is its answer, where there is one."""

    def __init__(self, clock: HandDrivenClock, memory: Memory) -> None:
        super().__init__(memory, DestinationOptions())
        self.error: PublisherError | None = None
        self.asked_at: list[float] = []
        self._clock = clock
        self._began = clock.now

    async def announcements(self, after: str | None = None) -> Sequence[Announcement]:
        self._note()
        return await super().announcements(after)

    async def advise(self, expected_bytes: int) -> Sequence[str]:  # noqa: ARG002
        self._note()
        return ["raise maxmemory"]

    def _note(self) -> None:
        self.asked_at.append(round(self._clock.now - self._began, 3))
        if self.error is not None:
            raise self.error


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with timeless_runner() as runner:
        yield runner


@pytest.fixture
def destination(runner: asyncio.Runner) -> AskedDestination:
    return AskedDestination(clock_of(runner), InMemory().memories["test"])


def advise(
    runner: asyncio.Runner, destination: AskedDestination, draw: Callable[[], float], until: float
) -> None:
    """Have advice logged, by a destination that is back at second `until`."""

    async def ask() -> None:
        asking = asyncio.create_task(log_advice(destination, SETTINGS, draw))
        await asyncio.sleep(until)
        destination.error = None
        await asking

    runner.run(ask())


def test_tail_asks_a_broker_that_is_away_each_second_at_last(
    runner: asyncio.Runner, destination: AskedDestination, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = clock_of(runner)
    lines = TailLines(clock.epoch_ms, is_json=False)

    async def follow() -> None:
        tail = Tail(destination, clock, lines, Filters())
        following = asyncio.create_task(tail.run(once=False))
        await asyncio.sleep(0.3)
        destination.error = BrokerUnavailable("gone")
        await asyncio.sleep(3.0)
        destination.error = None
        await asyncio.sleep(1.3)
        destination.error = BrokerUnavailable("gone")
        await asyncio.sleep(0.6)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    runner.run(follow())
    listed, well = [0.0], [0.25]
    gone = [0.5, 0.75, 1.25, 2.25, 3.25]
    back = [4.25, 4.5]
    assert destination.asked_at == [*listed, *well, *gone, *back, 4.75, 5.0]
    assert "gone" in capsys.readouterr().out


def test_advice_is_asked_for_until_there_is_some_and_logged_once(
    runner: asyncio.Runner, destination: AskedDestination, caplog: pytest.LogCaptureFixture
) -> None:
    destination.error = BrokerUnavailable("gone")
    advise(runner, destination, lambda: 1.0, until=13.0)
    assert destination.asked_at == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0]
    assert caplog.messages == ["raise maxmemory"]


def test_processes_that_found_a_broker_away_do_not_ask_it_for_advice_together(
    runner: asyncio.Runner, destination: AskedDestination
) -> None:
    destination.error = BrokerUnavailable("gone")
    shares = iter([0.5, 0.25, 0.75])
    advise(runner, destination, lambda: next(shares), until=2.0)
    assert destination.asked_at == [0.0, 0.5, 1.0, 4.0]


def test_a_broker_that_refuses_to_advise_is_asked_once(
    runner: asyncio.Runner, destination: AskedDestination
) -> None:
    def never() -> NoReturn:
        raise AssertionError("it waits")

    destination.error = BrokerRefused("NOPERM")
    runner.run(log_advice(destination, SETTINGS, never))
    assert destination.asked_at == [0.0]
