"""What is held until its start is granted: it is put, whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starting_site import ENDED, START, TENANT, StartingSite, say, starting_site

from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from application.call.closing import ENDED as CLOSED
from application.call.closing import SUPERSEDED, CloseCode
from application.call.messages import Audio, Refusal, SignalMessage
from application.call.session import MAX_EARLY_AT_ONCE
from application.delivery.live_stream import LiveStream
from domain.access import Principal
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import EndReason, Resume, ResumeAbove, Signal
from domain.media import AudioFrame

AT_FIRST_FRAME = replace(START, continuation=ResumeAbove())
PRESSED = SignalMessage(Signal.DTMF, '{"digit":"5"}')


@pytest.fixture
async def site() -> AsyncIterator[StartingSite]:
    async with starting_site() as site:
        yield site


async def test_an_end_that_is_confirmed_before_all_is_put_closes_as_any_other(
    site: StartingSite,
) -> None:
    starting = site.starting(Exostreamkit())
    frames = (Audio(seq, b"ab") for seq in range(MAX_EARLY_AT_ONCE - 1))
    say(starting, START, *frames, ENDED)
    await site.plug()
    await site.outcome(starting)
    starting.session.put_early()
    assert starting.session.is_catching_up
    await site.until(lambda: starting.live is None or starting.live.log.is_empty)
    starting.session.put_early()
    assert not starting.session.is_catching_up
    assert starting.closing == CLOSED


def _kinds(entries: list[Entry]) -> list[object]:
    return [it.seq if isinstance(it, AudioFrame) else type(it) for it in entries]


async def test_nothing_that_is_held_is_dropped_although_the_buffers_are_full(
    site: StartingSite,
) -> None:
    budget = site.container.services().budget
    starting = site.starting(Agentstream())
    say(starting, START, PRESSED, Audio(1, b"ab"), Audio(2, b"cd"))
    budget.add(budget.limits.buffer_bytes)  # other calls hold so much
    starting.session.drop()
    say(starting, Audio(3, b"ef"))
    await site.plug()
    await site.outcome(starting)
    starting.session.drop()
    starting.put_early()
    assert starting.session.is_full  # as any stream that is live
    budget.add(-budget.limits.buffer_bytes)
    say(starting, Audio(4, b"gh"), ENDED)
    await site.until(lambda: starting.closing)
    assert _kinds(await site.published()) == [Started, SignalNoted, 1, 2, Gap, 4, Ended]
    assert site.telemetry.counted["lost", ""] == 1
    assert starting.told_drops == [("call", "agentstream", None), ("call", "agentstream", 1)]


async def test_audio_that_is_dropped_after_what_was_held_is_told_by_lines_of_its_own(
    site: StartingSite,
) -> None:
    budget = site.container.services().budget
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"))
    budget.add(budget.limits.buffer_bytes)
    starting.session.drop()
    say(starting, Audio(2, b"cd"))
    await site.plug()
    await site.outcome(starting)
    starting.put_early()
    starting.session.drop()
    say(starting, Audio(3, b"ef"), Audio(4, b"gh"))
    budget.add(-budget.limits.buffer_bytes)
    say(starting, Audio(5, b"ij"), ENDED)
    await asyncio.sleep(0)
    assert [frames for *_, frames in starting.told_drops] == [None, 1, None, 2]


@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_frame_that_cannot_be_used_is_refused_while_audio_is_dropped_too(
    site: StartingSite, *, is_granted: bool
) -> None:
    budget = site.container.services().budget
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"))
    if is_granted:
        await site.plug()
        await site.outcome(starting)
        starting.put_early()
    budget.add(budget.limits.buffer_bytes)
    starting.session.drop()
    say(starting, Audio(2, b"odd"), Audio(3, b""), Audio(4, b"cd"))
    budget.add(-budget.limits.buffer_bytes)
    if not is_granted:
        await site.plug()
        await site.outcome(starting)
        starting.put_early()
    say(starting, Audio(5, b"ef"), ENDED)
    await site.until(lambda: starting.closing)
    ended = (await site.published())[-1]
    assert isinstance(ended, Ended)
    ledger = ended.ledger
    assert (ledger.published, ledger.rejected, ledger.lost, ledger.missing) == (2, 2, 1, 3)
    assert site.telemetry.counted["rejected", Refusal.INVALID_AUDIO] == 2
    assert starting.told_drops[-1] == ("call", "agentstream", 1)


async def test_a_first_frame_that_is_dropped_decides_whether_the_open_run_continues(
    site: StartingSite,
) -> None:
    await site.plug()
    older = site.starting(Agentstream())
    say(older, AT_FIRST_FRAME, *(Audio(seq, b"ab") for seq in range(1, 6)))
    live = await site.outcome(older)
    older.put_early()
    assert isinstance(live, LiveStream)
    await site.until(lambda: live.log.is_empty)
    site.destination.memory.is_plugged = False
    budget = site.container.services().budget
    starting = site.starting(Agentstream())
    say(starting, AT_FIRST_FRAME)
    budget.add(budget.limits.buffer_bytes)
    starting.session.drop()
    say(starting, Audio(1, b"cd"), Audio(2, b"cd"))
    await site.plug()
    await site.outcome(starting)
    starting.put_early()
    budget.add(-budget.limits.buffer_bytes)
    say(starting, Audio(6, b"cd"), ENDED)
    await site.until(lambda: starting.closing)
    run = [Started, Gap, 6, Ended]
    assert _kinds(await site.published()) == [Started, 1, 2, 3, 4, 5, Ended, *run]
    ended = (await site.published())[-1]
    assert isinstance(ended, Ended)
    assert (ended.ledger.published, ended.ledger.lost, ended.ledger.missing) == (1, 2, 5)


async def test_an_end_that_is_left_to_a_newer_connection_is_put_if_that_fails(
    site: StartingSite,
) -> None:
    starting = site.starting(Exostreamkit(), Principal(token_tenant=TENANT))
    say(starting, START, Audio(1, b"ab"), ENDED)
    newer = site.starting(Exostreamkit())  # without a token
    say(newer, replace(START, continuation=Resume()))
    await site.plug()
    await site.outcome(starting)
    starting.put_early()
    assert starting.session.is_full
    await starting.session.wait_for_room()
    await site.until(lambda: starting.closing and newer.closing)
    assert newer.closing is not None
    assert newer.closing.code is CloseCode.NOT_ALLOWED
    assert starting.closing == CLOSED
    *_, frame, ended = await site.published()
    assert isinstance(frame, AudioFrame)
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.ENDED


async def test_an_end_that_is_left_to_a_newer_connection_is_that_ones_if_it_is_granted(
    site: StartingSite,
) -> None:
    starting, newer = site.starting(Exostreamkit()), site.starting(Exostreamkit())
    say(starting, START, Audio(1, b"ab"), ENDED)
    say(newer, replace(START, continuation=Resume()))
    await site.plug()
    await site.outcome(starting)
    starting.put_early()
    await starting.session.wait_for_room()
    await site.until(lambda: starting.closing)
    assert starting.closing == SUPERSEDED
    await site.outcome(newer)
    newer.put_early()
    say(newer, Audio(2, b"ab"), ENDED)
    await site.until(lambda: newer.closing)
    assert _kinds(await site.published()) == [Started, 1, Started, 2, Ended]
