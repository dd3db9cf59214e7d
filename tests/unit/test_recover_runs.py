"""Whose beats stay the same is gone: judged by looks, not by anybody's clock."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from application.live_stream import LiveStreams

from application import recover_runs
from application.ports.errors import BrokerRefused, BrokerUnavailable
from application.ports.open_runs import OpenRuns
from application.recover_runs import RecoverRuns
from domain.identifiers import StreamId, StreamKey, TenantId

DEAD = StreamKey(TenantId("tenant"), StreamId("dead"))
ALIVE = StreamKey(TenantId("tenant"), StreamId("alive"))
LOOKS = 3


class Beats(OpenRuns):
    """Two streams, one of which goes on beating; what each look shows is told by `looks`."""

    def __init__(self, looks: Iterator[bool]) -> None:
        self.looks = looks
        self.looked = 0
        self.ended: list[tuple[StreamKey, int]] = []
        self.is_over = asyncio.Event()

    async def tend(self, streams: Sequence[StreamKey]) -> None:
        """Nothing is held here."""

    async def beats(self) -> Mapping[StreamKey, float]:
        is_there = next(self.looks, None)
        if is_there is None:
            self.is_over.set()
            await asyncio.Event().wait()
        self.looked += 1
        if not is_there:
            raise BrokerUnavailable("away")
        beats = {ALIVE: float(self.looked)}
        if not self.ended:
            beats[DEAD] = 1.0
        return beats

    async def end_untended(self, stream: StreamKey, beat: float) -> bool:
        assert beat == 1.0
        self.ended.append((stream, self.looked))
        return True


async def after(looks: list[bool], monkeypatch: pytest.MonkeyPatch) -> list[tuple[StreamKey, int]]:
    monkeypatch.setattr(recover_runs, "TEND_SECONDS", 0.001)
    monkeypatch.setattr(recover_runs, "GRACE_SECONDS", 0.001 * LOOKS)
    beats = Beats(iter(looks))
    live_streams = LiveStreams(None, None)  # type: ignore[arg-type]  # nothing is held
    recovering = asyncio.create_task(RecoverRuns(beats, live_streams, resume_seconds=0).run())
    async with asyncio.timeout(10):
        await beats.is_over.wait()
    recovering.cancel()
    await asyncio.gather(recovering, return_exceptions=True)
    return beats.ended


async def test_a_beat_seen_so_many_times_again_is_of_the_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await after([True] * LOOKS, monkeypatch) == []
    assert await after([True] * 9, monkeypatch) == [(DEAD, LOOKS + 1)]


async def test_a_destination_that_was_away_begins_the_count_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = [True] * LOOKS + [False] + [True] * LOOKS
    assert await after(looks, monkeypatch) == []
    assert await after([*looks, True], monkeypatch) == [(DEAD, 2 * LOOKS + 2)]


class Dead(OpenRuns):
    """Runs of the dead, some of which cannot be ended."""

    def __init__(self, streams: int, refused: set[int]) -> None:
        self.streams = [
            StreamKey(TenantId("tenant"), StreamId(f"dead-{n}")) for n in range(streams)
        ]
        self.refused = {self.streams[n] for n in refused}
        self.ended: list[StreamKey] = []
        self.looks = self.tended = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def tend(self, streams: Sequence[StreamKey]) -> None:  # noqa: ARG002
        self.tended += 1

    async def beats(self) -> Mapping[StreamKey, float]:
        self.looks += 1
        return {stream: 1.0 for stream in self.streams if stream not in self.ended}

    async def end_untended(self, stream: StreamKey, beat: float) -> bool:  # noqa: ARG002
        await self.may_end.wait()
        if stream in self.refused:
            raise BrokerRefused("WRONGTYPE")
        self.ended.append(stream)
        return True

    async def until(self, condition: Callable[[], bool]) -> None:
        """Recover until it is so."""
        live_streams = LiveStreams(None, None)  # type: ignore[arg-type]  # nothing is held
        recovering = asyncio.create_task(RecoverRuns(self, live_streams, resume_seconds=0).run())
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)
        recovering.cancel()
        await asyncio.gather(recovering, return_exceptions=True)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "application.recover_runs")
    monkeypatch.setattr(recover_runs, "TEND_SECONDS", 0.001)
    monkeypatch.setattr(recover_runs, "GRACE_SECONDS", 0.001 * LOOKS)


@pytest.mark.usefixtures("hurried")
async def test_a_run_that_cannot_be_ended_keeps_no_other_from_it_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dead = Dead(2 * recover_runs.ENDED_AT_ONCE + 1, refused={0, recover_runs.ENDED_AT_ONCE})
    await dead.until(lambda: len(dead.ended) == len(dead.streams) - 2 and dead.looks > 5 * LOOKS)
    told = [record for record in caplog.records if "cannot be ended" in record.message]
    assert len(told) == 2
    dead.refused.clear()
    await dead.until(lambda: len(dead.ended) == len(dead.streams))
    assert len(set(dead.ended)) == len(dead.ended)


@pytest.mark.usefixtures("hurried")
async def test_what_is_long_in_ending_keeps_nobody_from_tending() -> None:
    dead = Dead(3, refused=set())
    dead.may_end.clear()
    await dead.until(lambda: dead.looks > LOOKS and dead.tended > dead.looks + 10)
    assert dead.ended == []


@pytest.mark.usefixtures("hurried")
async def test_who_cannot_tend_judges_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Untended(Dead):
        async def tend(self, streams: Sequence[StreamKey]) -> None:
            await super().tend(streams)
            raise BrokerUnavailable("OOM")

    dead = Untended(1, refused=set())
    await dead.until(lambda: dead.tended > 10 * LOOKS and dead.looks > 10 * LOOKS)
    assert dead.ended == []
    assert [record.message for record in caplog.records] == ["runs are not looked after"]


@pytest.mark.usefixtures("hurried")
async def test_who_can_tend_but_not_look_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    class Unseen(Dead):
        async def beats(self) -> Mapping[StreamKey, float]:
            await super().beats()
            raise BrokerRefused("NOPERM")

    dead = Unseen(1, refused=set())
    await dead.until(lambda: dead.tended > 10 * LOOKS and dead.looks > 10 * LOOKS)
    assert [record.message for record in caplog.records] == ["runs are not looked after"]
