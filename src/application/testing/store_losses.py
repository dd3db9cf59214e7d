"""Tests of how a store reports losses: of everything, of the newest entries, of one half."""

from contextlib import suppress
from dataclasses import replace

import pytest

from application.ports.errors import PublisherError
from application.ports.store import Appended, Conflict, Failed, Mark
from application.testing.appends import (
    as_stored,
    begin,
    begin_with,
    following,
    frame,
    frames,
    stream,
)
from application.testing.conditions import unplugged
from application.testing.observed import (
    announced,
    attempt,
    expected,
    head,
    read,
    send,
    settle,
    store,
    until_answered,
)
from application.testing.running import Contract
from application.testing.trial import Trial

CALL = stream("call")


class LossContract(Contract):
    """Losses are reported, and a stream continues."""

    async def test_durable_epoch_grows_with_an_outage_that_was_noticed(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin(CALL, None)
        await store(destination, first)
        before = destination.store.epoch_of(CALL)
        async with unplugged(trial):
            await attempt(destination, [following(first.head, frame(CALL, 0))])
        await settle(destination, [following(first.head, frame(CALL, 0))])
        assert destination.store.epoch_of(CALL) > before

    async def test_durable_epoch_is_steady_while_nothing_is_lost(self, trial: Trial) -> None:
        """Each time it grows, all confirmed entries must be proved again."""
        destination, other = trial.connect(), await trial.connect_elsewhere()
        written = [begin(CALL, None)]
        await store(destination, *written)
        await destination.store.heads([CALL])
        before = destination.store.epoch_of(CALL)
        for number in range(20):
            last = written[-1].head
            written.append(following(last, frame(CALL, number), keep_from=Mark(1, number // 2)))
            await store(other if number % 4 == 3 else destination, written[-1])
            assert isinstance((await attempt(destination, written[:1]))[0], Conflict)
            await destination.store.heads([CALL, stream("unknown")])
            await destination.verify_writable()
            await destination.open_runs.heartbeat([CALL])
            await destination.open_runs.heartbeats()
            await announced(destination, CALL)
            await read(destination, CALL)
            assert destination.store.epoch_of(CALL) == before

    async def test_entries_lost_is_told_and_the_next_append_continues_after_them(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        await trial.evict_entries(CALL)
        late = following(first.head, frame(CALL, 3))
        outcome = await send(destination, late)
        assert isinstance(outcome, Conflict)
        told = outcome.head
        assert told is not None
        assert told.entries_lost
        assert told.revision != first.head.revision
        assert replace(told, revision="", entries_lost=False) == replace(
            as_stored(first.head) or first.head, revision=""
        )
        assert await head(destination, CALL) == told
        assert await read(destination, CALL) == []
        second = begin(CALL, told)
        await store(destination, second)
        assert await head(destination, CALL) == as_stored(second.head)
        entries = await read(destination, CALL)
        assert [it.position for it in entries] == list(
            range(second.head.first_kept, second.head.next_position)
        )
        assert await send(destination, late) == Conflict(as_stored(second.head))

    async def test_account_lost_makes_a_head_of_the_last_entry(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        second = begin(CALL, first.head, resumes=True)
        await store(destination, first)
        await store(destination, second)
        await trial.evict_head(CALL)
        outcome = await send(destination, following(second.head, frame(CALL, 3)))
        assert isinstance(outcome, Conflict)
        told = outcome.head
        assert told is not None
        assert (told.account_lost, told.run) == (True, None)
        assert (told.lease.generation, told.lease.owner, told.lease.granted_at_ms) == (2, "", 0)
        assert told.next_position == second.head.next_position
        assert await head(destination, CALL) == told
        third = begin(CALL, told)
        await store(destination, third)
        assert await head(destination, CALL) == as_stored(third.head)
        entries = await read(destination, CALL)
        assert entries[-1].position == 5
        assert [it.position for it in entries] == list(range(third.head.first_kept, 6))

    async def test_rolled_back_heads_and_entries_are_those_of_the_past(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        await trial.save()
        second = following(first.head, *frames(CALL, 3, 3))
        await store(destination, second, begin(stream("younger"), None))
        before = destination.store.epoch_of(CALL)
        await trial.roll_back()
        third = following(second.head, frame(CALL, 6))
        await until_answered(destination)
        assert destination.store.epoch_of(CALL) > before
        assert await send(destination, third) == Conflict(as_stored(first.head))
        assert await read(destination, CALL) == expected(first)
        assert await head(destination, stream("younger")) is None
        await settle(destination, [second])
        await settle(destination, [third])
        assert await read(destination, CALL) == expected(first, second, third)

    async def test_honest_an_unreadable_head_is_an_error_and_no_unknown_stream(
        self, trial: Trial
    ) -> None:
        """Treated as missing, the stream starts over; treated as a loss, all are in doubt."""
        destination = trial.connect()
        spoilt, fine = begin_with(CALL, *frames(CALL, 0, 3)), begin(stream("fine"), None)
        await store(destination, spoilt, fine)
        before = destination.store.epoch_of(fine.stream)
        await trial.spoil_head(CALL)
        with pytest.raises(PublisherError):
            await head(destination, CALL)
        with pytest.raises(PublisherError):
            await destination.reader.head(CALL)
        appends = [begin_with(CALL, frame(CALL, 9)), following(fine.head, frame(fine.stream, 0))]
        outcomes = await attempt(destination, appends)
        assert isinstance(outcomes[0], Failed)
        assert outcomes[1] == Appended(), "it keeps no other stream from being stored"
        heads = (await destination.store.heads([CALL, fine.stream])).heads
        assert isinstance(heads[0], Failed)
        assert not isinstance(heads[1], Failed), "it keeps no other stream from being known"
        assert as_stored(heads[1]) == as_stored(appends[1].head)
        with suppress(PublisherError):
            assert await read(destination, CALL) == expected(spoilt), "it looks like an empty one"
        assert destination.store.epoch_of(fine.stream) == before

    async def test_wiped_streams_are_unknown_and_start_over(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        await trial.wipe()
        await until_answered(destination)
        assert await head(destination, CALL) is None
        assert await send(destination, following(first.head, frame(CALL, 3))) == Conflict(None)
        again = begin_with(CALL, frame(CALL, 9))
        await store(destination, again)
        assert await read(destination, CALL) == expected(again)
        assert len(await announced(destination, CALL)) >= 1
