"""The one loop of a process that hands the streams' batches to the publisher.

Frames only mark their stream as having work; the loop takes one batch of each such stream, gives
all of them to the publisher at once, and tells each outbox what became of its own. While a call
of the publisher is under way new frames gather, so batches grow with the load by themselves.
"""

import asyncio
import logging

from application.outbox import Outbox, SharedWindow
from application.ports.clock import Clock
from application.ports.errors import PublisherError
from application.ports.publisher import Batch, Failed, Lease, Outcome, StreamPublisher
from application.ports.telemetry import Telemetry
from application.retention import Retention
from application.time_limit import answered_within
from domain.interaction import Interaction

_log = logging.getLogger(__name__)

FLUSH_STEP_SECONDS = 0.02


class Publication:
    """Owns the loop; `run` is its body, started and cancelled by the composition."""

    def __init__(
        self,
        publisher: StreamPublisher,
        clock: Clock,
        telemetry: Telemetry,
        *,
        retention_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._telemetry = telemetry
        self._retention_seconds = retention_seconds
        self._with_work: dict[Outbox, None] = {}
        self._work = asyncio.Event()
        self._is_publishing = False
        self._shared = SharedWindow(telemetry.buffered)

    def outbox(self, interaction: Interaction, lease: Lease, older: Outbox | None) -> Outbox:
        """Create the outbox of a stream that was just started under `lease`.

        `older` is that of the generation before, if this process has it.
        """
        return Outbox(
            interaction,
            lease,
            self._clock,
            retention=Retention(self._retention_seconds) if older is None else older.retention,
            on_work=self._note_work,
            shared=self._shared,
            on_published=self._note_published,
        )

    async def flush(self, seconds: float) -> None:
        """Wait until there is nothing to publish, at most `seconds`; once in a process's life."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (self._with_work or self._is_publishing) and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(FLUSH_STEP_SECONDS)

    async def run(self) -> None:
        """Publish for ever. A failure belongs to the streams it concerns, never to the loop."""
        while True:
            await self._work.wait()
            self._work.clear()
            taken = [(outbox, outbox.take()) for outbox in self._with_work]
            self._with_work.clear()
            under_way = [(outbox, batch) for outbox, batch in taken if batch is not None]
            if not under_way:
                continue
            self._is_publishing = True
            outcomes = await self._append([batch for _, batch in under_way])
            self._is_publishing = False
            for (outbox, _), outcome in zip(under_way, outcomes, strict=True):
                try:
                    outbox.settle(outcome)
                except Exception:  # noqa: BLE001
                    # Whoever listens to one stream must not stop the publication of the others.
                    _log.exception("outcome not taken", extra={"stream": str(outbox.lease.stream)})
                if not outbox.is_empty:
                    self._note_work(outbox)

    async def _append(self, batches: list[Batch]) -> list[Outcome]:
        try:
            async with answered_within():
                return list(await self._publisher.append(batches))
        except PublisherError as error:
            return [Failed(error)] * len(batches)

    def _note_work(self, outbox: Outbox) -> None:
        self._with_work[outbox] = None
        self._work.set()

    def _note_published(self, received_at: list[float]) -> None:
        now = self._clock.monotonic()
        self._telemetry.frames("published", len(received_at))
        self._telemetry.confirmed([now - at for at in received_at])
