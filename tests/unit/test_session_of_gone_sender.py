"""A sender that is gone before its start is decided: what it sent is published and counted."""

from collections.abc import AsyncIterator

import pytest
from begun import begin_elsewhere
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
from application.call.closing import ENDED as CLOSED
from application.call.messages import Audio, BadStart, Refusal, Refused, SignalMessage, Start
from application.delivery.live_stream import LiveStream
from domain.access import Principal
from domain.account import State as Life
from domain.entries import Ended, Gap, SignalNoted, Started
from domain.events import EndReason, Opening, Resume, ResumeAbove, Signal
from domain.identifiers import TenantId
from domain.media import AudioFrame


@pytest.fixture
async def site() -> AsyncIterator[StartingSite]:
    async with starting_site() as site:
        yield site


async def test_a_call_that_is_sent_to_its_end_is_published_though_its_sender_is_gone(
    site: StartingSite,
) -> None:
    starting = site.starting(Exostreamkit())
    say(starting, START, Audio(0, b"ab"), ENDED)
    starting.leave()
    await site.plug()
    await site.until(lambda: site.container.background().is_idle)
    kinds = [type(event) for event in await site.published()]
    assert kinds == [Started, AudioFrame, Ended]


async def test_a_sender_that_comes_back_leaves_nothing_behind(site: StartingSite) -> None:
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
    site: StartingSite, dialect: Dialect
) -> None:
    await site.plug()
    starting = site.starting(dialect)
    say(starting, START, Audio(0, b"ab"))
    await site.outcome(starting)
    assert starting.session.is_catching_up  # it is granted, and nothing is put yet
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    kinds = [type(event) for event in await site.published()]
    assert kinds == [Started, AudioFrame, Ended]
    assert site.container.sender().unpublished() == 0


async def test_frames_of_a_sender_that_left_before_it_was_decided_how_it_continues_are_published(
    site: StartingSite,
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


@pytest.mark.parametrize("is_gone", [False, True])
async def test_the_end_of_a_sender_that_is_back_already_is_left_to_where_it_is_now(
    site: StartingSite, *, is_gone: bool
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


async def test_a_sender_that_leaves_before_the_start_leaves_nothing_behind(
    site: StartingSite,
) -> None:
    starting = site.starting(Agentstream())
    say(starting, Audio(0, b"ab"))
    starting.leave()
    assert site.telemetry.held_bytes().unconfirmed == 0
    assert site.container.background().is_idle


async def test_messages_of_a_sender_that_left_before_its_start_are_published_in_order(
    site: StartingSite,
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


async def test_what_is_dropped_after_a_start_is_counted_by_the_rules_of_the_run(
    site: StartingSite,
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
    assert starting.told_drops == [("call", "agentstream", None), ("call", "agentstream", 3)]
    assert site.telemetry.counted["lost", ""] == 3
    assert site.telemetry.counted["missing", ""] == 10
    assert site.telemetry.counted["rejected", Refusal.MALFORMED_JSON] == 1


async def test_one_that_is_gone_without_an_end_is_cut_after_what_was_dropped(
    site: StartingSite,
) -> None:
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
    site: StartingSite,
) -> None:
    await site.plug()
    starting = site.starting(Agentstream(), Principal(token_tenant=TenantId("another")))
    say(starting, START, Audio(1, b"ab"))
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    assert await site.published() == []
    assert site.telemetry.held_bytes().unconfirmed == 0


async def test_an_end_that_was_left_to_a_newer_connection_is_sent_again_if_that_fails(
    site: StartingSite,
) -> None:
    older = site.starting(Exostreamkit(), Principal(token_tenant=TENANT))
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
    site: StartingSite,
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
