"""Blocking calls beside the event loop: what fails is translated, what is locked is tried again."""

import asyncio
from itertools import count

import pytest

from application.ports.errors import BrokerUnavailable
from application.store_kit.blocking import BlockingPlace


class Site:
    """A place whose name and calls a test decides."""

    def __init__(self) -> None:
        self.name: object = "a place"
        self.place = BlockingPlace(self.identify, (OSError,), (BlockingIOError,))

    def identify(self) -> str:
        if isinstance(self.name, Exception):
            raise self.name
        return str(self.name)


async def test_the_result_of_a_call_is_returned() -> None:
    assert await Site().place.run(sum, [1, 2]) == 3


async def test_a_failure_is_an_error_of_the_port_with_its_cause_and_a_new_epoch() -> None:
    site = Site()
    await site.place.run(int)
    failure = OSError("the disk is gone")
    site.name = failure
    with pytest.raises(BrokerUnavailable) as error:
        await site.place.run(int)
    assert error.value.__cause__ is failure
    site.name = "a place"
    await site.place.run(int)
    assert site.place.epoch > 0
    epoch = site.place.epoch
    await site.place.run(int)
    assert site.place.epoch == epoch


async def test_another_place_under_the_same_path_is_a_new_epoch() -> None:
    site = Site()
    await site.place.run(int)
    assert site.place.epoch == 0
    site.name = "another"
    await site.place.run(int)
    assert site.place.epoch == 1


async def test_what_was_read_while_the_place_was_exchanged_is_not_returned() -> None:
    site = Site()

    def exchange() -> None:
        site.name = "another"

    with pytest.raises(BrokerUnavailable, match="another than before") as error:
        await site.place.run(exchange)
    assert error.value.__cause__ is not None


async def test_what_is_locked_is_tried_again_and_grows_no_epoch() -> None:
    site, calls = Site(), count(1)

    def locked_twice() -> int:
        if (number := next(calls)) < 3:
            raise BlockingIOError
        return number

    assert await site.place.run(locked_twice) == 3
    assert site.place.epoch == 0


async def test_what_stays_locked_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("application.store_kit.blocking.BUSY_SECONDS", 0.05)

    def locked() -> None:
        raise BlockingIOError

    with pytest.raises(BrokerUnavailable):
        await Site().place.run(locked)


async def test_an_error_of_the_program_is_not_translated() -> None:
    with pytest.raises(ZeroDivisionError):
        await Site().place.run(lambda: 1 // 0)


async def test_the_loop_continues_meanwhile() -> None:
    site, has_continued = Site(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        asyncio.run_coroutine_threadsafe(has_continued.wait(), loop).result(30)

    call = asyncio.create_task(site.place.run(wait))
    await asyncio.sleep(0)
    has_continued.set()
    await call
