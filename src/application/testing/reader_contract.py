"""The promises of `StreamReader`, as tests to inherit. A test's name begins with its promise."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from application.ports.errors import PublisherError
from application.ports.reader import PublishedEntry
from application.ports.store import Append, Mark
from application.testing.appends import (
    as_published,
    as_stored,
    begin,
    begin_with,
    following,
    frame,
    frames,
    stream,
    with_generations,
)
from application.testing.conditions import unplugged
from application.testing.observed import (
    all_announced,
    announced,
    expected,
    facts,
    read,
    settle,
    store,
    until_answered,
)
from application.testing.running import Contract
from application.testing.trial import Trial

CALL = stream("call")


def place(generation: int, position: int) -> PublishedEntry:
    """Return an entry as a reader remembers it, even if it has been removed."""
    return PublishedEntry(generation, position, frame(CALL, 0))


class ReaderContract(Contract):
    """The contract of `StreamReader`."""

    async def test_ordered_a_long_stream_comes_whole_by_position(self, trial: Trial) -> None:
        destination = trial.connect()
        written = [begin(CALL, None)]
        for number in range(8):
            written.append(following(written[-1].head, *frames(CALL, number * 300, 300)))
        for append in written:
            await store(destination, append)
        assert await read(await trial.connect_elsewhere(), CALL) == expected(*written)

    async def test_ordered_reading_while_entries_are_stored_and_removed_finds_no_hole(
        self, trial: Trial
    ) -> None:
        """Removed entries were read before, so an offset among the remaining ones is wrong."""
        destination, other = trial.connect(), trial.connect()
        last = begin_with(CALL, *frames(CALL, 0, 1_200))
        await store(destination, last)
        positions = []
        async for it in other.reader.read(CALL):
            positions.append(it.position)
            if it.position % 200 == 0:
                seq = last.head.account.ledger.published
                last = following(last.head, frame(CALL, seq), keep_from=Mark(1, it.position))
                await store(destination, last)
        assert positions == list(range(len(positions)))
        assert len(positions) >= 1_201

    async def test_resumable_after_an_entry_comes_the_rest(self, trial: Trial) -> None:
        destination = trial.connect()
        written = [begin_with(CALL, *frames(CALL, 0, 5))]
        written.append(begin(CALL, written[-1].head, resumes=True))
        for append in written:
            await store(destination, append)
        everything = expected(*written)
        for number, entry in enumerate(everything):
            assert await read(destination, CALL, entry) == everything[number + 1 :]
        assert await read(destination, CALL, place(1, 99)) == everything[-1:]
        assert await read(destination, CALL, place(9, 0)) == []

    async def test_resumable_after_an_entry_comes_a_stream_that_has_started_over(
        self, trial: Trial
    ) -> None:
        """After a loss the writer rebases the stream from 0 under a higher generation."""
        destination = trial.connect()
        old = begin_with(CALL, *frames(CALL, 0, 5))
        newer = begin(CALL, old.head)
        account = replace(newer.head.account, next_position=1)
        at_0 = replace(newer.head, account=account, begun_at=0)
        again = Append(CALL, None, newer.segments[-1:], at_0)
        await store(destination, again)
        found = await read(destination, CALL, place(1, 5))
        assert [(it.generation, it.position) for it in found] == [(2, 0)]

    async def test_honest_an_unknown_stream_is_empty_and_an_unreachable_one_raises(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        assert await read(destination, stream("unknown")) == []
        assert await destination.reader.head(stream("unknown")) is None
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: read(destination, CALL),
            lambda: read(destination, stream("unknown")),
            lambda: destination.reader.head(CALL),
            destination.reader.announcements,
        ]
        async with unplugged(trial):
            for call in calls:
                with pytest.raises(PublisherError) as error:
                    await call()
                assert error.value.__cause__ is not None
        await settle(destination, [following(first.head, frame(CALL, 3))])
        assert len(await read(destination, CALL)) == 5

    async def test_honest_head_is_the_one_that_the_store_has(self, trial: Trial) -> None:
        destination = trial.connect()
        first = begin_with(CALL, *frames(CALL, 0, 3))
        await store(destination, first)
        found = await (await trial.connect_elsewhere()).reader.head(CALL)
        assert as_stored(found) == as_stored(first.head)

    async def test_honest_newest_is_the_head_with_the_last_entry(self, trial: Trial) -> None:
        destination = trial.connect()
        assert await destination.reader.newest(CALL) is None
        begun = begin_with(CALL, *frames(CALL, 0, 3))
        resumed = begin(CALL, begun.head, resumes=True)
        other = await trial.connect_elsewhere()
        written: list[Append] = []
        for append in (begun, resumed, following(resumed.head, frame(CALL, 3))):
            await store(destination, append)
            written.append(append)
            newest = await other.reader.newest(CALL)
            assert newest is not None
            assert as_stored(newest.head) == as_stored(append.head)
            assert newest.last is not None
            plain = replace(newest.last, entry=as_published(newest.last.entry))
            assert plain == expected(*written)[-1]
        async with unplugged(trial):
            with pytest.raises(PublisherError):
                await destination.reader.newest(CALL)

    async def test_complete_announcements_are_found_page_by_page(self, trial: Trial) -> None:
        """Also if another installation in the same storage has pages of them."""
        destination, beside = trial.connect(), trial.connect(f"{trial.options.prefix}-beside")
        keys = [stream(f"call-{number}") for number in range(1_300)]
        await store(beside, begin(keys[0], None))
        for place in range(0, len(keys), 100):
            await store(destination, *(begin(key, None) for key in keys[place : place + 100]))
        await store(beside, begin(keys[1], None))
        for reader, expected_keys in ((destination, keys), (beside, keys[:2])):
            found, cursor = [], None
            while page := await reader.reader.announcements(cursor):
                assert page[-1].cursor != cursor
                cursor = page[-1].cursor
                found += [it.stream for it in page]
            assert set(found) == set(expected_keys)

    async def test_complete_after_any_cursor_come_all_later_announcements(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        keys = [stream(f"call-{number}") for number in range(7)]
        for key in keys:
            await store(destination, begin(key, None))
        other = await trial.connect_elsewhere()
        page = await other.reader.announcements()
        assert len({it.cursor for it in page}) == len(page)
        for place, it in enumerate(page):
            later = await other.reader.announcements(it.cursor)
            assert list(later[: len(page) - place - 1]) == list(page[place + 1 :])
        last = page[-1].cursor
        while rest := await other.reader.announcements(last):
            last = rest[-1].cursor
        newest = begin(stream("newest"), None)
        await store(destination, newest)
        later = await other.reader.announcements(last)
        assert [it.stream for it in later] == [newest.stream]

    async def test_complete_announcements_of_one_moment_are_found_after_one_another(
        self, trial: Trial
    ) -> None:
        """Several announcements may share a time: with a time as cursor the rest is missed."""
        destination = trial.connect()
        appends = [with_generations(stream(f"call-{number}"), 10) for number in range(40)]
        await store(destination, *appends)
        page = await destination.reader.announcements()
        assert len({it.cursor for it in page}) == len(page)
        for place, it in enumerate(page[:60]):
            later = await destination.reader.announcements(it.cursor)
            assert list(later[: len(page) - place - 1]) == list(page[place + 1 :])
        found = await all_announced(destination)
        for append in appends:
            its = found[append.stream]
            assert [it.position for it in its] == list(range(append.head.next_position))

    async def test_complete_after_a_cursor_of_before_a_wipe_come_the_announcements_after_it(
        self, trial: Trial
    ) -> None:
        await self._lose_and_read_on(trial, trial.wipe)

    async def test_complete_after_a_cursor_of_before_a_roll_back_come_the_announcements_after_it(
        self, trial: Trial
    ) -> None:
        await self._lose_and_read_on(trial, trial.roll_back)

    async def _lose_and_read_on(self, trial: Trial, lose: Callable[[], Awaitable[None]]) -> None:
        """Numbers that start over after a loss are below the earlier cursors."""
        destination = trial.connect()
        await store(destination, begin(stream("first"), None))
        if trial.has("save"):
            await trial.save()
        for number in range(7):
            await store(destination, begin(stream(f"old-{number}"), None))
        cursor = (await destination.reader.announcements())[-1].cursor
        await lose()
        await until_answered(destination)
        await settle(destination, [newest := begin(stream("newest"), None)])
        later = await destination.reader.announcements(cursor)
        assert newest.stream in {it.stream for it in later}

    async def test_complete_those_of_a_stream_are_in_the_order_of_its_entries(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        written = [begin(CALL, None)]
        for number in range(10):
            written.append(begin(CALL, written[-1].head, resumes=number % 2 == 0))
        for append in written:
            await store(destination, append)
        found = facts(await announced(destination, CALL))
        assert [mark.position for _, mark, *_ in found] == list(
            range(written[-1].head.next_position)
        )
        assert [resumed for kind, _, resumed, _ in found if kind == "started"] == [
            False,
            *(number % 2 == 0 for number in range(10)),
        ]
