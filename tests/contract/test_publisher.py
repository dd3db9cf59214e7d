"""What `StreamPublisher` promises, held against every registered destination."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from bench import Bench

from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import (
    Appended,
    Batch,
    Fenced,
    Hole,
    Lease,
    Outcome,
    StreamPublisher,
    Vanished,
)
from application.ports.reader import PublishedEvent, StreamFacts
from domain.errors import NotAllowed
from domain.events import (
    AudioAccepted,
    CallDetails,
    EndReason,
    Event,
    GapDetected,
    InteractionEnded,
    InteractionStarted,
    Opening,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Account, Grant, State
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

NARROW, WIDE = MediaFormat(8_000), MediaFormat(16_000)


def opening(name: str = "call", *, resume: bool = False, media: MediaFormat = NARROW) -> Opening:
    return Opening(
        stream=StreamKey(TenantId("tenant"), StreamId(name)),
        interaction_id=InteractionId(name),
        dialect="exostreamkit",
        media=media,
        started_at_ms=1_700_000_000_123,
        resume=resume,
        call=CallDetails("sid", "+100", None, {"queue": "a"}),
    )


def frames(first_position: int, *seqs: int) -> tuple[AudioAccepted, ...]:
    return tuple(
        AudioAccepted(
            first_position + index,
            AudioFrame(NARROW, seq, 1_700_000_000_456, bytes([seq % 256]) * 320),
        )
        for index, seq in enumerate(seqs)
    )


class Writer:
    """The least a writer must keep: its lease and the account after what it has sent."""

    def __init__(self, publisher: StreamPublisher, wish: Opening, grant: Grant, owner: str) -> None:
        self.publisher = publisher
        self.grant = grant
        self.lease = Lease(wish.stream, grant.generation, owner)
        self.wish = wish
        self.next_position = grant.account.next_position + 1
        self.published = grant.account.ledger.published
        self.first_seq = grant.account.first_seq
        self.last_seq = grant.account.last_seq
        self.state = State.LIVE

    @classmethod
    async def begin(
        cls,
        publisher: StreamPublisher,
        wish: Opening | None = None,
        *,
        owner: str = "owner",
        has_token: bool = False,
    ) -> "Writer":
        wish = wish or opening()
        grant = await publisher.begin(wish, owner=owner, has_token=has_token)
        return cls(publisher, wish, grant, owner)

    @property
    def account(self) -> Account:
        ledger = Ledger(
            received=self.published,
            published=self.published,
            bytes=self.published * 320,
            audio_ms=self.published * 20,
        )
        return Account(self.next_position, self.first_seq, self.last_seq, ledger, self.state)

    def batch(self, *events: Event, keep_from: int = 0) -> Batch:
        """The batch that comes next, which is not sent."""
        first_position = self.next_position
        for event in events:
            self.next_position += 1
            if isinstance(event, AudioAccepted):
                self.published += 1
                self.last_seq = event.frame.seq
                self.first_seq = event.frame.seq if self.first_seq is None else self.first_seq
            if isinstance(event, InteractionEnded):
                self.state = State.ENDED
        return Batch(
            self.lease, self.wish.interaction_id, first_position, events, self.account, keep_from
        )

    async def append(self, *events: Event) -> Outcome:
        return await send(self.publisher, self.batch(*events))

    async def end(self) -> Outcome:
        ended = InteractionEnded(self.next_position, EndReason.ENDED, self.account.ledger)
        return await self.append(ended)


async def send(publisher: StreamPublisher, batch: Batch) -> Outcome:
    (outcome,) = await publisher.append([batch])
    return outcome


async def read(destination: Destination, name: str = "call") -> list[PublishedEvent]:
    async with aclosing(destination.reader.read(opening(name).stream)) as events:  # type: ignore[type-var]
        return [event async for event in events]


async def facts(destination: Destination, name: str = "call") -> StreamFacts:
    found = await destination.reader.facts(opening(name).stream)
    assert found is not None
    return found


def audio_seqs(events: list[PublishedEvent]) -> list[int]:
    return [e.event.frame.seq for e in events if isinstance(e.event, AudioAccepted)]


def positions(events: list[PublishedEvent]) -> list[int]:
    return [e.event.position for e in events]


async def test_a_start_is_readable_by_others_when_begin_returns(bench: Bench) -> None:
    writer, other = bench.connect(), bench.connect()
    grant = await writer.publisher.begin(opening(), owner="owner", has_token=False)
    assert (grant.generation, grant.resumed, grant.account.next_position) == (1, False, 0)
    assert await read(other) == [
        PublishedEvent(1, InteractionStarted(0, 1, resumed=False, opening=opening()))
    ]


async def test_an_unknown_stream_is_empty_and_has_no_facts(destination: Destination) -> None:
    assert await read(destination) == []
    assert await destination.reader.facts(opening().stream) is None


async def test_frames_are_readable_by_others_when_append_has_confirmed(bench: Bench) -> None:
    writer = await Writer.begin(bench.connect().publisher)
    sent = frames(1, 0, 1, 2)
    assert await writer.append(*sent) == Appended(4)
    other = bench.connect()
    assert [e.event for e in (await read(other))[1:]] == list(sent)
    assert (await facts(other)).account == writer.account


async def test_many_batches_keep_their_order(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    for number in range(30):
        await writer.append(*frames(writer.next_position, 2 * number, 2 * number + 1))
    events = await read(destination)
    assert audio_seqs(events) == list(range(60))
    assert positions(events) == list(range(61))


async def test_streams_do_not_mix(destination: Destination) -> None:
    writers = [
        await Writer.begin(destination.publisher, opening(name)) for name in ("one", "two", "three")
    ]
    batches = [writer.batch(*frames(1, n, n + 1)) for n, writer in enumerate(writers)]
    assert list(await destination.publisher.append(batches)) == [Appended(3)] * 3
    for n, name in enumerate(("one", "two", "three")):
        assert audio_seqs(await read(destination, name)) == [n, n + 1]


async def test_the_same_stream_name_of_two_tenants_is_two_streams(destination: Destination) -> None:
    foreign = replace(opening(), stream=StreamKey(TenantId("other"), StreamId("call")))
    await Writer.begin(destination.publisher)
    grant = await destination.publisher.begin(foreign, owner="x", has_token=False)
    assert grant.generation == 1
    assert len(await read(destination)) == 1


async def test_concurrent_streams_all_arrive(destination: Destination) -> None:
    async def call(name: str) -> None:
        writer = await Writer.begin(destination.publisher, opening(name))
        for number in range(5):
            assert await writer.append(*frames(writer.next_position, number)) == Appended(
                number + 2
            )
        await writer.end()

    names = [f"call-{n}" for n in range(40)]
    await asyncio.gather(*(call(name) for name in names))
    for name in names:
        assert audio_seqs(await read(destination, name)) == [0, 1, 2, 3, 4]


async def test_a_batch_sent_again_is_stored_once(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    batch = writer.batch(*frames(1, 0, 1))
    for _ in range(3):
        assert await send(destination.publisher, batch) == Appended(3)
    assert audio_seqs(await read(destination)) == [0, 1]


async def test_a_batch_that_overlaps_stores_only_what_is_new(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 0, 1))
    whole = Batch(
        writer.lease,
        writer.wish.interaction_id,
        1,
        frames(1, 0, 1, 2, 3),
        replace(writer.account, next_position=5),
    )
    assert await send(destination.publisher, whole) == Appended(5)
    assert audio_seqs(await read(destination)) == [0, 1, 2, 3]


async def test_an_old_batch_does_not_take_the_account_back(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    old = writer.batch(*frames(1, 0))
    await send(destination.publisher, old)
    await writer.append(*frames(2, 1))
    assert await send(destination.publisher, old) == Appended(3)
    assert (await facts(destination)).account == writer.account


async def test_a_batch_above_the_next_position_is_a_hole_and_writes_nothing(
    destination: Destination,
) -> None:
    writer = await Writer.begin(destination.publisher)
    writer.batch(*frames(1, 0))  # never sent
    assert await writer.append(*frames(2, 1)) == Hole(1)
    assert len(await read(destination)) == 1
    assert (await facts(destination)).account.next_position == 1


async def test_an_unknown_stream_is_vanished(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    batch = replace(
        writer.batch(*frames(1, 0)), lease=replace(writer.lease, stream=opening("ghost").stream)
    )
    assert await send(destination.publisher, batch) == Vanished()
    assert await read(destination, "ghost") == []


async def test_a_newer_generation_fences_the_older(bench: Bench) -> None:
    older = await Writer.begin(bench.connect().publisher, owner="older")
    await older.append(*frames(1, 0))
    newer = await Writer.begin(bench.connect().publisher, opening(resume=True), owner="newer")
    assert newer.grant.generation == 2
    assert await older.append(*frames(2, 1)) == Fenced(2)
    assert await older.publisher.standing(older.lease) == Fenced(2)
    assert audio_seqs(await read(bench.connect())) == [0]
    assert await newer.append(*frames(newer.next_position, 1)) == Appended(4)


async def test_a_lease_of_the_right_generation_but_another_owner_is_fenced(
    destination: Destination,
) -> None:
    writer = await Writer.begin(destination.publisher)
    stranger = replace(writer.batch(*frames(1, 0)), lease=replace(writer.lease, owner="stranger"))
    assert await send(destination.publisher, stranger) == Fenced(1)
    assert len(await read(destination)) == 1


async def test_of_many_that_begin_at_once_each_gets_its_own_generation(bench: Bench) -> None:
    destinations = [bench.connect() for _ in range(4)]
    grants = await asyncio.gather(
        *(
            destinations[n % 4].publisher.begin(
                opening(resume=True), owner=f"o{n}", has_token=False
            )
            for n in range(12)
        )
    )
    assert sorted(grant.generation for grant in grants) == list(range(1, 13))
    assert positions(await read(destinations[0])) == list(range(12))


async def test_begin_said_again_by_the_same_owner_answers_the_same(
    destination: Destination,
) -> None:
    first = await destination.publisher.begin(opening(), owner="owner", has_token=False)
    again = await destination.publisher.begin(opening(), owner="owner", has_token=False)
    assert again == first
    assert len(await read(destination)) == 1


async def test_resume_goes_on_with_the_open_run(destination: Destination) -> None:
    older = await Writer.begin(destination.publisher, owner="older")
    await older.append(*frames(1, 7, 8))
    grant = await destination.publisher.begin(opening(resume=True), owner="new", has_token=False)
    assert grant == Grant(2, resumed=True, account=older.account)
    last = (await read(destination))[-1]
    assert last == PublishedEvent(
        2, InteractionStarted(3, 2, resumed=True, opening=opening(resume=True))
    )


async def test_resume_without_an_open_run_begins_one(destination: Destination) -> None:
    first = await Writer.begin(destination.publisher, opening(resume=True))
    assert not first.grant.resumed
    await first.append(*frames(1, 0))
    await first.end()
    second = await destination.publisher.begin(opening(resume=True), owner="two", has_token=False)
    assert second == Grant(2, resumed=False, account=Account(next_position=3))


async def test_a_start_over_an_open_run_publishes_its_one_end_first(
    destination: Destination,
) -> None:
    older = await Writer.begin(destination.publisher, owner="older")
    await older.append(*frames(1, 0))
    grant = await destination.publisher.begin(opening(), owner="newer", has_token=False)
    assert grant == Grant(2, resumed=False, account=Account(next_position=3))
    events = await read(destination)
    assert positions(events) == [0, 1, 2, 3]
    assert events[2] == PublishedEvent(
        1, InteractionEnded(2, EndReason.DISCONNECTED, older.account.ledger)
    )
    assert isinstance(events[3].event, InteractionStarted)


async def test_a_run_keeps_its_format(destination: Destination) -> None:
    await Writer.begin(destination.publisher, owner="older")
    grant = await destination.publisher.begin(
        opening(resume=True, media=WIDE), owner="newer", has_token=False
    )
    assert not grant.resumed


async def test_a_run_begun_with_a_token_is_not_taken_over_without(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher, has_token=True)
    for resume in (True, False):
        with pytest.raises(NotAllowed):
            await destination.publisher.begin(
                opening(resume=resume), owner="thief", has_token=False
            )
    assert await writer.append(*frames(1, 0)) == Appended(2)
    resumed = await destination.publisher.begin(
        opening(resume=True), owner="rightful", has_token=True
    )
    assert resumed.resumed


async def test_an_ended_run_begun_with_a_token_guards_nothing(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher, has_token=True)
    await writer.end()
    assert (await Writer.begin(destination.publisher, owner="two")).grant.generation == 2


async def test_standing_is_the_account_of_what_is_published(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 3, 4))
    published = writer.account
    writer.batch(*frames(3, 5))  # never sent
    assert await destination.publisher.standing(writer.lease) == published
    ghost = replace(writer.lease, stream=opening("ghost").stream)
    assert await destination.publisher.standing(ghost) == Vanished()


async def test_an_account_without_events_is_published(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    writer.state = State.CUT
    assert await writer.append() == Appended(1)
    assert (await facts(destination)).account.state is State.CUT


async def test_what_is_below_keep_from_may_go_and_is_told(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    for seq in range(10):
        await writer.append(*frames(writer.next_position, seq))
    await send(destination.publisher, writer.batch(*frames(11, 10), keep_from=6))
    assert (await facts(destination)).first_kept == 6
    assert positions(await read(destination)) == list(range(6, 12))


async def test_every_kind_of_event_is_read_back_as_it_was(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    sent: tuple[Event, ...] = (
        *frames(1, 0),
        GapDetected(2, 1, 10**12),
        *frames(3, 10**12 + 1),
    )
    await writer.append(*sent)
    await writer.end()
    events = [e.event for e in await read(destination)]
    assert events[1:4] == list(sent)
    assert isinstance(events[4], InteractionEnded)


async def test_an_unplugged_destination_raises_with_a_cause_and_recovers(bench: Bench) -> None:
    destination = bench.connect()
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 0))
    await bench.trial.unplug()
    batch = writer.batch(*frames(2, 1))
    for call in (
        lambda: destination.publisher.append([batch]),
        lambda: destination.publisher.begin(opening("new"), owner="o", has_token=False),
        lambda: destination.publisher.standing(writer.lease),
        lambda: destination.reader.facts(opening().stream),
        lambda: read(destination),
        destination.verify_writable,
    ):
        with pytest.raises(BrokerUnavailable) as raised:
            await call()
        assert raised.value.__cause__ is not None
    await bench.trial.plug()
    await destination.verify_writable()
    assert await send(destination.publisher, batch) == Appended(3)
    assert audio_seqs(await read(destination)) == [0, 1]


async def test_a_cancelled_append_leaves_the_publisher_usable(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    batch = writer.batch(*frames(1, *range(50)))
    for wait in range(6):
        task = asyncio.ensure_future(destination.publisher.append([batch]))
        for _ in range(wait):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await send(destination.publisher, batch) == Appended(51)
    assert audio_seqs(await read(destination)) == list(range(50))


async def test_close_is_idempotent(bench: Bench) -> None:
    destination = bench.connect()
    await destination.verify_writable()
    await destination.close()
    await destination.close()
