"""Batches made by hand, and what holds them, checked to hold never less than nothing."""

from collections.abc import Sequence

from counting_telemetry import CountingTelemetry
from stream_parts import Walk, frame, run_of

from application.delivery.batch import Batch
from application.delivery.byte_budget import BufferLimits, ByteBudget
from domain.account import Account
from domain.entries import Entry, SignalNoted
from domain.head import Lease, Run
from domain.media import AudioFrame

RUN = run_of()
LEASE = Lease(1, "owner", 1_000)
LIMITS = BufferLimits(buffer_seconds=45, buffer_bytes=1024 * 1024, rewind_seconds=5)
SIZE = 320


class CheckedBudget(ByteBudget):
    def __init__(
        self, limits: BufferLimits = LIMITS, telemetry: CountingTelemetry | None = None
    ) -> None:
        self.telemetry = telemetry or CountingTelemetry()
        super().__init__(limits, self.telemetry)

    def add(self, audio_bytes: int) -> None:
        super().add(audio_bytes)
        assert min(self.held_bytes) >= 0

    def grow_retained(self, audio_bytes: int) -> None:
        super().grow_retained(audio_bytes)
        assert min(self.held_bytes) >= 0


def batch_of(
    entries: Sequence[Entry],
    position: int,
    *,
    lease: Lease = LEASE,
    run: Run = RUN,
    is_new: bool = True,
    account: Account | None = None,
) -> Batch:
    """Return a batch of entries that begin at a position; `is_new` if it was never confirmed."""
    frames = sum(isinstance(entry, AudioFrame) for entry in entries)
    walk = Walk(position)
    walk.take_all(entries)
    return Batch(
        run,
        lease,
        0,
        list(entries),
        account or walk.account(),
        len(entries),
        size_of(entries),
        frames,
        [0.0] * frames if is_new else None,
    )


def frames_at(position: int, *seqs: int, size: int = SIZE, lease: Lease = LEASE) -> Batch:
    return batch_of([frame(seq, size) for seq in seqs], position, lease=lease)


def size_of(entries: Sequence[Entry]) -> int:
    size = 0
    for entry in entries:
        if isinstance(entry, AudioFrame):
            size += len(entry.audio)
        elif isinstance(entry, SignalNoted):
            size += len(entry.details)
    return size


def positions(batches: Sequence[Batch]) -> list[tuple[int, int]]:
    return [(batch.first_position, batch.end) for batch in batches]
