"""An attempt to start a stream: its outcome is reported once, unless it is cancelled."""

import asyncio
from typing import Any, cast

import pytest
from stream_parts import OPENING

from application.call.start_attempt import Settled, StartAttempt
from application.ports.errors import BrokerUnavailable
from application.start_interaction import RetryBudget
from domain.access import Principal


class UseCase:
    """A start whose outcome is decided by the test."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.named: dict[str, object] = {}

    async def __call__(self, *_: object, **named: object) -> object:
        self.named = named
        return await self.outcome


class Attempted:
    """One attempt, and what was reported of it."""

    def __init__(self) -> None:
        self.start, self.budget, self.reported = UseCase(), RetryBudget(5.0), list[Settled]()
        self.attempt = StartAttempt(
            cast("Any", self.start),
            OPENING,
            Principal(),
            requested_at=7.0,
            budget=self.budget,
            context={"peer": "192.0.2.1"},
            on_settled=self.reported.append,
        )


async def test_the_granted_stream_is_reported_once() -> None:
    it, granted = Attempted(), object()
    await asyncio.sleep(0)
    assert it.start.named == {
        "requested_at": 7.0,
        "budget": it.budget,
        "context": {"peer": "192.0.2.1"},
    }
    assert it.reported == []
    it.start.outcome.set_result(granted)
    await it.attempt.wait()
    await asyncio.sleep(0)
    assert it.reported == [granted]


async def test_an_error_is_reported_and_not_raised() -> None:
    it, error = Attempted(), BrokerUnavailable("gone")
    it.start.outcome.set_exception(error)
    await it.attempt.wait()
    await asyncio.sleep(0)
    assert it.reported == [error]


@pytest.mark.parametrize("is_begun", [True, False])
async def test_a_cancelled_attempt_reports_nothing(*, is_begun: bool) -> None:
    it = Attempted()
    if is_begun:
        await asyncio.sleep(0)
    it.attempt.cancel()
    await it.attempt.wait()
    await asyncio.sleep(0)
    assert it.reported == []


async def test_an_attempt_that_is_given_up_is_retried_no_more_and_may_still_succeed() -> None:
    it, granted = Attempted(), object()
    it.attempt.give_up()
    assert not await it.budget.is_left(0.0)
    it.start.outcome.set_result(granted)
    await it.attempt.wait()
    await asyncio.sleep(0)
    assert it.reported == [granted]
