"""What a follower of a destination learns of runs, held against every registered destination."""

from collections.abc import Sequence

import pytest
from bench import Bench, begin

from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import Appended, Batch, Lease, Reclaim
from application.ports.reader import Announcement
from domain.account import Account, Grant, State
from domain.events import ANEW, EndReason, GoOn, InteractionEnded, InteractionStarted, Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import MediaFormat

STREAM = StreamKey(TenantId("tenant"), StreamId("call"))


def opening(*, resume: bool = False) -> Opening:
    return Opening(
        stream=STREAM,
        interaction_id=InteractionId("conversation"),
        dialect="exostreamkit",
        media=MediaFormat(8_000),
        started_at_ms=1_700_000_000_123,
        continuation=GoOn() if resume else ANEW,
    )


async def start(destination: Destination, owner: str, *, resume: bool = False) -> Grant:
    return await begin(destination.publisher, opening(resume=resume), owner=owner, has_token=False)


async def end(destination: Destination, owner: str, grant: Grant) -> None:
    position = grant.account.next_position + 1
    ended = InteractionEnded(position, EndReason.ENDED, grant.account.ledger)
    batch = Batch(
        Lease(STREAM, grant.generation, owner, grant.said_at_ms),
        opening().interaction_id,
        position,
        (ended,),
        Account(position + 1, ledger=grant.account.ledger, state=State.ENDED),
    )
    assert list(await destination.publisher.append([batch])) == [Appended(position + 1)]


async def announced(destination: Destination) -> Sequence[Announcement]:
    """All announcements, a repeat dropped by its event_id."""
    found: dict[str, Announcement] = {}
    cursor = None
    while page := await destination.reader.announcements(cursor):
        for said in page:
            found.setdefault(said.event_id, said)
        cursor = page[-1].cursor
    return list(found.values())


def told(said: Announcement) -> tuple[bool, int, bool, str]:
    return said.has_ended, said.position, said.resumed, said.run


async def check_entries(destination: Destination) -> None:
    """Each start and end of the stream is announced by its own entry, with the run of its start."""
    starts_and_ends: list[tuple[int, int, bool, str, bool]] = []
    run, resumed = "", False
    async for published in destination.reader.read(STREAM):
        generation, event = published.generation, published.event
        match event:
            case InteractionStarted(position, _, resumed, _, run):
                starts_and_ends.append((generation, position, False, run, resumed))
            case InteractionEnded(position):
                starts_and_ends.append((generation, position, True, run, resumed))
    assert starts_and_ends == [
        (said.generation, said.position, said.has_ended, said.run, said.resumed)
        for said in await announced(destination)
    ]


async def test_a_resumption_keeps_the_run_and_a_new_start_opens_another(bench: Bench) -> None:
    destination, other = bench.connect(), bench.connect()
    first = await start(destination, "one")
    resumed = await start(other, "two", resume=True)
    again = await start(destination, "three", resume=True)
    assert first.run
    assert first.run == resumed.run == again.run
    await end(destination, "three", again)
    second = await start(other, "four", resume=True)  # the run has ended: nothing to go on with
    assert second.run not in {"", first.run}
    assert [told(said) for said in await announced(other)] == [
        (False, 0, False, first.run),
        (False, 1, True, first.run),
        (False, 2, True, first.run),
        (True, 3, True, first.run),
        (False, 4, False, second.run),
    ]
    await check_entries(other)


async def test_a_start_that_ends_the_open_run_announces_both_runs_by_their_names(
    bench: Bench,
) -> None:
    destination, other = bench.connect(), bench.connect()
    first = await start(destination, "one")
    await start(destination, "two", resume=True)
    second = await start(other, "three")
    assert [told(said) for said in await announced(destination)] == [
        (False, 0, False, first.run),
        (False, 1, True, first.run),
        (True, 2, True, first.run),
        (False, 3, False, second.run),
    ]
    assert first.run != second.run
    await check_entries(destination)


async def test_the_run_of_a_dead_process_is_announced_as_ended_by_its_name(bench: Bench) -> None:
    dead, other = bench.connect(), bench.connect()
    await dead.open_runs.tend([STREAM])
    grant = await start(dead, "one")
    beat = (await other.open_runs.beats())[STREAM]
    assert await other.open_runs.end_untended(STREAM, beat)
    assert [told(said) for said in await announced(other)] == [
        (False, 0, False, grant.run),
        (True, 1, False, grant.run),
    ]
    await check_entries(other)


async def test_a_stream_that_begins_again_after_a_wipe_keeps_its_run(bench: Bench) -> None:
    destination = bench.connect()
    lost = await start(destination, "one")
    await bench.trial.wipe()
    lease = Lease(STREAM, lost.generation, "one", lost.said_at_ms)
    wish = Reclaim(lease, lost.run, opening(), has_token=False, above=1, owner="again")
    (grant,) = await destination.publisher.reclaim([wish])
    assert isinstance(grant, Grant)
    assert grant.run == lost.run
    await end(destination, "again", grant)
    assert [told(said) for said in await announced(destination)] == [
        (False, 0, True, lost.run),
        (True, 1, True, lost.run),
    ]
    await check_entries(destination)


async def test_what_is_announced_again_is_announced_in_the_same_words(bench: Bench) -> None:
    destination, follower = bench.connect(), bench.connect()
    await start(destination, "one")
    grant = await start(destination, "two", resume=True)
    await end(destination, "two", grant)
    await bench.trial.unplug()
    with pytest.raises(BrokerUnavailable):
        await destination.publisher.announce_again()
    await bench.trial.plug()
    await destination.verify_writable()
    await destination.publisher.announce_again()
    await start(destination, "two", resume=True)  # said again by an owner that may have to announce
    by_event: dict[str, set[tuple[bool, int, bool, str]]] = {}
    for said in await follower.reader.announcements():
        by_event.setdefault(said.event_id, set()).add(told(said))
    assert [len(words) for words in by_event.values()] == [1, 1, 1]
    await check_entries(follower)
