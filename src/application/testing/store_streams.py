"""Tests of a store's promises about many streams, and about their bytes."""

from dataclasses import replace
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from application.ports.store import APPENDED, Append, Conflict, Failed
from application.testing import strategies
from application.testing.appends import (
    as_stored,
    begin,
    begin_with,
    following,
    frame,
    frames,
    stream,
)
from application.testing.observed import (
    attempt,
    expected,
    head,
    read,
    store,
)
from application.testing.running import Contract, running
from application.testing.trial import Trial
from domain.entries import SignalNoted, Started
from domain.events import Signal
from domain.head import Head

CALL = stream("call")

NAMES = (
    "a",
    "A",
    "a.b",
    "a-b",
    "a.",
    ".a",
    "..a",
    "=",
    "@",
    "~",
    "+",
    "_",
    "-",
    "0",
    "x" * 128,
    "x" * 127 + "y",
)
"""Every valid character of an identifier, and names that some file systems confuse."""


class StreamsContract(Contract):
    """Streams are separate, and are read back unchanged."""

    async def test_independent_installations_of_other_prefixes_do_not_appear_in_one_another(
        self, trial: Trial
    ) -> None:
        places = [trial.connect(), trial.connect(f"{trial.options.prefix}-other")]
        written = [begin_with(CALL, frame(CALL, number)) for number in range(len(places))]
        for destination, append in zip(places, written, strict=True):
            assert await attempt(destination, [append]) == [APPENDED]
        await places[0].open_runs.heartbeat([CALL])
        assert await places[1].open_runs.heartbeats() == {}
        for destination, append in zip(places, written, strict=True):
            assert await read(destination, CALL) == expected(append)
            assert len(await destination.reader.announcements()) == 1

    async def test_independent_streams_do_not_appear_in_one_another(self, trial: Trial) -> None:
        destination = trial.connect()
        keys = [stream(name, tenant) for name in NAMES for tenant in ("one", "two", "a", "a.b")]
        await store(destination, *(begin_with(key, frame(key, 0)) for key in keys))
        for _ in range(3):
            heads = (await destination.store.heads(keys)).heads
            appends = []
            for it in heads:
                assert isinstance(it, Head)
                assert it.run is not None
                key = it.run.opening.stream
                appends.append(following(it, frame(key, it.account.ledger.published)))
            await store(destination, *appends)
        for key in keys:
            entries = [it.entry for it in await read(destination, key)]
            assert entries[1:] == frames(key, 0, 4)
            assert isinstance(entries[0], Started)
            assert entries[0].opening.stream == key

    async def test_independent_many_streams_are_stored_in_one_call(self, trial: Trial) -> None:
        destination = trial.connect()
        firsts = [begin_with(key, *frames(key, 0, 2)) for key in map(stream, map(str, range(400)))]
        await store(destination, *firsts)
        keys = [it.stream for it in firsts]
        asked = [keys[7], stream("unknown"), *reversed(keys)]
        found = (await destination.store.heads(asked)).heads
        by_stream = {it.stream: it.head for it in firsts}
        assert [as_stored(it) for it in found if not isinstance(it, Failed)] == [
            as_stored(by_stream.get(key)) for key in asked
        ]
        for first in (firsts[0], firsts[133], firsts[399]):
            assert await read(destination, first.stream) == expected(first)

    async def test_independent_a_conflict_of_one_leaves_the_others(self, trial: Trial) -> None:
        destination = trial.connect()
        firsts = [begin(stream(f"call-{number}"), None) for number in range(5)]
        await store(destination, *firsts)
        seconds = [following(first.head, frame(first.stream, 0)) for first in firsts]
        await store(destination, seconds[2])
        thirds = [following(first.head, frame(first.stream, 1)) for first in firsts]
        outcomes = [
            Conflict(as_stored(it.head)) if isinstance(it, Conflict) else it
            for it in await destination.store.append(thirds)
        ]
        own = Conflict(as_stored(seconds[2].head))
        assert outcomes == [APPENDED, APPENDED, own, APPENDED, APPENDED]
        for place, (first, third) in enumerate(zip(firsts, thirds, strict=True)):
            written = seconds[2] if place == 2 else third
            assert await read(destination, first.stream) == expected(first, written)

    def test_bytes_are_bytes_every_entry_and_head_is_read_back_as_it_was(
        self, trial: Trial
    ) -> None:
        with running(trial) as run:
            destination, numbers = trial.connect(), count()

            async def check(append: Append) -> None:
                await store(destination, append)
                assert await read(destination, append.stream) == expected(append)
                assert await head(destination, append.stream) == as_stored(append.head)

            @settings(
                max_examples=trial.examples, deadline=None, suppress_health_check=list(HealthCheck)
            )
            @given(st.data())
            def every(data: st.DataObject) -> None:
                key = stream(f"any-{next(numbers)}")
                run(check(data.draw(strategies.appends(key))))

            every()

    async def test_bytes_are_bytes_the_first_frames_of_streams_are_their_own(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        firsts = [begin(stream(f"call-{number}"), None) for number in range(8)]
        await store(destination, *firsts)
        seconds = [following(first.head, *frames(first.stream, 0, 2)) for first in firsts]
        await store(destination, *seconds)
        for first, second in zip(firsts, seconds, strict=True):
            assert await read(destination, first.stream) == expected(first, second)

    async def test_bytes_are_bytes_a_frame_may_be_of_one_byte_value_or_the_largest(
        self, trial: Trial
    ) -> None:
        destination = trial.connect()
        audios = [bytes([value]) * 2 for value in range(256)] + [
            bytes(100_000),
            b"\r\n\0$-1\r\n\n\n",
        ]
        first = begin(CALL, None)
        second = following(
            first.head,
            *(replace(frame(CALL, seq), audio=audio) for seq, audio in enumerate(audios)),
            SignalNoted(Signal.DTMF, '{"digit": "5", "x": "\\u0000\u2028\U0001f4de"}'),
        )
        await store(destination, first)
        await store(destination, second)
        assert await read(destination, CALL) == expected(first, second)
