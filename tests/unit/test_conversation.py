"""What cannot be staged over a socket: two reasons to close in one turn of the loop."""

import asyncio
from collections.abc import Callable
from typing import Any

from bench import CountingTelemetry

from adapters.inbound.calls import Calls, TimeLimits
from adapters.inbound.close_codes import CloseCode, CloseReason, Closing
from adapters.inbound.conversation import Conversation, Peer
from adapters.inbound.dialects import DIALECTS
from adapters.inbound.origin import Origin
from adapters.inbound.reports import Reports
from adapters.outbound.system_clock import SystemClock
from domain.access import Sender


class SilentPeer(Peer):
    """Says nothing, and is not there to be told anything."""

    last_words = None
    on_closed = None

    def take(self) -> tuple[bool, bytes] | None:
        return None

    async def listen(self, take_in: Callable[[], bool]) -> bool:  # noqa: ARG002
        return await asyncio.Event().wait()

    def say(self, text: str) -> bool:  # noqa: ARG002
        return False


async def test_a_second_reason_to_close_while_the_first_is_on_its_way_is_let_be() -> None:
    unused: Any = None
    telemetry = CountingTelemetry()
    calls = Calls(
        start=unused,
        ingest=unused,
        end=unused,
        cut=unused,
        background=unused,
        budget=unused,
        clock=SystemClock(),
        telemetry=telemetry,
        reports=Reports(telemetry, trusted_proxy_hops=0),
        dialects=DIALECTS,
        ack_interval=10,
        limits=TimeLimits(60, 60, 60, 60, 60),
    )
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    conversation = Conversation(calls, Sender(), Origin.of(None, [], 0), {}, SilentPeer(), send)
    running = asyncio.create_task(conversation.run())
    async with asyncio.timeout(10):
        while conversation._alarm is None:
            await asyncio.sleep(0)
        first = Closing(CloseCode.NOT_CONFIRMED, CloseReason.NOT_CONFIRMED)
        second = Closing(CloseCode.SUPERSEDED, CloseReason.SUPERSEDED)
        conversation._interrupt(first)
        while not conversation._alarm.expired():
            await asyncio.sleep(0)
        conversation._interrupt(second)  # the alarm has gone off, the reader has not woken yet
        await running
    assert [message["code"] for message in sent] == [1013]
    assert telemetry.closes == {(1013, "not_confirmed"): 1}
    calls.reports.close()
