"""Use case: end the orphaned runs of dead processes.

Every process regularly renews the heartbeats of the streams that it writes, including those whose
runs wait for their sender. If a heartbeat stays the same for longer than a run waits for its
sender, its process is gone, or frozen and will find itself fenced. Heartbeats are looked at every
HEARTBEAT_SECONDS, and looks are counted: no clocks are compared, and a pause of this process or of
the store, in which no heartbeat could be renewed, counts as one look at most.

The runs of each part of the store are ended separately: a part that is away does not delay another.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from application.call_context import call_context
from application.delivery.sender import Sender
from application.ports.errors import BrokerRefused, PublisherError
from application.ports.open_runs import OpenRuns
from application.ports.store import Append, Appended, Failed, StreamStore
from application.ports.telemetry import Telemetry
from application.time_limit import answered_within
from domain.head import Head
from domain.identifiers import StreamKey
from domain.orphans import end_orphan

HEARTBEAT_SECONDS = 5.0
"""How often heartbeats are renewed and looked at."""

GRACE_SECONDS = 10.0
"""The grace beyond the wait for a sender, in which a heartbeat may stay the same: two rounds."""

ENDED_AT_ONCE = 50
"""How many runs of a part are ended in one call: a dead process may have held thousands."""

_log = logging.getLogger(__name__)

Expired = tuple[StreamKey, float]


class RecoverRuns:
    """Renews heartbeats, and ends runs whose heartbeat has expired; `run` is its body."""

    def __init__(
        self,
        store: StreamStore,
        open_runs: OpenRuns,
        sender: Sender,
        telemetry: Telemetry,
        *,
        resume_seconds: float,
    ) -> None:
        self._store = store
        self._open_runs = open_runs
        self._sender = sender
        self._telemetry = telemetry
        self._looks = -int(-(resume_seconds + GRACE_SECONDS) / HEARTBEAT_SECONDS // 1)
        self._seen: dict[StreamKey, tuple[float, int]] = {}
        self._refused: set[StreamKey] = set()
        self._unreached: set[StreamKey] = set()
        self._busy: set[str] = set()
        self._failing: set[Callable[[], Awaitable[None]]] = set()

    async def run(self) -> None:
        """Work for ever. Without a broker a step is tried again at the next interval.

        Recovery never delays the heartbeats of our own streams.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._heartbeat))
            tasks.create_task(self._repeat(partial(self._look, tasks)))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step for ever. After a failure heartbeats are missing, so looks count from 0.

        The cause is logged once, until both steps are well again.
        """
        while True:
            try:
                await step()
            except PublisherError as error:
                self._seen.clear()
                if not self._failing:
                    _log.warning("open runs are not looked after", extra={"error": str(error)})
                self._failing.add(step)
            else:
                self._failing.discard(step)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _heartbeat(self) -> None:
        async with answered_within():
            await self._open_runs.heartbeat(self._sender.streams())

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        async with answered_within():
            heartbeats = await self._open_runs.heartbeats()
        self._count(heartbeats)
        self._recover(tasks)

    def _count(self, heartbeats: Mapping[StreamKey, float]) -> None:
        """Count for how many consecutive looks each stream has had the same heartbeat."""
        seen, self._seen = self._seen, {}
        for stream, heartbeat in heartbeats.items():
            last, looks = seen.get(stream, (heartbeat, 0))
            self._seen[stream] = (heartbeat, looks + 1 if heartbeat == last else 1)
            if heartbeat != last:
                self._unreached.discard(stream)
        self._refused &= self._seen.keys()
        self._unreached &= self._seen.keys()

    def _recover(self, tasks: asyncio.TaskGroup) -> None:
        """End the runs whose heartbeat has expired, in one task for each part."""
        expired: dict[str, list[Expired]] = {}
        for stream, (heartbeat, looks) in self._seen.items():
            if looks > self._looks:
                expired.setdefault(self._store.part_of(stream), []).append((stream, heartbeat))
        for part in expired.keys() - self._busy:
            self._busy.add(part)
            tasks.create_task(self._recover_part(part, expired[part]))

    async def _recover_part(self, part: str, expired: Sequence[Expired]) -> None:
        """End runs of one part, some at a time. The rest is tried again after the next look."""
        try:
            for first in range(0, len(expired), ENDED_AT_ONCE):
                some = expired[first : first + ENDED_AT_ONCE]
                try:
                    await self._end(part, some)
                except PublisherError as error:
                    self._note_unreached(part, error, *[stream for stream, _ in some])
                    break
        finally:
            self._busy.discard(part)

    async def _end(self, part: str, expired: Sequence[Expired]) -> None:
        """End some runs of a part, and remove their heartbeats. A stream may fail alone.

        A start renews the heartbeat before it begins a run. So a head that is read while the
        heartbeat is still the expired one belongs to the expired run, and the append compares its
        revision.

        Raises:
            PublisherError: the part was not reached, or the heartbeats were not.

        """
        async with answered_within():
            heads = (await self._store.heads([stream for stream, _ in expired])).heads
        async with answered_within():
            heartbeats = await self._open_runs.heartbeats()
        ends: list[Append] = []
        over: list[StreamKey] = []
        for (stream, heartbeat), head in zip(expired, heads, strict=True):
            if heartbeats.get(stream) != heartbeat:
                continue
            if isinstance(head, Failed):
                self._note_failed(part, stream, head)
            elif (append := _end_of(stream, head)) is not None:
                ends.append(append)
            else:
                over.append(stream)
        async with answered_within():
            outcomes = await self._store.append(ends) if ends else ()
        for append, outcome in zip(ends, outcomes, strict=True):
            if isinstance(outcome, Appended):
                self._telemetry.run_ended("recovered")
                _log.warning("run of a dead process ended", extra=_context(append))
                over.append(append.stream)
            elif isinstance(outcome, Failed):
                self._note_failed(part, append.stream, outcome)
        for stream in over:
            async with answered_within():
                await self._open_runs.forget(stream, heartbeats[stream])
            self._unreached.discard(stream)

    def _note_failed(self, part: str, stream: StreamKey, failed: Failed) -> None:
        """Log once that a run cannot be ended yet. A failed stream does not delay others."""
        if not isinstance(failed.error, BrokerRefused):
            self._note_unreached(part, failed.error, stream)
        elif stream not in self._refused:
            self._refused.add(stream)
            why = {**_names(stream), "error": str(failed.error)}
            _log.warning("a run of a dead process cannot be ended yet", extra=why)

    def _note_unreached(self, part: str, error: PublisherError, *streams: StreamKey) -> None:
        """Log that a part was not reached, once until the runs that waited for it are ended."""
        if part not in {self._store.part_of(stream) for stream in self._unreached}:
            why = {**({"part": part} if part else {}), "error": str(error)}
            _log.warning("runs of dead processes cannot be ended yet", extra=why)
        self._unreached.update(streams)


def _end_of(stream: StreamKey, head: Head | None) -> Append | None:
    """Return the append that ends the open run of a stream; None if it has none."""
    owner = secrets.token_hex(16)
    end = end_orphan(head, owner)
    if end is None or head is None:
        return None
    after = Head(
        f"{owner}:1",
        end.lease,
        head.begun_at,
        head.run,
        end.segment.account,
        head.first_kept,
    )
    return Append(stream, head.revision, [end.segment], after)


def _context(append: Append) -> dict[str, object]:
    run = append.head.run
    if run is None:
        raise AssertionError("an end is of a run")
    return call_context(run.opening)


def _names(stream: StreamKey) -> dict[str, object]:
    return {"tenant_id": stream.tenant_id, "stream_id": stream.stream_id}
