"""A session whose start is under way: what no socket shows of what its sender sends meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from begun import begin_elsewhere
from bench import CountingTelemetry
from session_bench import RecordingConnection

from adapters.inbound.dialects import Dialect
from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.outbound.in_memory import InMemory, InMemoryStore
from application.call.closing import ENDED as CLOSED
from application.call.closing import CloseCode, Closing
from application.call.messages import (
    Audio,
    BadStart,
    End,
    Message,
    Refusal,
    Refused,
    SignalMessage,
    Start,
)
from application.call.session import State
from application.call.tracks import MAX_TRACKS
from application.delivery.live_stream import LiveStream
from application.start_interaction import RetryBudget
from domain.access import Sender
from domain.account import State as Life
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import EndReason, Opening, Resume, ResumeAbove, Signal
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat
from domain.starting import LATE_MS
from entrypoints.configuration import read_settings
from entrypoints.container import Container

TENANT, CALL, STREAM = TenantId("tenant"), InteractionId("call"), StreamId("call")
KEY, MEDIA = StreamKey(TENANT, STREAM), MediaFormat(8_000)
START = Start(TENANT, CALL, STREAM, MEDIA)
OTHER = StreamKey(TENANT, StreamId("call.outbound"))
ENDED = End(EndReason.ENDED)


class Site:
    """The use cases over memory, which is unplugged so that nothing starts until `plug`."""

    def __init__(self) -> None:
        settings = read_settings(
            {"in_memory": InMemory()},
            {
                "PUBSUB_ADAPTER": "in_memory",
                "SUPPORT_EXOTEL": "true",
                "RESUME_SECONDS": "0.05",
                "BUFFER_SECONDS": "1",
            },
        )
        self.telemetry = CountingTelemetry()
        self.container = Container(settings=settings)
        self.container.telemetry.override(self.telemetry)
        destination = self.container.destination()
        assert isinstance(destination, InMemoryStore)
        self.destination = destination
        self.destination.memory.is_plugged = False

    def starting(self, dialect: Dialect, sender: Sender | None = None) -> RecordingConnection:
        return RecordingConnection(self.container.services(), dialect, sender)

    async def plug(self) -> None:
        self.destination.memory.plug()
        await self.container.broker_watch().check()

    async def outcome(self, starting: RecordingConnection) -> LiveStream | Closing:
        await self.until(lambda: starting.live or starting.closing)
        outcome = starting.live or starting.closing
        assert outcome is not None
        return outcome

    async def published(self, key: StreamKey = KEY) -> list[Entry]:
        return [it.entry async for it in self.destination.read(key)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    container = site.container
    tasks = [
        asyncio.create_task(container.sender().run()),
        asyncio.create_task(container.broker_watch().run()),
    ]
    yield site
    await container.background().close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def say(starting: RecordingConnection, *messages: Message) -> None:
    starting.send(*messages)
    assert starting.closing is None


async def test_a_start_that_is_granted_makes_the_session_live_once_what_is_held_is_put(
    site: Site,
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


async def test_a_start_that_is_not_allowed_closes(site: Site) -> None:
    await site.plug()
    starting = site.starting(Exostreamkit(), Sender(token_tenant=TenantId("another")))
    say(starting, START)
    closing = await site.outcome(starting)
    assert isinstance(closing, Closing)
    assert closing.code is CloseCode.NOT_ALLOWED


@pytest.mark.parametrize(
    ("dialect", "code"),
    [(Exostreamkit(), CloseCode.NOT_CONFIRMED), (Agentstream(), CloseCode.TIMED_OUT)],
)
async def test_a_start_that_cannot_be_published_closes_in_a_way_its_sender_bears(
    site: Site, dialect: Dialect, code: CloseCode
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
    site: Site,
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


async def test_a_frame_sent_while_the_first_attempt_is_under_way_decides_the_second(
    site: Site,
) -> None:
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "before")
    starting = site.starting(Exostreamkit())
    say(starting, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()), Audio(7, b"ab"))
    assert isinstance(await site.outcome(starting), LiveStream)
    assert [it.continuation for it in starting.starts] == [ResumeAbove(), ResumeAbove(7)]


async def test_a_call_that_is_sent_to_its_end_is_published_though_its_sender_is_gone(
    site: Site,
) -> None:
    starting = site.starting(Exostreamkit())
    say(starting, START, Audio(0, b"ab"), ENDED)
    starting.leave()
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    kinds = [type(event) for event in await site.published()]
    assert kinds == [Started, AudioFrame, Ended]


async def test_a_sender_that_comes_back_leaves_nothing_behind(site: Site) -> None:
    starting = site.starting(Exostreamkit())
    say(starting, START, Audio(0, b"ab"))
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    assert site.container.sender().unpublished() == 0
    assert starting.session.is_done
    assert site.telemetry.held_bytes().unconfirmed == 0
    assert site.telemetry.counted["lost", "not_started"] == 1
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    assert await site.published() == []


@pytest.mark.parametrize("dialect", [Exostreamkit(), Agentstream()])
async def test_a_start_that_succeeds_as_its_sender_leaves_is_published_and_ended(
    site: Site, dialect: Dialect
) -> None:
    await site.plug()
    starting = site.starting(dialect)
    say(starting, START, Audio(0, b"ab"))
    await site.outcome(starting)
    assert starting.session.is_behind  # it is granted, and nothing is put yet
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    kinds = [type(event) for event in await site.published()]
    assert kinds == [Started, AudioFrame, Ended]
    assert site.container.sender().unpublished() == 0


async def test_frames_of_a_sender_that_left_before_it_was_decided_how_it_continues_are_published(
    site: Site,
) -> None:
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "before")
    starting = site.starting(Agentstream())
    start = Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove())
    say(starting, start, Audio(7, b"ab"), Audio(8, b"cd"))  # tried without the frames
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    kinds = [type(event) for event in await site.published()]
    assert kinds == [Started] * 2 + [AudioFrame] * 2 + [Ended]


async def test_starts_of_one_stream_are_made_in_the_order_in_which_they_were_sent(
    site: Site,
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


@pytest.mark.parametrize("is_gone", [False, True])
async def test_the_end_of_a_sender_that_is_back_already_is_left_to_where_it_is_now(
    site: Site, *, is_gone: bool
) -> None:
    older, newer = site.starting(Exostreamkit()), site.starting(Exostreamkit())
    start = Start(TENANT, CALL, STREAM, MEDIA, Resume())
    say(older, start, Audio(0, b"ab"), ENDED)
    say(newer, start, Audio(0, b"ab"), Audio(1, b"cd"), ENDED)
    if is_gone:
        older.leave()
        newer.leave()
        await site.plug()
        await site.until(lambda: site.container.background().is_idle)
        events = await site.published()
        assert [it.seq for it in events if isinstance(it, AudioFrame)] == [0, 1]
        assert [type(it) for it in events].count(Ended) == 1
    else:
        await site.plug()
        live = await site.outcome(older)
        assert isinstance(live, LiveStream)
        older.put_early()
        assert live.interaction.last_seq == 0
        assert live.interaction.state is Life.LIVE  # its end is left to the newer connection


async def test_a_start_that_waits_for_its_sender_lets_others_through(site: Site) -> None:
    await site.plug()
    opening = Opening(KEY, CALL, "d", MEDIA, 0)
    await begin_elsewhere(site.destination, opening, "before")
    silent, newer = site.starting(Agentstream()), site.starting(Agentstream())
    say(silent, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()))
    await site.until(lambda: silent.is_idle)
    say(newer, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()), Audio(7, b"ab"))
    assert isinstance(await site.outcome(newer), LiveStream)
    newer.put_early()


async def test_a_start_older_than_that_of_who_has_the_stream_closes(site: Site) -> None:
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


async def test_a_sender_that_leaves_before_the_start_leaves_nothing_behind(site: Site) -> None:
    starting = site.starting(Agentstream())
    say(starting, Audio(0, b"ab"))
    starting.leave()
    assert site.telemetry.held_bytes().unconfirmed == 0
    assert site.container.background().is_idle


async def test_messages_of_a_sender_that_left_before_its_start_are_published_in_order(
    site: Site,
) -> None:
    starting = site.starting(Agentstream())
    say(
        starting,
        START,
        Audio(1, b"ab"),
        SignalMessage(Signal.DTMF, '{"digit":"5"}'),
        Audio(2, b"odd"),
        START,
        BadStart("again"),
        Refused(Refusal.MALFORMED_JSON, "no"),
        Audio(4, b"cd"),
    )
    starting.drop()
    say(starting, Audio(5, b"ef"), SignalMessage(Signal.DTMF, "{}"), Audio(6, b"gh"))
    say(starting, ENDED, Audio(7, b"ab"), Audio(8, b"ab"))  # too late
    starting.leave()
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    started, *between, ended = await site.published()
    assert isinstance(started, Started)
    assert [
        it.seq if isinstance(it, AudioFrame) else type(it) for it in between
    ] == [1, SignalNoted, Gap, 4, Gap]  # fmt: skip
    assert between[2] == Gap(2, 2)
    assert between[4] == Gap(5, 2)
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.ENDED
    ledger = ended.ledger
    assert (ledger.received, ledger.published, ledger.rejected, ledger.lost) == (8, 2, 4, 2)
    assert ledger.missing == 4  # 2 and 3 never came in, 5 and 6 were dropped
    assert site.telemetry.counted["rejected", Refusal.INVALID_AUDIO] == 1
    assert site.telemetry.counted["rejected", Refusal.UNEXPECTED_EVENT] == 2
    assert site.telemetry.held_bytes().unconfirmed == 0


async def test_what_is_dropped_behind_a_start_is_counted_by_the_rules_of_the_run(
    site: Site,
) -> None:
    starting = site.starting(Agentstream())
    say(starting, START, *(Audio(seq, bytes(320)) for seq in range(1, 51)))  # it is full
    starting.drop()
    say(starting, *(Audio(seq, bytes(320)) for seq in (51, 54, 3, 54, 60)))
    say(starting, Refused(Refusal.MALFORMED_JSON, "no"), START)
    starting.leave()
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    *_, last, gap, ended = await site.published()
    assert isinstance(last, AudioFrame)
    assert last.seq == 50
    assert gap == Gap(51, 10)
    assert isinstance(ended, Ended)
    ledger = ended.ledger
    assert (ledger.published, ledger.lost, ledger.duplicate, ledger.rejected) == (50, 3, 2, 2)
    assert (ledger.received, ledger.missing) == (57, 10)
    assert site.telemetry.counted["lost", ""] == 3
    assert site.telemetry.counted["missing", ""] == 10
    assert site.telemetry.counted["rejected", Refusal.MALFORMED_JSON] == 1


async def test_one_that_is_gone_without_an_end_is_cut_behind_what_was_dropped(site: Site) -> None:
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"))
    starting.drop()
    say(starting, Audio(2, b"cd"))
    starting.leave()
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    *_, gap, ended = await site.published()
    assert gap == Gap(2, 1)
    assert isinstance(ended, Ended)
    assert ended.reason is EndReason.DISCONNECTED
    assert (ended.ledger.received, ended.ledger.lost) == (2, 1)


async def test_where_the_start_of_one_that_is_gone_is_not_allowed_its_audio_is_let_go(
    site: Site,
) -> None:
    await site.plug()
    starting = site.starting(Agentstream(), Sender(token_tenant=TenantId("another")))
    say(starting, START, Audio(1, b"ab"))
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    assert await site.published() == []
    assert site.telemetry.held_bytes().unconfirmed == 0


async def test_it_is_full_as_a_stream_would_be_and_waits_for_the_attempt(site: Site) -> None:
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
    site: Site, caplog: pytest.LogCaptureFixture, *, is_gone: bool
) -> None:
    starting = site.starting(BrokenWire())
    say(starting, START, Audio(0, b"ab"), ENDED)
    if is_gone:
        starting.session.on_gone()
        starting.session.is_gone = False  # the reply is tried all the same
        starting.session._is_closed = True
    await site.plug()
    await site.until(lambda: starting.closing or "a call failed behind its close" in caplog.text)
    if not is_gone:
        assert starting.closing is not None
        assert starting.closing.code is CloseCode.BUG
        assert isinstance(starting.closing.error, LookupError)
        starting.leave()
    await site.until(lambda: starting.session.is_done)


async def undecided(site: Site) -> RecordingConnection:
    """A call whose start waits for its first frame: the stream has an open run."""
    await site.plug()
    await begin_elsewhere(site.destination, Opening(KEY, CALL, "d", MEDIA, 0), "before")
    starting = site.starting(Agentstream())
    say(starting, Start(TENANT, CALL, STREAM, MEDIA, ResumeAbove()))
    await site.until(lambda: starting.is_idle)
    return starting


async def test_a_start_that_waits_for_its_first_frame_is_read_though_buffers_are_full(
    site: Site,
) -> None:
    """Not read, it would never be decided, and nothing would be waited for."""
    starting = await undecided(site)
    budget = site.container.services().budget
    budget.add(budget.limits.buffer_bytes)
    assert not starting.session.is_full
    say(starting, Audio(7, b"ab"))
    assert starting.session.is_full  # it is under way now, which is waited for
    budget.add(-budget.limits.buffer_bytes)
    assert isinstance(await site.outcome(starting), LiveStream)


async def test_marks_before_the_first_frame_keep_no_start_from_being_read(site: Site) -> None:
    starting = await undecided(site)
    entries = site.container.services().budget.limits.stream_entries
    say(starting, *[SignalMessage(Signal.MARK, "{}")] * (entries + 1))
    assert not starting.session.is_full
    say(starting, Audio(7, b"ab"))
    assert isinstance(await site.outcome(starting), LiveStream)


async def test_a_start_is_decided_by_a_frame_also_after_audio_was_dropped(site: Site) -> None:
    starting = await undecided(site)
    starting.drop()
    say(starting, Audio(7, b"ab"))
    assert isinstance(await site.outcome(starting), LiveStream)


async def test_an_end_that_was_left_to_a_newer_connection_is_sent_again_if_that_fails(
    site: Site,
) -> None:
    older = site.starting(Exostreamkit(), Sender(token_tenant=TENANT))
    newer = site.starting(Exostreamkit())
    start = Start(TENANT, CALL, STREAM, MEDIA, Resume())
    say(older, start, Audio(0, b"ab"), ENDED)
    newer.send(start, Audio(0, b"ab"))
    await site.plug()
    assert isinstance(await site.outcome(older), LiveStream)
    older.put_early()
    await site.until(lambda: newer.closing)
    say(older, ENDED)
    await site.until(lambda: older.closing)
    assert older.closing == CLOSED


async def test_a_bug_while_what_is_held_is_put_without_its_sender_leaves_the_run_cut(
    site: Site,
) -> None:
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"))
    starting.session.on_gone()
    await site.plug()
    await site.until(lambda: starting.live)
    starting.session.fail(LookupError("a bug"))
    assert starting.session.is_done
    assert starting.live is not None
    assert starting.live.interaction.state is Life.CUT


# Tracks


async def test_an_unnumbered_frame_of_a_track_that_cannot_be_used_takes_no_number(
    site: Site,
) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(0, b"ab"))
    live = await site.outcome(starting)
    starting.put_early()
    say(starting, Audio(None, b"ab", "no/name"), Audio(None, b"ab"))
    assert isinstance(live, LiveStream)
    assert live.interaction.last_seq == 1


async def test_each_track_is_a_stream_of_its_own_begun_with_its_first_frame(site: Site) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, Audio(6, b"ab", "outbound"), Audio(7, b"ab", "outbound"), START)
    live = await site.outcome(starting)
    await site.until(lambda: len(starting.streams) == 2 and all(starting.streams.values()))
    starting.put_early()
    say(starting, Audio(1, b"cd"), Audio(8, b"ef", "outbound"), ENDED)
    await site.until(lambda: starting.closing)
    assert starting.closing == CLOSED
    assert isinstance(live, LiveStream)
    own, other = await site.published(), await site.published(OTHER)
    assert [it.seq for it in own if isinstance(it, AudioFrame)] == [1]
    assert [it.seq for it in other if isinstance(it, AudioFrame)] == [6, 7, 8]
    for entries, track in ((own, None), (other, "outbound")):
        assert isinstance(entries[0], Started)
        assert entries[0].opening.track == track
        assert isinstance(entries[-1], Ended)
        assert entries[-1].ledger.received == entries[-1].ledger.published > 0


@pytest.mark.parametrize("track", ["no/name", "x" * 200])
async def test_audio_of_a_track_that_cannot_name_a_stream_is_refused(
    site: Site, track: str
) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"), Audio(1, b"cd", track))
    await site.outcome(starting)
    starting.put_early()
    assert len(starting.streams) == 1
    assert site.telemetry.counted["rejected", Refusal.UNSUPPORTED_TRACK] == 1


async def test_the_tracks_of_one_connection_are_bounded(site: Site) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, *(Audio(1, b"ab", f"t{number}") for number in range(MAX_TRACKS + 10)))
    await site.outcome(starting)
    starting.put_early()
    assert len(starting.streams) == MAX_TRACKS
    assert site.telemetry.counted["rejected", Refusal.UNSUPPORTED_TRACK] == 11


async def test_a_sender_that_leaves_has_all_its_tracks_cut_and_ended(site: Site) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"), Audio(1, b"cd", "outbound"))
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    for key in (KEY, OTHER):
        last = (await site.published(key))[-1]
        assert isinstance(last, Ended)
        assert last.ledger.published == 1
