"""What `StreamPublisher` promises, held against every registered destination."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from bench import Bench, begin

from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import (
    BEGINNING,
    LATE_SECONDS,
    Appended,
    Batch,
    Fenced,
    Hole,
    Lease,
    Mark,
    Outcome,
    Reclaim,
    StreamPublisher,
    Undecided,
    Vanished,
)
from application.ports.reader import PublishedEvent, StreamFacts
from domain.account import Account, Grant, State
from domain.errors import NotAllowed
from domain.events import (
    ANEW,
    AudioAccepted,
    CallDetails,
    Continuation,
    EndReason,
    Event,
    GapDetected,
    GoOn,
    GoOnAbove,
    InteractionEnded,
    InteractionStarted,
    Opening,
    Signal,
    SignalReceived,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, Encoding, MediaFormat

NARROW, WIDE = MediaFormat(8_000), MediaFormat(16_000)


def opening(
    name: str = "call",
    *,
    resume: bool = False,
    continuation: Continuation = ANEW,
    media: MediaFormat = NARROW,
) -> Opening:
    return Opening(
        stream=StreamKey(TenantId("tenant"), StreamId(name)),
        interaction_id=InteractionId(name),
        dialect="exostreamkit",
        media=media,
        started_at_ms=1_700_000_000_123,
        continuation=GoOn() if resume else continuation,
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
        grant = await begin(publisher, wish, owner=owner, has_token=has_token)
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

    def batch(self, *events: Event, keep_from: Mark = BEGINNING) -> Batch:
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
    grant = await begin(writer.publisher, opening(), owner="owner", has_token=False)
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
    grant = await begin(destination.publisher, foreign, owner="x", has_token=False)
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
            begin(
                destinations[n % 4].publisher, opening(resume=True), owner=f"o{n}", has_token=False
            )
            for n in range(12)
        )
    )
    assert sorted(grant.generation for grant in grants) == list(range(1, 13))
    assert positions(await read(destinations[0])) == list(range(12))


async def test_begin_said_again_by_the_same_owner_answers_the_same(
    destination: Destination,
) -> None:
    first = await begin(destination.publisher, opening(), owner="owner", has_token=False)
    again = await begin(destination.publisher, opening(), owner="owner", has_token=False)
    assert again == first
    assert len(await read(destination)) == 1


@pytest.mark.parametrize("is_ended", [False, True])
async def test_a_start_keeps_out_one_that_was_said_long_before_it_and_comes_later(
    destination: Destination, *, is_ended: bool
) -> None:
    newer = await Writer.begin(destination.publisher, owner="newer")
    if is_ended:
        await newer.end()
    before = await read(destination)
    for wish in (opening(), opening(resume=True)):
        late = await destination.publisher.begin(
            wish, owner="late", has_token=False, waited_seconds=5
        )
        assert late == Fenced(1)
    assert await read(destination) == before
    soon = await destination.publisher.begin(
        opening(), owner="soon", has_token=False, waited_seconds=0.9 * LATE_SECONDS
    )
    assert isinstance(soon, Grant)  # not told apart


async def test_starts_that_waited_come_in_the_order_in_which_they_were_said(
    destination: Destination,
) -> None:
    answers = [
        await destination.publisher.begin(
            opening(), owner=f"of {ago}", has_token=False, waited_seconds=ago
        )
        for ago in (20, 10, 12, 10.5, 9.5)
    ]
    assert [type(answer) for answer in answers] == [Grant, Grant, Fenced, Grant, Grant]


async def test_resume_goes_on_with_the_open_run(destination: Destination) -> None:
    older = await Writer.begin(destination.publisher, owner="older")
    await older.append(*frames(1, 7, 8))
    grant = await begin(destination.publisher, opening(resume=True), owner="new", has_token=False)
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
    second = await begin(destination.publisher, opening(resume=True), owner="two", has_token=False)
    assert second == Grant(2, resumed=False, account=Account(next_position=3))


async def test_a_start_over_an_open_run_publishes_its_one_end_first(
    destination: Destination,
) -> None:
    older = await Writer.begin(destination.publisher, owner="older")
    await older.append(*frames(1, 0))
    grant = await begin(destination.publisher, opening(), owner="newer", has_token=False)
    assert grant == Grant(2, resumed=False, account=Account(next_position=3))
    events = await read(destination)
    assert positions(events) == [0, 1, 2, 3]
    assert events[2] == PublishedEvent(
        1, InteractionEnded(2, EndReason.DISCONNECTED, older.account.ledger)
    )
    assert isinstance(events[3].event, InteractionStarted)


async def test_where_only_the_next_seq_can_tell_nothing_changes_until_it_is_said(
    destination: Destination,
) -> None:
    writer = await Writer.begin(destination.publisher, opening(continuation=GoOnAbove()))
    await writer.append(*frames(1, 5, 6))
    wish = opening(continuation=GoOnAbove())
    undecided = await destination.publisher.begin(wish, owner="two", has_token=False)
    assert undecided == Undecided()
    assert await writer.append(*frames(3, 7)) == Appended(4)


@pytest.mark.parametrize(
    ("first_seq", "goes_on"), [(7, True), (10**15, True), (6, False), (0, False)]
)
async def test_a_run_goes_on_only_above_its_last_seq(
    destination: Destination, first_seq: int, goes_on: bool
) -> None:
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 5, 6))
    wish = opening(continuation=GoOnAbove(first_seq))
    grant = await begin(destination.publisher, wish, owner="two", has_token=False)
    assert grant.resumed is goes_on
    assert grant.account.last_seq == (6 if goes_on else None)


async def test_a_run_without_frames_goes_on_above_anything(destination: Destination) -> None:
    await Writer.begin(destination.publisher)
    wish = opening(continuation=GoOnAbove(0))
    assert (await begin(destination.publisher, wish, owner="two", has_token=False)).resumed


@pytest.mark.parametrize("media", [WIDE, MediaFormat(8_000, Encoding.MULAW)])
async def test_a_run_keeps_its_format(destination: Destination, media: MediaFormat) -> None:
    await Writer.begin(destination.publisher, owner="older")
    wish = opening(resume=True, media=media)
    grant = await begin(destination.publisher, wish, owner="newer", has_token=False)
    assert not grant.resumed


async def test_a_run_begun_with_a_token_is_not_taken_over_without(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher, has_token=True)
    for resume in (True, False):
        with pytest.raises(NotAllowed):
            await destination.publisher.begin(
                opening(resume=resume), owner="thief", has_token=False
            )
    assert await writer.append(*frames(1, 0)) == Appended(2)
    resumed = await begin(
        destination.publisher, opening(resume=True), owner="rightful", has_token=True
    )
    assert resumed.resumed


async def test_an_ended_run_begun_with_a_token_guards_nothing(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher, has_token=True)
    await writer.end()
    assert (await Writer.begin(destination.publisher, owner="two")).grant.generation == 2


async def test_the_facts_are_the_account_of_what_is_published(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 3, 4))
    published = writer.account
    writer.batch(*frames(3, 5))  # never sent
    assert (await facts(destination)).account == published


async def test_nothing_is_written_after_the_end_not_even_by_a_call_that_comes_late(
    destination: Destination,
) -> None:
    writer = await Writer.begin(destination.publisher)
    late = writer.batch(*frames(1, 0, 1, 2))  # given up, its answer never came
    ended = InteractionEnded(1, EndReason.BROKER_LOST, Ledger(received=3, lost=3, missing=3))
    account = Account(2, None, None, ended.ledger, State.ENDED)
    end = Batch(writer.lease, writer.wish.interaction_id, 1, (ended,), account)
    assert await send(destination.publisher, end) == Appended(2)
    assert await send(destination.publisher, late) == Fenced(1)
    assert await send(destination.publisher, end) == Appended(2)
    assert [e.event for e in await read(destination)][1:] == [ended]
    assert (await facts(destination)).account == account


async def test_each_batch_of_a_call_has_its_own_outcome_in_order(destination: Destination) -> None:
    names = ("fenced", "whole", "hole", "vanished", "long")
    writers = {name: await Writer.begin(destination.publisher, opening(name)) for name in names}
    await begin(destination.publisher, opening("fenced"), owner="newer", has_token=False)
    writers["hole"].batch(*frames(1, 0))  # never sent
    ghost = replace(writers["vanished"].lease, stream=opening("ghost").stream)
    batches = [
        writers["fenced"].batch(*frames(1, 0)),
        writers["whole"].batch(*frames(1, 0)),
        writers["hole"].batch(*frames(2, 1)),
        replace(writers["vanished"].batch(*frames(1, 0)), lease=ghost),
        writers["long"].batch(*frames(1, 0, 1, 2)),
    ]
    assert list(await destination.publisher.append(batches)) == [
        Fenced(2), Appended(2), Hole(1), Vanished(), Appended(4),
    ]  # fmt: skip


async def test_a_cut_run_is_open_and_goes_on_live(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher, owner="older")
    last = writer.batch(*frames(1, 0))
    await send(destination.publisher, last)
    writer.state = State.CUT
    await writer.append()
    assert await send(destination.publisher, last) == Appended(2)  # an answer that was lost
    assert (await facts(destination)).account.state is State.CUT
    wish = opening(resume=True)
    grant = await begin(destination.publisher, wish, owner="newer", has_token=False)
    assert grant.resumed
    assert (grant.account.state, grant.account.first_seq) == (State.LIVE, 0)


async def test_the_whole_ledger_goes_on_and_ends_with_the_run(destination: Destination) -> None:
    wish = opening()
    first = await begin(destination.publisher, wish, owner="one", has_token=False)
    ledger = Ledger(10, 4, 3, 2, 1, 7, 1_280, 80)
    account = Account(1, 5, 15, ledger, State.LIVE)
    lease = Lease(wish.stream, first.generation, "one")
    await send(destination.publisher, Batch(lease, wish.interaction_id, 1, (), account))
    second = await begin(destination.publisher, opening(resume=True), owner="two", has_token=False)
    assert second.account == account
    await begin(destination.publisher, opening(), owner="three", has_token=False)
    assert [e.event for e in await read(destination)][2] == InteractionEnded(
        2, EndReason.DISCONNECTED, ledger
    )


async def test_whether_the_end_is_still_there_may_be_asked_by_its_account_alone(
    destination: Destination,
) -> None:
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 0))
    await writer.end()
    before = await read(destination), await facts(destination)
    ask = writer.batch()
    stranger = replace(ask, lease=replace(ask.lease, owner="stranger"))
    for _ in range(2):
        assert await send(destination.publisher, ask) == Appended(3)
    assert await send(destination.publisher, stranger) == Fenced(1)
    for state in (State.LIVE, State.CUT):  # would be written, and an ended run takes nothing
        writing = replace(ask, account=replace(ask.account, state=state))
        assert await send(destination.publisher, writing) == Fenced(1)
    assert await send(destination.publisher, replace(ask, first_position=4)) == Hole(3)
    assert (await read(destination), await facts(destination)) == before


async def test_installations_with_another_prefix_do_not_meet(bench: Bench) -> None:
    await Writer.begin(bench.connect().publisher)
    bench.options = replace(bench.options, prefix="another")
    other = bench.connect()
    assert await read(other) == []
    assert (await Writer.begin(other.publisher)).grant.generation == 1


async def test_what_is_not_written_for_long_is_forgotten(bench: Bench) -> None:
    bench.options = replace(bench.options, expire_seconds=0.3)
    destination = bench.connect()
    writer = await Writer.begin(destination.publisher)
    async with asyncio.timeout(10):
        while await destination.reader.facts(opening().stream) is not None:
            await asyncio.sleep(0.02)
    assert await writer.append(*frames(1, 0)) == Vanished()


async def test_a_long_stream_of_long_frames_is_read_whole(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    sizes = [2, 100_000, *[320] * 1_500]
    sent = [
        AudioAccepted(1 + n, AudioFrame(NARROW, n, 1, bytes([n % 256]) * size))
        for n, size in enumerate(sizes)
    ]
    for start in range(0, len(sent), 100):
        await writer.append(*sent[start : start + 100])
    assert [e.event for e in await read(destination)][1:] == sent


async def test_an_account_without_events_is_published(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    writer.state = State.CUT
    assert await writer.append() == Appended(1)
    assert (await facts(destination)).account.state is State.CUT


async def test_what_is_below_keep_from_may_go_and_is_told(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    for seq in range(10):
        await writer.append(*frames(writer.next_position, seq))
    await send(destination.publisher, writer.batch(*frames(11, 10), keep_from=Mark(1, 6)))
    assert (await facts(destination)).first_kept == 6
    assert positions(await read(destination)) == list(range(6, 12))


async def test_what_a_newer_generation_forgets_may_be_in_an_older_one(
    destination: Destination,
) -> None:
    older = await Writer.begin(destination.publisher, owner="older")
    await older.append(*frames(1, 0, 1, 2))
    newer = await Writer.begin(destination.publisher, opening(resume=True), owner="newer")
    await send(destination.publisher, newer.batch(*frames(5, 3), keep_from=Mark(1, 2)))
    assert positions(await read(destination)) == [2, 3, 4, 5]


async def test_a_start_said_again_answers_only_its_owner_and_announces(
    destination: Destination,
) -> None:
    wish = opening()
    first = await begin(destination.publisher, wish, owner="one", has_token=False)
    again = await destination.publisher.begin(wish, owner="one", has_token=False, again=True)
    assert again == first
    assert await destination.publisher.begin(
        wish, owner="two", has_token=False, again=True
    ) == Fenced(1)
    unknown = await destination.publisher.begin(
        opening("ghost"), owner="one", has_token=False, again=True
    )
    assert isinstance(unknown, Fenced)
    assert await read(destination, "ghost") == []
    assert len(await read(destination)) == 1
    assert await announced(destination) == [("tenant/call", False, 1)]


async def test_an_end_said_again_is_announced_again(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    ended = InteractionEnded(1, EndReason.ENDED, writer.account.ledger)
    batch = writer.batch(ended)
    for _ in range(2):
        assert await send(destination.publisher, batch) == Appended(2)
    assert len(await read(destination)) == 2
    assert await announced(destination) == [("tenant/call", False, 1), ("tenant/call", True, 1)]


async def test_every_kind_of_event_is_read_back_as_it_was(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher)
    sent: tuple[Event, ...] = (
        *frames(1, 0),
        GapDetected(2, 1, 10**12),
        *frames(3, 10**12 + 1),
        SignalReceived(4, Signal.DTMF, '{"digit":"5"}'),
        SignalReceived(5, Signal.MARK, '{"name":"größe"}'),
    )
    await writer.append(*sent)
    await writer.end()
    events = [e.event for e in await read(destination)]
    assert events[1:6] == list(sent)
    assert isinstance(events[6], InteractionEnded)


async def test_an_unplugged_destination_raises_with_a_cause_and_recovers(bench: Bench) -> None:
    destination = bench.connect()
    writer = await Writer.begin(destination.publisher)
    await writer.append(*frames(1, 0))
    await bench.trial.unplug()
    batch = writer.batch(*frames(2, 1))
    for call in (
        lambda: destination.publisher.append([batch]),
        lambda: destination.publisher.begin(opening("new"), owner="o", has_token=False),
        lambda: destination.publisher.reclaim(
            [Reclaim(writer.lease, "run", opening(), has_token=False, above=1, owner="again")]
        ),
        destination.publisher.announce_again,
        lambda: destination.open_runs.tend([opening().stream]),
        destination.open_runs.beats,
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


async def announced(destination: Destination) -> list[tuple[str, bool, int]]:
    """All announcements, page by page, a repeat dropped by its event_id."""
    found: dict[str, tuple[str, bool, int]] = {}
    cursor = None
    while page := await destination.reader.announcements(cursor):
        for said in page:
            found[said.event_id] = (str(said.stream), said.has_ended, said.generation)
        cursor = page[-1].cursor
    return list(found.values())


async def test_a_follower_hears_of_every_start_and_end(bench: Bench) -> None:
    destination, follower = bench.connect(), bench.connect()
    writer = await Writer.begin(destination.publisher, owner="one")
    assert await announced(follower) == [("tenant/call", False, 1)]
    await writer.append(*frames(1, 0))
    await Writer.begin(destination.publisher, opening("other"), owner="two")
    await Writer.begin(destination.publisher, owner="three")  # ends the open run first
    last = await Writer.begin(destination.publisher, opening(resume=True), owner="four")
    await last.end()
    assert await announced(follower) == [
        ("tenant/call", False, 1),
        ("tenant/other", False, 1),
        ("tenant/call", True, 1),
        ("tenant/call", False, 2),
        ("tenant/call", False, 3),
        ("tenant/call", True, 3),
    ]


async def test_an_announcement_tells_where_to_look(destination: Destination) -> None:
    wish = replace(opening("stream"), interaction_id=InteractionId("conversation"))
    await Writer.begin(destination.publisher, wish)
    (said,) = await destination.reader.announcements()
    assert (said.stream, said.interaction_id) == (wish.stream, InteractionId("conversation"))
    assert await destination.reader.announcements(said.cursor) == []


async def test_a_stream_can_be_read_on_after_an_event(destination: Destination) -> None:
    writer = await Writer.begin(destination.publisher, owner="one")
    await writer.append(*frames(1, 0, 1))
    *_, last = await read(destination)
    newer = await Writer.begin(destination.publisher, opening(resume=True), owner="two")
    await newer.append(*frames(4, 2))
    later = [e async for e in destination.reader.read(opening().stream, last)]
    assert positions(later) == [3, 4]
