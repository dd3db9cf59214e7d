"""Calls as any process of an installation would publish them, put straight into a store."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from application.ports.destination import Destination
from application.ports.store import APPENDED, Append
from application.testing.appends import begin, cut, following, replace_append
from domain.entries import Entry, Started
from domain.events import CallDetails
from domain.head import Head
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
TOGETHER = 100
"""How many calls one append call of the store takes."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def tone(amplitude: int, size: int) -> bytes:
    """Samples that jump between two values."""
    high, low = (
        amplitude.to_bytes(2, "little", signed=True),
        (-amplitude).to_bytes(2, "little", signed=True),
    )
    return (high + low) * (size // 4)


class PublishedCall:
    """One call: what it appends follows from what it has appended."""

    def __init__(
        self,
        name: str,
        tenant: str = "demo",
        dialect: str = "exostreamkit",
        frame_ms: int = 20,
        call: CallDetails | None = None,
        interaction: str | None = None,
        track: str | None = None,
    ) -> None:
        self.key = StreamKey(TenantId(tenant), StreamId(name))
        self._details = {
            "dialect": dialect,
            "interaction_id": InteractionId(interaction or name),
            "call": call or CallDetails(),
            "track": track,
        }
        self.head: Head | None = None
        self.seq = 0
        self.frame_ms = frame_ms
        self.amplitude = 3_000

    def start(self, *, resumes: bool = False) -> Append:
        """Begin a generation."""
        append = begin(self.key, self.head, resumes=resumes)
        run = append.head.run
        assert run is not None
        opening = replace(run.opening, started_at_ms=now_ms(), **self._details)  # type: ignore[arg-type]
        run = replace(run, opening=opening)
        last = append.segments[-1]
        entries = [
            replace(it, opening=opening) if isinstance(it, Started) else it for it in last.entries
        ]
        segments = (*append.segments[:-1], replace(last, run=run, entries=entries))
        append = replace_append(append, segments=segments, head=replace(append.head, run=run))
        return self._then(append)

    def speak(self, count: int = 1, *, skip: int = 0, at_ms: int | None = None) -> Append:
        """Append frames that were received just now, after `skip` that never came."""
        at_ms = now_ms() if at_ms is None else at_ms
        entries: list[Entry] = []
        self.seq += skip
        audio = tone(self.amplitude, 16 * self.frame_ms)
        for number in range(count):
            received_at_ms = at_ms - self.frame_ms * (count - 1 - number)
            entries.append(AudioFrame(MEDIA, self.seq, received_at_ms, audio))
            self.seq += 1
        return self._then(following(self._known, *entries))

    def cut(self) -> Append:
        """Lose the sender."""
        return self._then(cut(self._known))

    def end(self) -> Append:
        """End the run."""
        return self._then(following(self._known, end=True))

    @property
    def _known(self) -> Head:
        assert self.head is not None
        return self.head

    def _then(self, append: Append) -> Append:
        self.head = append.head
        return append


class PublishedCalls:
    """Many calls in a store."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    async def put(self, *appends: Append) -> None:
        """Store appends of different calls."""
        for first in range(0, len(appends), TOGETHER):
            outcomes = await self._destination.store.append(appends[first : first + TOGETHER])
            assert all(it is APPENDED for it in outcomes), outcomes

    async def start(self, calls: Sequence[PublishedCall]) -> Self:
        """Begin calls, each with a few frames."""
        await self.put(*(call.start() for call in calls))
        await self.put(*(call.speak(3) for call in calls))
        return self
