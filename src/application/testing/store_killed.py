"""Tests of a store's promises if the appending process is killed."""

import asyncio

import pytest

from application.ports.store import Append, Failed
from application.testing.appends import as_stored, begin, begin_with, following, frames, stream
from application.testing.killed_process import append_and_be_killed
from application.testing.observed import (
    all_announced,
    attempt,
    expected,
    facts,
    head,
    read,
    settle,
    store,
)
from application.testing.other_process import OtherProcess
from application.testing.running import Contract
from application.testing.trial import Trial


class KilledContract(Contract):
    """Stored appends are complete and announced, wherever the process is killed."""

    async def test_all_or_nothing_also_where_a_process_is_killed_at_any_line_of_an_append(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        begun = [begin(stream(f"call-{number}"), None) for number in range(trial.kills + 1)]
        await store(destination, *begun)
        appends = [following(it.head, *frames(it.stream, 0, 3)) for it in begun]
        made = await append_and_be_killed(trial, appends)
        for first, second in zip(begun[:made], appends, strict=False):
            key = first.stream
            after = await head(destination, key)
            assert after in (as_stored(first.head), as_stored(second.head))
            stored = [first] if after == as_stored(first.head) else [first, second]
            assert await read(destination, key) == expected(*stored)
            await settle(destination, [second])
            assert await read(destination, key) == expected(first, second)

    async def test_announced_also_what_a_process_stored_that_was_killed_at_any_line(
        self, trial: Trial
    ) -> None:
        """The next append or read of heads, by any process, announces it."""
        destination = trial.connect()
        names = [f"call-{number}" for number in range(trial.kills + 1)]
        appends = [begin_with(stream(it), *frames(stream(it), 0, 2)) for it in names]
        made = await append_and_be_killed(trial, appends)
        heads = (await destination.store.heads([it.stream for it in appends[:made]])).heads
        known = await all_announced(destination)
        for append, found in zip(appends, heads, strict=False):
            assert not isinstance(found, Failed)
            assert as_stored(found) in (None, as_stored(append.head))
            told = facts(known.get(append.stream, ()))
            assert [kind for kind, *_ in told] == ([] if found is None else ["started"])
        await settle(destination, appends[:made])
        assert set(await all_announced(destination)) == {it.stream for it in appends[:made]}

    async def test_all_or_nothing_also_where_a_process_is_killed_in_the_middle_of_many(
        self, trial: Trial
    ) -> None:
        """Each append is stored completely or not at all; then another process can store it."""
        destination = trial.connect()
        for number in range(8):
            other = await trial.connect_elsewhere()
            if not isinstance(other, OtherProcess):
                pytest.skip(f"{trial.adapter.name} is not shared")
            begun = [begin(stream(f"call-{number}-{place}"), None) for place in range(40)]
            await store(other, *begun)
            appends: list[Append] = [following(it.head, *frames(it.stream, 0, 20)) for it in begun]
            keys = [it.stream for it in begun]
            watched = keys[number * 5]
            before = await head(destination, watched)
            sending = asyncio.create_task(attempt(other, appends))
            while not sending.done() and await head(destination, watched) == before:
                pass
            await other.kill()
            await asyncio.gather(sending, return_exceptions=True)
            for key in keys:
                found = await head(destination, key)
                assert found is not None
                assert len(await read(destination, key)) == found.next_position
            await settle(destination, appends)
