"""What `OpenRuns` promises, held against every registered destination."""

import asyncio

from bench import Bench, begin

from application.ports.destination import Destination
from application.ports.publisher import Appended, Batch, Fenced, Lease
from domain.account import Account, State
from domain.events import (
    AudioAccepted,
    CallDetails,
    EndReason,
    InteractionEnded,
    Opening,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
STREAM = StreamKey(TenantId("tenant"), StreamId("call"))
OPENING = Opening(STREAM, InteractionId("call"), "d", MEDIA, 1_700_000_000_000, call=CallDetails())
LEDGER = Ledger(received=5, published=1, duplicate=2, rejected=2, bytes=2)


async def start(destination: Destination, owner: str = "one") -> Batch:
    """Begin a run, publish a frame of it, and return the batch that would come next."""
    await destination.open_runs.tend([STREAM])
    grant = await begin(destination.publisher, OPENING, owner=owner, has_token=False)
    lease = Lease(STREAM, grant.generation, owner)
    first = grant.account.next_position + 1
    frame = AudioAccepted(first, AudioFrame(MEDIA, 7, 5, b"ab"))
    account = Account(first + 1, 7, 7, LEDGER, State.LIVE)
    batch = Batch(lease, OPENING.interaction_id, first, (frame,), account)
    assert list(await destination.publisher.append([batch])) == [Appended(first + 1)]
    later = AudioAccepted(first + 1, AudioFrame(MEDIA, 8, 5, b"cd"))
    return Batch(lease, OPENING.interaction_id, first + 1, (later,), account)


async def events(destination: Destination) -> list[object]:
    return [published.event async for published in destination.reader.read(STREAM)]


async def beat(destination: Destination) -> float:
    beats = await destination.open_runs.beats()
    assert list(beats) == [STREAM]
    return beats[STREAM]


async def test_each_tending_is_a_new_beat_and_the_old_one_ends_nothing(
    destination: Destination,
) -> None:
    await start(destination)
    before = await beat(destination)
    await destination.open_runs.tend([STREAM])
    assert await beat(destination) != before
    assert not await destination.open_runs.end_untended(STREAM, before)
    assert len(await events(destination)) == 2


async def test_an_untended_run_is_ended_once_by_whoever_comes(bench: Bench) -> None:
    await start(bench.connect())
    others = [bench.connect() for _ in range(3)]
    last = await beat(others[0])
    ended = await asyncio.gather(*(other.open_runs.end_untended(STREAM, last) for other in others))
    assert sorted(ended) == [False, False, True]
    assert (await events(others[0]))[2:] == [
        InteractionEnded(2, EndReason.DISCONNECTED, LEDGER, recovered=True)
    ]
    facts = await others[0].reader.facts(STREAM)
    assert facts is not None
    assert (facts.account.state, facts.account.next_position) == (State.ENDED, 3)
    assert await others[0].open_runs.beats() == {}
    said = await others[0].reader.announcements()  # at least once: three announce it at once
    assert list(dict.fromkeys((s.has_ended, s.generation) for s in said)) == [(False, 1), (True, 1)]


async def test_a_process_that_was_only_frozen_can_write_nothing_more(bench: Bench) -> None:
    frozen, other = bench.connect(), bench.connect()
    late = await start(frozen)
    assert await other.open_runs.end_untended(STREAM, await beat(other))
    assert list(await frozen.publisher.append([late])) == [Fenced(1)]
    assert len(await events(other)) == 3


async def test_a_run_that_has_ended_is_only_forgotten(destination: Destination) -> None:
    batch = await start(destination)
    ended = InteractionEnded(2, EndReason.ENDED, LEDGER)
    account = Account(3, 7, 7, LEDGER, State.ENDED)
    await destination.publisher.append(
        [Batch(batch.lease, batch.interaction_id, 2, (ended,), account)]
    )
    assert not await destination.open_runs.end_untended(STREAM, await beat(destination))
    assert await destination.open_runs.beats() == {}
    assert (await events(destination))[2:] == [ended]


async def test_a_stream_nobody_knows_is_only_forgotten(destination: Destination) -> None:
    await destination.open_runs.tend([STREAM])
    assert not await destination.open_runs.end_untended(STREAM, await beat(destination))
    assert await destination.open_runs.beats() == {}


async def test_a_run_taken_up_in_the_meantime_is_left_alone(destination: Destination) -> None:
    await start(destination)
    before = await beat(destination)
    await start(destination, owner="two")  # tends it first
    assert not await destination.open_runs.end_untended(STREAM, before)
    assert isinstance((await events(destination))[-1], AudioAccepted)


async def test_tending_nothing_is_nothing(destination: Destination) -> None:
    await destination.open_runs.tend([])
    assert await destination.open_runs.beats() == {}


async def test_a_thousand_streams_and_more_have_their_beats(destination: Destination) -> None:
    streams = [StreamKey(TenantId("tenant"), StreamId(f"call-{n}")) for n in range(2_500)]
    await destination.open_runs.tend(streams)
    assert set(await destination.open_runs.beats()) == set(streams)
