import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from application import broker_watch
from application.broker_watch import BrokerWatch
from application.ports.destination import Destination
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.open_runs import OpenRuns
from application.ports.publisher import StreamPublisher
from application.ports.reader import StreamReader
from application.ports.telemetry import Telemetry


class SwitchableDestination(Destination):
    """Takes writes, or not, or never answers."""

    def __init__(self) -> None:
        self.error: PublisherError | None = None
        self.answers = True
        self.tried = 0
        self.tried_often = asyncio.Event()

    @property
    def publisher(self) -> StreamPublisher:
        raise NotImplementedError

    @property
    def open_runs(self) -> OpenRuns:
        raise NotImplementedError

    @property
    def reader(self) -> StreamReader:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def verify_writable(self) -> None:
        self.tried += 1
        if self.tried == 3:
            self.tried_often.set()
        if not self.answers:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    async def advise(self, expected_bytes: int) -> Sequence[str]:
        raise NotImplementedError


class BrokerChanges(Telemetry):
    """Remembers only what is said of the broker."""

    def __init__(self) -> None:
        self.said: list[bool] = []

    def broker(self, *, up: bool) -> None:
        self.said.append(up)

    def handshake(self, outcome: str) -> None:
        raise NotImplementedError

    def stream_opened(self, dialect: str) -> None:
        raise NotImplementedError

    def stream_closed(self, dialect: str) -> None:
        raise NotImplementedError

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        raise NotImplementedError

    def ignored(self, event: str) -> None:
        raise NotImplementedError

    def confirmed(self, seconds: Sequence[float]) -> None:
        raise NotImplementedError

    def buffered(self, count: int) -> None:
        raise NotImplementedError

    def draining(self) -> None:
        raise NotImplementedError


class Bench:
    def __init__(self) -> None:
        self.destination = SwitchableDestination()
        self.telemetry = BrokerChanges()
        self.watch = BrokerWatch(self.destination, self.telemetry)

    async def check(self, error: PublisherError | None = None) -> None:
        self.destination.error = error
        await self.watch.check()


def test_an_untried_broker_is_not_up() -> None:
    bench = Bench()
    assert not bench.watch.is_up
    assert bench.telemetry.said == []


@pytest.mark.parametrize("error", [BrokerUnavailable("gone"), BrokerRefused("NOPERM")])
async def test_each_change_is_said_once(
    error: PublisherError, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    with caplog.at_level("INFO"):
        for failure in (None, None, error, error, error, None, None, error):
            await bench.check(failure)
            assert bench.watch.is_up == (failure is None)
    assert bench.telemetry.said == [True, False, True, False]
    assert len(caplog.records) == 4


async def test_a_broker_that_is_down_from_the_start_is_said_to_be_down() -> None:
    bench = Bench()
    await bench.check(BrokerUnavailable("gone"))
    await bench.check(BrokerUnavailable("gone"))
    assert bench.telemetry.said == [False]
    assert not bench.watch.is_up


async def test_a_broker_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_watch, "CHECK_SECONDS", 0.01)
    bench = Bench()
    await bench.check()
    bench.destination.answers = False
    await bench.check()
    assert not bench.watch.is_up
    bench.destination.answers = True
    await bench.check()
    assert bench.telemetry.said == [True, False, True]


async def test_waiting_for_a_broker_that_is_up_does_not_wait() -> None:
    bench = Bench()
    await bench.check()
    async with asyncio.timeout(1):
        assert await bench.watch.wait_until_up(60)


async def test_waiting_for_a_broker_ends_when_it_comes() -> None:
    bench = Bench()
    await bench.check(BrokerUnavailable("gone"))
    waiting = asyncio.create_task(bench.watch.wait_until_up(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await bench.check()
    assert await asyncio.wait_for(waiting, 1)


async def test_waiting_for_a_broker_that_does_not_come_ends_after_its_time() -> None:
    bench = Bench()
    assert not await bench.watch.wait_until_up(0.01)
    await bench.check()
    await bench.check(BrokerUnavailable("gone"))
    assert not await bench.watch.wait_until_up(0.01)


async def test_the_watch_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_watch, "CHECK_EVERY_SECONDS", 0.0)
    bench = Bench()
    bench.destination.error = BrokerUnavailable("gone")
    running = asyncio.create_task(bench.watch.run())
    await asyncio.wait_for(bench.destination.tried_often.wait(), 1)
    bench.destination.error = None
    assert await bench.watch.wait_until_up(1)
    assert bench.telemetry.said == [False, True]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
