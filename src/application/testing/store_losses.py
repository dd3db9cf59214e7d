"""Tests of what a store says of what it has lost, wholly, lately or by half."""

from dataclasses import replace

from application.ports.store import Conflict
from application.testing.appends import (
    as_stored,
    begin,
    begin_with,
    frame,
    frames,
    go_on,
    stream,
)
from application.testing.observed import (
    announced,
    expected,
    head,
    read,
    send,
    settle,
    store,
    until_answered,
)
from application.testing.trial import Contract, Trial

CALL = stream("call")


class LossContract(Contract):
    """What is lost is told, and a stream goes on."""

    async def test_entries_lost_is_told_and_the_next_append_goes_on_behind_them(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        await trial.evict_entries(CALL)
        late = go_on(first.head, frame(CALL, 3))
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
        outcome = await send(destination, go_on(second.head, frame(CALL, 3)))
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
        second = go_on(first.head, *frames(CALL, 3, 3))
        await store(destination, second, begin(stream("younger"), None))
        before = destination.store.epoch_of(CALL)
        await trial.roll_back()
        third = go_on(second.head, frame(CALL, 6))
        await until_answered(destination)
        assert destination.store.epoch_of(CALL) > before
        assert await send(destination, third) == Conflict(as_stored(first.head))
        assert await read(destination, CALL) == expected(first)
        assert await head(destination, stream("younger")) is None
        await settle(destination, [second])
        await settle(destination, [third])
        assert await read(destination, CALL) == expected(first, second, third)

    async def test_wiped_streams_are_unknown_and_begin_again(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        await trial.wipe()
        await until_answered(destination)
        assert await head(destination, CALL) is None
        assert await send(destination, go_on(first.head, frame(CALL, 3))) == Conflict(None)
        again = begin_with(CALL, frame(CALL, 9))
        await store(destination, again)
        assert await read(destination, CALL) == expected(again)
        assert len(await announced(destination, CALL)) >= 1
