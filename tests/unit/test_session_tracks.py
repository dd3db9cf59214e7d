"""The tracks of one session: each is a stream of its own, opened by its first frame."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starting_site import ENDED, KEY, START, TENANT, StartingSite, say, starting_site

from adapters.inbound.dialects.agentstream import Agentstream
from application.call.closing import ENDED as CLOSED
from application.call.closing import SHUTDOWN
from application.call.messages import Audio, Refusal
from application.call.tracks import MAX_TRACKS
from application.delivery.live_stream import LiveStream
from domain.entries import Ended, Started
from domain.identifiers import StreamId, StreamKey
from domain.media import AudioFrame

OTHER = StreamKey(TENANT, StreamId("call.outbound"))


@pytest.fixture
async def site() -> AsyncIterator[StartingSite]:
    async with starting_site() as site:
        yield site


async def test_an_unnumbered_frame_of_a_track_that_cannot_be_used_takes_no_number(
    site: StartingSite,
) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(0, b"ab"))
    live = await site.outcome(starting)
    starting.put_early()
    say(starting, Audio(None, b"ab", "no/name"), Audio(None, b"ab"))
    assert isinstance(live, LiveStream)
    assert live.interaction.last_seq == 1


async def test_each_track_is_a_stream_of_its_own_begun_with_its_first_frame(
    site: StartingSite,
) -> None:
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


async def test_what_came_before_a_start_and_is_of_another_stream_is_in_none(
    site: StartingSite,
) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, Audio(1, b"no"), Audio(1, b"no", "outbound"), replace(START, refuses_early=True))
    say(starting, Audio(1, b"ab"))
    await site.outcome(starting)
    starting.put_early()
    say(starting, ENDED)
    await site.until(lambda: starting.closing)
    published = await site.published()
    assert [it.audio for it in published if isinstance(it, AudioFrame)] == [b"ab"]
    assert await site.published(OTHER) == []
    assert site.telemetry.counted["rejected", Refusal.UNEXPECTED_EVENT] == 2
    assert site.telemetry.held_bytes().unconfirmed == 0


@pytest.mark.parametrize("track", ["no/name", "x" * 200])
async def test_audio_of_a_track_that_cannot_name_a_stream_is_refused(
    site: StartingSite, track: str
) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"), Audio(1, b"cd", track))
    await site.outcome(starting)
    starting.put_early()
    assert len(starting.streams) == 1
    assert site.telemetry.counted["rejected", Refusal.UNSUPPORTED_TRACK] == 1


async def test_the_tracks_of_one_connection_are_bounded(site: StartingSite) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, *(Audio(1, b"ab", f"t{number}") for number in range(MAX_TRACKS + 10)))
    await site.outcome(starting)
    starting.put_early()
    assert len(starting.streams) == MAX_TRACKS
    assert site.telemetry.counted["rejected", Refusal.UNSUPPORTED_TRACK] == 11


async def test_a_sender_that_leaves_has_all_its_tracks_cut_and_ended(site: StartingSite) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"), Audio(1, b"cd", "outbound"))
    starting.leave()
    await site.until(lambda: site.container.background().is_idle)
    for key in (KEY, OTHER):
        last = (await site.published(key))[-1]
        assert isinstance(last, Ended)
        assert last.ledger.published == 1


async def test_a_track_that_is_granted_during_a_close_does_not_prolong_it(
    site: StartingSite,
) -> None:
    await site.plug()
    starting = site.starting(Agentstream())
    say(starting, START, Audio(1, b"ab"))
    await site.outcome(starting)
    starting.put_early()
    site.destination.memory.is_plugged = False
    say(starting, Audio(2, b"cd"), Audio(1, b"cd", "outbound"))
    starting.session.close(SHUTDOWN)
    due_at = starting.session.due_at
    starting.session.put_early()  # as when the track is granted
    assert starting.closing is None
    assert starting.session.due_at == due_at
