"""A session whose start is pending: what no socket shows of what its sender sends meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from begun import begin_elsewhere
from session_bench import RecordingConnection
from starting_site import (
    CALL,
    ENDED,
    KEY,
    MEDIA,
    START,
    STREAM,
    TENANT,
    StartingSite,
    say,
    starting_site,
)

from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from application.call.closing import CloseCode, Closing
from application.call.messages import Audio, SignalMessage, Start
from application.call.session import State
from application.delivery.live_stream import LiveStream
from application.start_interaction import RetryBudget
from domain.access import Principal
from domain.entries import Ended
from domain.events import Opening, ResumeAbove, Signal
from domain.identifiers import TenantId
from domain.media import AudioFrame
from domain.starting import LATE_MS


@pytest.fixture
async def site() -> AsyncIterator[StartingSite]:
    async with starting_site() as site:
        yield site


async def test_a_start_that_is_granted_makes_the_session_live_once_what_is_held_is_put(
    site: StartingSite,
) -> None:
    starting = site.starting(Exostreamkit())
    assert starting.session.state is State.EARLY
    say(starting, START, Audio(0, b"ab"))
    assert starting.session.state is State.STARTING
    await site.plug()
    stream = await site.outcome(starting)
    assert isinstance(stream, LiveStream)
    assert stream.key == KEY
    assert not starting.session.is_reading  # nothing may come between what is held and what follows
    starting.put_early()
    assert starting.session.is_reading
    assert starting.session.state is State.LIVE
    assert stream.interaction.last_seq == 0


async def test_a_start_that_is_not_allowed_closes(site: StartingSite) -> None:
    await site.plug()
    starting = site.starting(Exostreamkit(), Principal(token_tenant=TenantId("another")))
    say(starting, START)
    closing = await site.outcome(starting)
    assert isinstance(closing, Closing)
    assert closing.code is CloseCode.NOT_ALLOWED


@pytest.mark.parametrize(
    ("dialect", "code"),
    [(Exostreamkit(), CloseCode.NOT_CONFIRMED), (Agentstream(), CloseCode.TIMED_OUT)],
)
async def test_a_start_that_cannot_be_published_closes_in_a_way_its_sender_bears(
    site: StartingSite, dialect: Dialect, code: CloseCode
) -> None:
    services = site.container.services()
    start: Any = services.start

    async def start_impatiently(
        *arguments: Any, requested_at: float, budget: RetryBudget, context: Any
    ) -> Any:
        assert budget.seconds > 0
        return await start(*arguments, requested_at=requested_at)

    impatient: Any = start_impatiently
    starting = RecordingConnection(replace(services, start=impatient), dialect)
    say(starting, START)
    closing = await site.outcome(starting)
    assert isinstance(closing, Closing)
    assert closing.code is code
    assert code not in dialect.never_closed_with


async def test_a_start_that_cannot_be_decided_is_tried_again_with_the_first_frame(
    site: StartingSite,
) -> None:
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "before")
    starting = site.starting(Exostreamkit())
    say(starting, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()))
    await site.until(lambda: starting.is_idle)
    assert starting.live is None
    say(starting, Audio(7, b"ab"))
    stream = await site.outcome(starting)
    assert isinstance(stream, LiveStream)
    assert stream.lease.generation == 2
    assert [it.continuation for it in starting.starts] == [ResumeAbove(), ResumeAbove(7)]
    starting.put_early()
    assert stream.interaction.last_seq == 7


async def test_a_frame_sent_while_the_first_attempt_is_pending_decides_the_second(
    site: StartingSite,
) -> None:
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "before")
    starting = site.starting(Exostreamkit())
    say(starting, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()), Audio(7, b"ab"))
    assert isinstance(await site.outcome(starting), LiveStream)
    assert [it.continuation for it in starting.starts] == [ResumeAbove(), ResumeAbove(7)]


async def test_starts_of_one_stream_are_made_in_the_order_in_which_they_were_sent(
    site: StartingSite,
) -> None:
    first, second, third = (site.starting(Agentstream()) for _ in range(3))
    for turn, starting in enumerate((first, second, third)):
        start = Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove())
        frames = (Audio(10 * turn + n, b"ab") for n in range(1, 4))
        say(starting, start, *frames)
    third.leave()  # all are gone, the newest first
    first.leave()
    second.leave()
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    seqs = [it.seq for it in await site.published() if isinstance(it, AudioFrame)]
    assert seqs == [1, 2, 3, 11, 12, 13, 21, 22, 23]
    assert isinstance((await site.published())[-1], Ended)


async def test_a_start_that_waits_for_its_sender_lets_others_through(site: StartingSite) -> None:
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "before")
    silent, newer = site.starting(Agentstream()), site.starting(Agentstream())
    say(silent, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()))
    await site.until(lambda: silent.is_idle)
    say(newer, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()), Audio(7, b"ab"))
    assert isinstance(await site.outcome(newer), LiveStream)
    newer.put_early()


async def test_a_start_older_than_that_of_who_has_the_stream_closes(site: StartingSite) -> None:
    older = site.starting(Exostreamkit())
    say(older, START)
    await asyncio.sleep(2 * LATE_MS / 1_000)  # so much later a start comes, in another process
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "newer")
    closing = await site.outcome(older)
    assert isinstance(closing, Closing)
    assert closing.code is CloseCode.SUPERSEDED
    older.leave()
    assert site.container.sender().unpublished() == 0


async def test_it_is_full_as_a_stream_would_be_and_waits_for_the_attempt(
    site: StartingSite,
) -> None:
    starting = site.starting(Exostreamkit())
    say(starting, START)
    for seq in range(50):  # BUFFER_SECONDS is 1
        assert not starting.session.is_full
        say(starting, Audio(seq, bytes(320)))
    assert starting.session.is_full
    waiting = asyncio.create_task(starting.session.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await site.plug()
    await waiting
    assert isinstance(await site.outcome(starting), LiveStream)
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    assert site.telemetry.held_bytes().unconfirmed == 0


class BrokenWire(Exostreamkit):
    """Has a bug in what is made of a start."""

    def started(self, *_: Any) -> str | None:
        raise LookupError("a bug")


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_bug_in_what_is_made_of_a_start_ends_this_call_and_leaves_nothing_behind(
    site: StartingSite, caplog: pytest.LogCaptureFixture, *, is_gone: bool
) -> None:
    starting = site.starting(BrokenWire())
    say(starting, START, Audio(0, b"ab"), ENDED)
    if is_gone:
        starting.session.on_gone()
        starting.session.is_gone = False  # the reply is tried all the same
        starting.session._is_closed = True
    await site.plug()
    await site.until(lambda: starting.closing or "a call failed after its close" in caplog.text)
    if not is_gone:
        assert starting.closing is not None
        assert starting.closing.code is CloseCode.BUG
        assert isinstance(starting.closing.error, LookupError)
        starting.leave()
    await site.until(lambda: starting.session.is_done)


async def test_a_bug_while_the_close_is_being_sent_leaves_no_stream_open(
    site: StartingSite, caplog: pytest.LogCaptureFixture
) -> None:
    starting = site.starting(BrokenWire())
    say(starting, START, Audio(0, b"ab"))
    starting.session._is_closed = True
    await site.plug()
    await site.until(lambda: "a call failed after its close" in caplog.text)
    starting.leave()
    assert starting.session.is_done
    assert site.telemetry.open_streams["exostreamkit"] == 0


async def test_what_is_confirmed_is_acked_before_a_close_for_a_bug(site: StartingSite) -> None:
    starting = site.starting(Exostreamkit())
    say(starting, START)
    await site.plug()
    live = await site.outcome(starting)
    assert isinstance(live, LiveStream)
    starting.put_early()
    say(starting, *(Audio(seq, b"ab") for seq in range(3)))
    await site.until(lambda: live.published.last_seq == 2)
    assert not starting.acks
    starting.session.fail(LookupError("a bug"))
    assert [json.loads(ack)["seq"] for ack in starting.acks] == [2]
    assert starting.closing is not None
    assert starting.closing.code is CloseCode.BUG


async def undecided(site: StartingSite) -> RecordingConnection:
    """A call whose start waits for its first frame: the stream has an open run."""
    await site.plug()
    await begin_elsewhere(site.destination, Opening(KEY, CALL, "d", MEDIA, 0), "before")
    starting = site.starting(Agentstream())
    say(starting, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()))
    await site.until(lambda: starting.is_idle)
    return starting


async def test_a_start_that_waits_for_its_first_frame_is_read_though_buffers_are_full(
    site: StartingSite,
) -> None:
    """Not read, it would never be decided, and nothing would be waited for."""
    starting = await undecided(site)
    budget = site.container.services().budget
    budget.add(budget.limits.buffer_bytes)
    assert not starting.session.is_full
    say(starting, Audio(7, b"ab"))
    assert starting.session.is_full  # it is pending now, which is waited for
    budget.add(-budget.limits.buffer_bytes)
    assert isinstance(await site.outcome(starting), LiveStream)


async def test_marks_before_the_first_frame_keep_no_start_from_being_read(
    site: StartingSite,
) -> None:
    starting = await undecided(site)
    entries = site.container.services().budget.limits.stream_entries
    say(starting, *[SignalMessage(Signal.MARK, "{}")] * (entries + 1))
    assert not starting.session.is_full
    say(starting, Audio(7, b"ab"))
    assert isinstance(await site.outcome(starting), LiveStream)


async def test_a_start_is_decided_by_a_frame_also_after_audio_was_dropped(
    site: StartingSite,
) -> None:
    starting = await undecided(site)
    starting.drop()
    say(starting, Audio(7, b"ab"))
    assert isinstance(await site.outcome(starting), LiveStream)
