"""What a destination promises to those whose streams it has forgotten, wholly or partly.

The destination's past is staged by what a writer claims: it may hold a lease that the destination
never gave, or gave before it came back younger.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from bench import Bench, begin

from application.ports.destination import Destination
from application.ports.errors import BrokerUnavailable
from application.ports.publisher import (
    Appended,
    Batch,
    Fenced,
    Lease,
    Reclaim,
    Reclaimed,
    Vanished,
)
from application.ports.reader import PublishedEvent
from domain.account import Account, Grant, State
from domain.errors import NotAllowed
from domain.events import (
    ANEW,
    AudioAccepted,
    CallDetails,
    EndReason,
    GoOn,
    InteractionEnded,
    InteractionStarted,
    Opening,
)
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
LONG = 10**9
"""Milliseconds by which one lease is surely later than another."""


def opening(name: str = "call", *, resume: bool = False) -> Opening:
    stream = StreamKey(TenantId("tenant"), StreamId(name))
    continuation = GoOn() if resume else ANEW
    return Opening(stream, InteractionId(name), "d", MEDIA, 1, continuation, CallDetails("sid"))


@dataclass
class Known:
    """What the destination knows: a run with three frames, in its first generation."""

    grant: Grant
    lease: Lease
    account: Account
    tail: Batch

    def later(self, generation: int) -> Lease:
        """A lease that the destination gave later, and has forgotten."""
        return Lease(self.lease.stream, generation, "lost", self.lease.said_at_ms + LONG)


async def publish(destination: Destination, name: str = "call", *, owner: str = "owner") -> Known:
    grant = await begin(destination.publisher, opening(name), owner=owner, has_token=False)
    lease = Lease(opening(name).stream, grant.generation, owner, grant.said_at_ms)
    first = grant.account.next_position + 1
    frames = tuple(
        AudioAccepted(first + n, AudioFrame(MEDIA, 5 + n, 1, bytes([n]) * 320)) for n in range(3)
    )
    ledger = Ledger(received=4, published=3, duplicate=1, bytes=960, audio_ms=60)
    account = Account(first + 3, 5, 7, ledger, State.LIVE)
    batch = Batch(lease, InteractionId(name), first, frames, account)
    assert list(await destination.publisher.append([batch])) == [Appended(first + 3)]
    late = AudioAccepted(first + 3, AudioFrame(MEDIA, 8, 1, b"late"))
    tail = Batch(
        lease,
        InteractionId(name),
        first + 3,
        (late,),
        replace(account, next_position=first + 4, last_seq=8),
    )
    return Known(grant, lease, account, tail)


async def finish(destination: Destination, known: Known) -> None:
    position = known.account.next_position
    ended = InteractionEnded(position, EndReason.ENDED, known.account.ledger)
    account = replace(known.account, next_position=position + 1, state=State.ENDED)
    batch = Batch(known.lease, known.tail.interaction_id, position, (ended,), account)
    assert list(await destination.publisher.append([batch])) == [Appended(position + 1)]


def wish(lease: Lease, run: str, *, above: int, owner: str = "again", **more: Any) -> Reclaim:
    its = opening(lease.stream.stream_id)
    return Reclaim(lease, run, its, **{"has_token": False, **more}, above=above, owner=owner)


async def reclaim(destination: Destination, its: Reclaim) -> Reclaimed:
    (outcome,) = await destination.publisher.reclaim([its])
    return outcome


async def append(destination: Destination, batch: Batch) -> object:
    (outcome,) = await destination.publisher.append([batch])
    return outcome


async def read(destination: Destination, name: str = "call") -> list[PublishedEvent]:
    async with aclosing(destination.reader.read(opening(name).stream)) as events:  # type: ignore[type-var]
        return [event async for event in events]


async def announced(destination: Destination) -> list[tuple[str, bool, int]]:
    """All announcements, a repeat dropped by its event_id."""
    found: dict[str, tuple[str, bool, int]] = {}
    for said in await destination.reader.announcements():
        found[said.event_id] = (said.stream.stream_id, said.has_ended, said.generation)
    return list(found.values())


async def everything(destination: Destination, name: str = "call") -> Sequence[object]:
    facts = await destination.reader.facts(opening(name).stream)
    return await read(destination, name), facts, await destination.reader.announcements()


# reclaim


async def test_a_stream_that_is_not_known_begins_at_0_resumed_and_empty(bench: Bench) -> None:
    destination, other = bench.connect(), bench.connect()
    lease = Lease(opening().stream, 3, "lost", LONG)
    grant = await reclaim(destination, wish(lease, "run", above=5))
    assert grant == Grant(6, resumed=True, account=Account())
    assert isinstance(grant, Grant)
    assert grant.run == "run"
    its = replace(opening(), continuation=GoOn())
    assert await read(other) == [
        PublishedEvent(6, InteractionStarted(0, 6, resumed=True, opening=its))
    ]
    assert await announced(other) == [("call", False, 6)]
    late = Batch(replace(lease, generation=6, owner="again"), its.interaction_id, 1, (), Account(1))
    assert await append(destination, late) == Appended(1)
    assert await append(destination, replace(late, lease=lease)) == Fenced(6)


async def test_a_run_that_is_known_in_a_younger_past_goes_on_where_it_stands(
    destination: Destination,
) -> None:
    known = await publish(destination)
    grant = await reclaim(destination, wish(known.later(3), known.grant.run, above=3))
    assert grant == Grant(4, resumed=True, account=known.account)
    *before, last = await read(destination)
    assert len(before) == known.account.next_position
    assert last.generation == 4
    assert isinstance(last.event, InteractionStarted)
    assert (last.event.position, last.event.resumed) == (known.account.next_position, True)
    assert await announced(destination) == [("call", False, 1), ("call", False, 4)]
    assert await append(destination, known.tail) == Fenced(4)
    moved = replace(
        known.tail,
        lease=Lease(known.lease.stream, 4, "again"),
        first_position=5,
        events=[replace(known.tail.events[0], position=5)],
        account=replace(known.tail.account, next_position=6),
    )
    assert await append(destination, moved) == Appended(6)


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_run_behind_another_one_is_no_resumption_and_ends_the_other_if_it_is_open(
    destination: Destination, *, is_open: bool
) -> None:
    known = await publish(destination)
    if not is_open:
        await finish(destination, known)
    grant = await reclaim(destination, wish(known.later(2), "another run", above=2))
    assert grant == Grant(3, resumed=False, account=Account(5))
    assert isinstance(grant, Grant)
    assert grant.run == "another run"
    *_, ended, started = await read(destination)
    assert isinstance(ended.event, InteractionEnded)
    assert (ended.generation, ended.event.position) == (1, 4)
    assert ended.event.ledger == known.account.ledger
    assert ended.event.reason is (EndReason.DISCONNECTED if is_open else EndReason.ENDED)
    assert not ended.event.recovered
    assert isinstance(started.event, InteractionStarted)
    assert (started.event.position, started.event.resumed) == (5, False)
    assert await announced(destination) == [
        ("call", False, 1), ("call", True, 1), ("call", False, 3),
    ]  # fmt: skip
    again = await begin(
        destination.publisher, opening(resume=True), owner="resumes", has_token=False
    )
    assert (again.resumed, again.run) == (True, "another run")


async def test_its_own_run_that_is_known_to_have_ended_goes_on_with_an_empty_account(
    destination: Destination,
) -> None:
    known = await publish(destination)
    await finish(destination, known)
    grant = await reclaim(destination, wish(known.lease, known.grant.run, above=1))
    assert grant == Grant(2, resumed=False, account=Account(5))


@pytest.mark.parametrize("case", ["above", "generation", "granted", "stranger before"])
async def test_a_writer_that_is_not_the_last_is_fenced_and_changes_nothing(
    destination: Destination, case: str
) -> None:
    known = await publish(destination)
    for owner in ("second", "third"):
        grant = await begin(
            destination.publisher, opening(resume=True), owner=owner, has_token=False
        )
    held = Lease(known.lease.stream, 3, "third", grant.said_at_ms)
    later = known.later(7)
    wishes = {
        "above": wish(held, grant.run, above=2),
        "generation": wish(replace(later, generation=3), grant.run, above=3),
        "granted": wish(replace(later, said_at_ms=grant.said_at_ms - 1), grant.run, above=7),
        "stranger before": wish(
            replace(later, generation=3), grant.run, above=3, predecessor="second"
        ),
    }
    before = await everything(destination)
    for _ in range(2):
        assert await reclaim(destination, wishes[case]) == Fenced(3)
    assert await everything(destination) == before
    assert await append(destination, replace(known.tail, lease=held, first_position=6, events=(),
                                             account=replace(known.account, next_position=6),
    )) == Appended(6)  # fmt: skip


async def test_a_writer_goes_on_behind_its_own_lease_and_behind_its_predecessor(
    destination: Destination,
) -> None:
    known = await publish(destination)
    own = await reclaim(destination, wish(known.lease, known.grant.run, above=1, owner="first"))
    assert own == Grant(2, resumed=True, account=known.account)
    earlier = replace(known.later(2), said_at_ms=0)
    behind = wish(earlier, known.grant.run, above=2, owner="second", predecessor="first")
    after = await reclaim(destination, behind)
    assert after == Grant(3, resumed=True, account=replace(known.account, next_position=5))


@pytest.mark.parametrize("times", [1, 3])
async def test_who_was_granted_the_stream_later_has_it_back_from_who_only_reclaimed_it(
    destination: Destination, *, times: int
) -> None:
    """All was forgotten, and an older process came first; its numbers say nothing."""
    stream, early = opening().stream, None
    lease = Lease(stream, 1, "early", LONG)
    for turn in range(times):
        early = await reclaim(
            destination, wish(lease, "run", above=turn + 1, owner=f"again {turn}")
        )
        assert isinstance(early, Grant)
        assert early.said_at_ms == LONG
        lease = Lease(stream, early.generation, f"again {turn}", early.said_at_ms)
    late = Lease(stream, 2, "late", 2 * LONG)
    asks = Batch(late, opening().interaction_id, 5, (), Account(5))
    outcome = await append(destination, asks)
    assert outcome == Fenced(times + 1)
    assert isinstance(outcome, Fenced)
    assert outcome.is_past
    its = await reclaim(destination, wish(late, "run", above=2, owner="late again"))
    assert its == Grant(max(2, times + 1) + 1, resumed=True, account=Account(times))
    assert isinstance(its, Grant)
    assert its.said_at_ms == 2 * LONG
    outcome = await append(destination, replace(asks, lease=lease))
    assert outcome == Fenced(its.generation)
    assert isinstance(outcome, Fenced)
    assert not outcome.is_past
    refused = wish(lease, "run", above=its.generation, owner="early again")
    assert await reclaim(destination, refused) == Fenced(its.generation)


@pytest.mark.parametrize("by", ["resumes", "begins anew", "recovers"])
async def test_a_fenced_writer_is_told_behind_which_of_its_frames_nothing_stands(
    destination: Destination, by: str
) -> None:
    """Whoever ends the run for it writes under its generation: that is no frame of the writer's."""
    known = await publish(destination)
    if by == "recovers":
        await destination.open_runs.tend([known.lease.stream])
        ((stream, beat),) = (await destination.open_runs.beats()).items()
        assert await destination.open_runs.end_untended(stream, beat)
    else:
        its = opening(resume=by == "resumes")
        await begin(destination.publisher, its, owner="another", has_token=False)
    outcome = await append(destination, known.tail)
    assert isinstance(outcome, Fenced)
    assert outcome.stands == known.account.next_position


async def test_who_begins_the_stream_is_not_the_past_of_anybody(destination: Destination) -> None:
    await reclaim(destination, wish(Lease(opening().stream, 1, "early", LONG), "run", above=1))
    await begin(destination.publisher, opening(resume=True), owner="begins", has_token=False)
    late = Lease(opening().stream, 2, "late", 10**15)
    outcome = await append(destination, Batch(late, opening().interaction_id, 1, (), Account(1)))
    assert outcome == Fenced(3)
    assert isinstance(outcome, Fenced)
    assert not outcome.is_past


async def test_a_wish_repeated_by_the_same_owner_is_answered_the_same_and_happens_once(
    bench: Bench,
) -> None:
    destination, other = bench.connect(), bench.connect()
    known = await publish(destination)
    for its in (
        wish(known.later(3), known.grant.run, above=3),
        wish(Lease(opening("gone").stream, 1, "lost"), "run", above=1),
    ):
        name = its.lease.stream.stream_id
        first = await reclaim(destination, its)
        before = await read(destination, name), await announced(destination)
        for somebody in (destination, other):
            assert await reclaim(somebody, its) == first
        assert (await read(destination, name), await announced(destination)) == before


async def test_each_wish_has_its_own_outcome_in_order(destination: Destination) -> None:
    known, newer = await publish(destination, "known"), await publish(destination, "newer")
    ghost = Lease(opening("ghost").stream, 1, "lost")
    outcomes = await destination.publisher.reclaim(
        [
            wish(newer.later(0), newer.grant.run, above=0),
            wish(ghost, "run", above=1),
            wish(known.later(8), known.grant.run, above=8),
        ]
    )
    assert list(outcomes) == [
        Fenced(1),
        Grant(2, resumed=True, account=Account()),
        Grant(9, resumed=True, account=known.account),
    ]
    assert list(await destination.publisher.reclaim([])) == []


async def test_a_run_that_was_begun_with_a_token_is_still_guarded_by_it(
    destination: Destination,
) -> None:
    lease = Lease(opening().stream, 1, "lost")
    await reclaim(destination, wish(lease, "run", above=1, has_token=True))
    with pytest.raises(NotAllowed):
        await destination.publisher.begin(opening(resume=True), owner="thief", has_token=False)


# begin


async def test_a_begin_within_the_epoch_begins_and_one_in_another_changes_nothing(
    bench: Bench,
) -> None:
    destination = bench.connect()
    publisher = destination.publisher
    known = await publish(destination)
    epoch = publisher.epoch
    before = await everything(destination)
    await bench.trial.unplug()
    await bench.trial.plug()
    for owner, again in (("two", False), ("three", True)):
        with pytest.raises(BrokerUnavailable):
            await publisher.begin(opening(), owner=owner, has_token=False, again=again, epoch=epoch)
    await destination.verify_writable()
    assert await everything(destination) == before
    assert await append(destination, known.tail) == Appended(5)
    grant = await publisher.begin(opening(), owner="two", has_token=False, epoch=publisher.epoch)
    assert isinstance(grant, Grant)
    assert grant.generation == 2


async def test_the_epoch_grows_when_the_destination_was_away_and_not_otherwise(
    bench: Bench,
) -> None:
    destination = bench.connect()
    known = await publish(destination)
    epochs = [destination.publisher.epoch]
    for _ in range(3):
        await destination.verify_writable()
        await append(destination, known.tail)
        assert destination.publisher.epoch == epochs[-1]
    for _ in range(2):
        await bench.trial.unplug()
        with pytest.raises(BrokerUnavailable):
            await destination.verify_writable()
        await bench.trial.plug()
        await destination.verify_writable()
        epochs.append(destination.publisher.epoch)
    assert epochs[0] < epochs[1] < epochs[2]


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_owner_that_was_told_that_it_holds_nothing_begins_nothing_later(
    bench: Bench, *, is_known: bool
) -> None:
    destination, other = bench.connect(), bench.connect()
    known = await publish(destination) if is_known else None
    generation = int(is_known)
    before = await everything(destination)
    late = [(destination, True), (destination, False), (other, False), (other, True)]
    for where, again in late:
        outcome = await where.publisher.begin(
            opening(), owner="given up", has_token=False, again=again
        )
        assert outcome == Fenced(generation)
    assert await everything(destination) == before
    if known is not None:
        assert await append(destination, known.tail) == Appended(5)
    grant = await begin(other.publisher, opening(), owner="another", has_token=False)
    assert grant.generation == generation + 1


# announce_again


async def test_what_was_announced_is_known_once_the_destination_is_back(bench: Bench) -> None:
    destination, follower = bench.connect(), bench.connect()
    await finish(destination, await publish(destination))
    await reclaim(destination, wish(Lease(opening("gone").stream, 1, "lost"), "run", above=1))
    expected = [("call", False, 1), ("call", True, 1), ("gone", False, 2)]
    await destination.publisher.announce_again()  # nothing is missing
    assert len(await follower.reader.announcements()) == len(expected)
    await bench.trial.unplug()
    with pytest.raises(BrokerUnavailable):
        await destination.publisher.announce_again()
    await bench.trial.plug()
    await destination.verify_writable()
    await destination.publisher.announce_again()
    assert await announced(follower) == expected


async def test_what_was_forgotten_with_its_stream_is_not_announced_again(bench: Bench) -> None:
    destination, follower = bench.connect(), bench.connect()
    known = await publish(destination)
    await finish(destination, await publish(destination, "other"))
    await bench.trial.wipe()
    await reclaim(destination, wish(known.lease, known.grant.run, above=1))
    for _ in range(2):
        await destination.publisher.announce_again()
        assert await announced(follower) == [("call", False, 2)]
    assert len(await follower.reader.announcements()) == 1


# Trial


async def test_a_wiped_destination_knows_nothing_and_takes_everything(bench: Bench) -> None:
    destination = bench.connect()
    await destination.open_runs.tend([opening().stream])
    known = await publish(destination)
    await publish(destination, "other")
    await bench.trial.wipe()
    assert await everything(destination) == ([], None, [])
    assert await read(destination, "other") == []
    assert await destination.open_runs.beats() == {}
    assert await append(destination, known.tail) == Vanished()
    await destination.verify_writable()
    assert (await publish(destination, owner="new")).grant.generation == 1
