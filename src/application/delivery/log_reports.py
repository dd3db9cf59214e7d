"""The metrics and log lines of one stream's log."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from application.call_context import call_context
from application.delivery.batch import Batch
from application.delivery.fenced_losses import FencedLosses
from application.delivery.holdings import Holdings
from application.delivery.rewriting import Rewritten
from application.delivery.starts import Opened
from application.ports.errors import BrokerRefused
from application.ports.store import Failed
from application.ports.telemetry import Telemetry
from domain.head import Head
from domain.identifiers import StreamKey

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LossTally:
    """The counts of the streams of one part so far: see `Losses`."""

    lost: int = 0
    replayed: int = 0
    rebased: int = 0


class LogReports:
    """Reports the fate of a stream to the operator, with the names of its call.

    `losses` are of the part that the stream is in.
    """

    def __init__(self, stream: StreamKey, holdings: Holdings, telemetry: Telemetry) -> None:
        self._stream = stream
        self._holdings = holdings
        self._telemetry = telemetry
        self._fenced_losses = FencedLosses(holdings)
        self.losses = LossTally()

    def confirmed(self, batches: Sequence[Batch], now: float) -> int:
        """Count stored frames; return how many are stored for the first time."""
        frames = 0
        for batch in batches:
            if batch.was_confirmed:
                replayed = batch.frames_after(batch.stored)
                self._telemetry.replayed(replayed)
                self.losses.replayed += replayed
            elif batch.received_at:
                frames += len(batch.received_at)
                self._telemetry.confirmed([now - at for at in batch.received_at])
        return frames

    def refused(self, failed: Failed) -> None:
        """Log that the store refuses this stream alone."""
        if isinstance(failed.error, BrokerRefused):
            _log.warning(
                "the broker refuses a stream: its audio is buffered and sent again",
                extra={**self._context(), "error": str(failed.error)},
            )

    def rebased(self, rewritten: Rewritten, now: float) -> None:
        """Count and log a stream that the store has lost."""
        self._telemetry.confirmed([now - at for at in rewritten.found_at])
        lost = rewritten.rebased.lost
        self._telemetry.rebased()
        self.losses.rebased += 1
        self._count_lost(lost, "rolled_back")
        self._telemetry.frames("missing", lost)
        _log.warning(
            "stream rebased: the broker came back without what was confirmed",
            extra={
                **self._context(),
                "generation": rewritten.rebased.lease.generation,
                "lost_frames": lost,
            },
        )

    def fenced(self, head: Head | None) -> None:
        """Count frames that another process's head lacks; without a head, all retained frames."""
        fenced = self._fenced_losses
        lost_frames = fenced.with_stream() if head is None else fenced.to(head)
        if lost_frames:
            self._count_lost(lost_frames, "rolled_back")
            _log.error(
                "audio is lost: the broker came back without it, and another process began",
                extra={**self._context(), "lost_frames": lost_frames},
            )

    def lost(self, frames: int, reason: str) -> None:
        """Count and log frames that are not appended."""
        self._count_lost(frames, reason)
        if frames:
            extra = {**self._context(), "reason": reason, "lost_frames": frames}
            _log.warning("audio is lost: it was not published", extra=extra)

    def opened(self, opened: Opened) -> None:
        """Count the run that a stored start has ended."""
        self.lost(opened.dropped_frames, "superseded")
        if opened.has_replaced:
            self._telemetry.run_ended("replaced")

    def _count_lost(self, frames: int, reason: str) -> None:
        self._telemetry.frames("lost", frames, reason=reason)
        self.losses.lost += frames

    def _context(self) -> dict[str, object]:
        """Return the names of the call, for a log line."""
        writer = self._holdings.writer
        if writer is None:
            return {"tenant_id": self._stream.tenant_id, "stream_id": self._stream.stream_id}
        return call_context(writer.run.opening)
