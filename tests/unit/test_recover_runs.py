"""Whose beats stay the same is gone: judged by looks, not by anybody's clock."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import pytest

from application import recover_runs
from application.live_stream import LiveStreams
from application.ports.errors import BrokerUnavailable
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
