"""Tests of a store's promises about one stream."""

import asyncio
from dataclasses import replace

from application.ports.store import APPENDED, Append, Conflict, Failed, Mark
from application.testing.appends import (
    as_stored,
    begin,
    begin_with,
    cut,
    following,
    frame,
    frames,
    replace_append,
    stream,
)
from application.testing.conditions import refusing_writes
from application.testing.observed import (
    attempt,
    expected,
    head,
    read,
    send,
    settle,
    store,
)
from application.testing.running import Contract
from application.testing.trial import Trial
from domain.entries import Ended, Started

CALL = stream("call")


class AppendContract(Contract):
    """An append changes its stream in one step, or not at all."""

    async def test_all_or_nothing_a_refused_append_changes_nothing_and_is_stored_later(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        large = following(first.head, *(frame(CALL, seq, size=9_600) for seq in range(3, 60)))
        async with refusing_writes(trial):
            (outcome,) = await attempt(destination, [large])
            assert isinstance(outcome, Failed)
        after = await head(destination, CALL)
        assert after in (as_stored(first.head), as_stored(large.head))
        stored = [first] if after == as_stored(first.head) else [first, large]
        assert await read(destination, CALL) == expected(*stored)
        await settle(destination, [large])
        assert await read(destination, CALL) == expected(first, large)

    async def test_all_or_nothing_entries_are_there_with_their_head_or_not_at_all(
        self, trial: Trial
    ) -> None:
        """Wherever an append is interrupted, no half of it is visible, and it can be sent again."""
        destination, other = trial.connect(), trial.connect()
        await store(destination, *(begin(stream(f"c{n}"), None) for n in range(12)))
        for number in range(12):
            key = stream(f"c{number}")
            begun = await destination.reader.head(key)
            assert begun is not None
            append = following(begun, *frames(key, 0, 50))
            task = asyncio.create_task(attempt(destination, [append]))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            before = await head(other, key)
            entries = await read(other, key)
            after = await head(other, key)
            assert before in (as_stored(begun), as_stored(append.head))
            assert len(entries) in {1, 51}
            assert before != after or after is None or len(entries) == after.next_position
            await settle(destination, [append])
            assert len(await read(other, key)) == 51

    async def test_compare_and_set_of_many_that_expect_the_same_one_is_stored(
        self, trial: Trial
    ) -> None:
        processes = [trial.connect(), await trial.connect_elsewhere()]
        written = [begin(CALL, None)]
        await store(processes[0], *written)
        for number in range(8):
            rivals = [
                following(written[-1].head, frame(CALL, number * 10 + place)) for place in range(6)
            ]
            outcomes = await asyncio.gather(
                *(send(processes[place % 2], rival) for place, rival in enumerate(rivals))
            )
            assert outcomes.count(APPENDED) == 1
            written.append(rivals[outcomes.index(APPENDED)])
            for outcome in outcomes:
                assert outcome in (APPENDED, Conflict(as_stored(written[-1].head)))
        assert await read(processes[0], CALL) == expected(*written)

    async def test_compare_and_set_of_many_that_make_a_stream_one_does(self, trial: Trial) -> None:
        processes = [trial.connect(), await trial.connect_elsewhere()]
        rivals = [begin_with(CALL, frame(CALL, number)) for number in range(6)]
        outcomes = await asyncio.gather(
            *(send(processes[place % 2], rival) for place, rival in enumerate(rivals))
        )
        assert outcomes.count(APPENDED) == 1
        assert await read(processes[0], CALL) == expected(rivals[outcomes.index(APPENDED)])

    async def test_compare_and_set_a_late_append_changes_nothing(self, trial: Trial) -> None:
        destination = trial.connect()
        written = [begin(CALL, None)]
        for number in range(4):
            written.append(following(written[-1].head, *frames(CALL, number * 3, 3)))
        for append in written:
            await store(destination, append)
        late = [following(append.head, frame(CALL, 99)) for append in written[:-1]]
        another = begin_with(CALL, frame(CALL, 98))
        for append in (*written[:-1], *late, another):
            assert await send(destination, append) == Conflict(as_stored(written[-1].head))
        assert await read(destination, CALL) == expected(*written)
        assert await head(destination, CALL) == as_stored(written[-1].head)

    async def test_compare_and_set_an_append_to_a_stream_that_is_not_there_makes_none(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        late = following(begin(CALL, None).head, frame(CALL, 0))
        assert await send(destination, late) == Conflict(None)
        assert await head(destination, CALL) is None
        assert await read(destination, CALL) == []
        first = begin(CALL, None)
        await store(destination, first)
        assert await read(destination, CALL) == expected(first)

    async def test_idempotent_an_append_sent_again_is_stored_once_and_finds_its_own_head(
        self, trial: Trial
    ) -> None:
        here, elsewhere = trial.connect(), await trial.connect_elsewhere()
        first = begin_with(CALL, *frames(CALL, 0, 2))
        second = following(first.head, *frames(CALL, 2, 2))
        alone = cut(second.head)
        for append in (first, second, alone):
            await store(here, append)
            assert await send(here, append) == Conflict(as_stored(append.head))
            assert await send(elsewhere, append) == Conflict(as_stored(append.head))
        assert await read(here, CALL) == expected(first, second)

    async def test_dense_entries_take_the_positions_that_their_head_says(
        self, trial: Trial
    ) -> None:
        """Over several generations, in one append or many, with updates of the head in between."""
        destination = trial.connect()
        written = [begin_with(CALL, *frames(CALL, 0, 2))]
        written.append(begin(CALL, written[-1].head, resumes=True))
        written.append(cut(written[-1].head))
        written.append(following(written[-1].head, *frames(CALL, 7, 2)))  # after a gap
        written.append(begin(CALL, written[-1].head))  # ends the run before it
        written.append(following(written[-1].head, *frames(CALL, 0, 3), end=True))
        for append in written:
            await store(destination, append)
            assert await head(destination, CALL) == as_stored(append.head)
        entries = await read(destination, CALL)
        assert entries == expected(*written)
        assert [it.position for it in entries] == list(range(written[-1].head.next_position))
        assert [it.generation for it in entries if isinstance(it.entry, Started)] == [1, 2, 3]
        assert [it.generation for it in entries if isinstance(it.entry, Ended)] == [2, 3]

    async def test_dense_what_is_older_than_retention_is_removed_and_nothing_else(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        written = [begin_with(CALL, *frames(CALL, 0, 9))]
        await store(destination, *written)
        for keep_from in (Mark(1, 4), Mark(1, 2), Mark(1, 8)):
            last = written[-1].head
            written.append(
                following(last, frame(CALL, last.account.ledger.published), keep_from=keep_from)
            )
            await store(destination, written[-1])
            kept = written[-1].head.first_kept
            assert await read(destination, CALL) == expected(*written)[kept:]
            assert await head(destination, CALL) == as_stored(written[-1].head)

    async def test_dense_what_is_removed_takes_no_space(self, trial: Trial) -> None:
        """A reader does not see it in either case, so the storage itself is examined."""
        destination = trial.connect()
        last = begin_with(CALL, *frames(CALL, 0, 299))
        await store(destination, last)
        assert await trial.count_entries(CALL) == 300
        for kept_from in (1, 100, 299, 303):
            seq = last.head.account.ledger.published
            last = following(last.head, frame(CALL, seq), keep_from=Mark(1, kept_from))
            await store(destination, last)
            assert await trial.count_entries(CALL) == last.head.next_position - kept_from

    async def test_dense_a_mark_of_an_older_generation_removes_nothing_of_a_newer_one(
        self, trial: Trial
    ) -> None:
        """A lost stream is rebased from 0, so its positions are below older marks."""
        destination = trial.connect()
        old = begin(CALL, None)
        newer = begin(CALL, old.head)
        account = replace(newer.head.account, next_position=1)
        at_0 = replace(newer.head, account=account, begun_at=0)
        again = Append(CALL, None, newer.segments[-1:], at_0, Mark(1, 3))
        await store(destination, again)
        more = following(at_0, *frames(CALL, 0, 2))
        await store(destination, replace_append(more, keep_from=Mark(1, 3)))
        assert [(it.generation, it.position) for it in await read(destination, CALL)] == [
            (2, position) for position in range(3)
        ]

    async def test_dense_all_that_is_kept_may_be_removed_and_the_stream_continues(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        written = [begin_with(CALL, *frames(CALL, 0, 3))]
        await store(destination, *written)
        written.append(following(written[-1].head, keep_from=Mark(1, 4)))
        await store(destination, written[-1])
        assert await read(destination, CALL) == []
        assert await head(destination, CALL) == as_stored(written[-1].head)
        written.append(following(written[-1].head, frame(CALL, 3)))
        await store(destination, written[-1])
        assert await read(destination, CALL) == expected(*written)[4:]
