"""The rebase of a log: converts batches to the runs of `domain.rebase`, and back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.delivery.batch import Batch
from domain.account import Account
from domain.entries import SignalNoted
from domain.fold import Segment
from domain.head import Head, Lease, Run
from domain.media import AudioFrame
from domain.rebase import HeldRun, Rebased, Written, rebase


@dataclass(frozen=True, slots=True)
class Rewritten:
    """`standing` batches are in the store at unknown positions, `batches` must be appended.

    `found_at` has the times of reception of frames that are stored but were never confirmed.
    """

    rebased: Rebased
    standing: list[Batch]
    batches: list[Batch]
    found_at: list[float]


def rewrite(
    head: Head | None, run: Run, base: Account, batches: Sequence[Batch], lease: Lease
) -> Rewritten:
    """Rebase batches of a log after a head; `run` and `base` are those before the first batch."""
    batches = [batch for batch in batches if not batch.is_foreign]
    segments = [batch.segment() for batch in batches]
    sources = {id(segment): batch for segment, batch in zip(segments, batches, strict=True)}
    held = _held_runs(segments, run, base)
    rebased = rebase(head, held, lease)
    leases: dict[int, Lease] = {rebased.lease.generation: rebased.lease}
    rewritten = Rewritten(rebased, [], [], [])
    sources_written: set[int] = set()
    own = {held_run.run.name for held_run in held} | {lease.owner}
    for written in rebased.written:
        source = None if written.source is None else sources[id(written.source)]
        generation = written.segment.generation
        of_generation = leases.setdefault(generation, replace(rebased.lease, generation=generation))
        is_foreign = written.segment.run.name not in own
        _add(rewritten, written, source, of_generation, is_foreign=is_foreign)
        sources_written.add(id(written.source))
    for found in rebased.standing:
        source = sources[id(found.source)]
        rewritten.standing.append(
            replace(
                source,
                entries=list(found.segment.entries),
                account=found.segment.account,
                count=len(found.segment.entries),
                audio_bytes=_audio_bytes(found.segment),
                frames=_frames(found.segment),
                received_at=None,
                packed=None,
                stored=0,
                is_numbered=False,
            )
        )
        if id(found.source) not in sources_written and source.received_at is not None:
            rewritten.found_at.extend(source.received_at)
    return rewritten


def _held_runs(segments: Sequence[Segment], run: Run, base: Account) -> list[HeldRun]:
    """Group segments by run."""
    runs: list[list[Segment]] = []
    for segment in segments:
        if not runs or runs[-1][-1].run.name != segment.run.name:
            runs.append([])
        runs[-1].append(segment)
    if not runs:
        return [HeldRun(run, base, ())]
    return [
        HeldRun(it[-1].run, base if it[-1].run.name == run.name else Account(), it) for it in runs
    ]


def _add(
    rewritten: Rewritten, written: Written, source: Batch | None, lease: Lease, *, is_foreign: bool
) -> None:
    segment = written.segment
    batches = rewritten.batches
    if not segment.entries and batches:
        batches[-1].account = segment.account
        return
    frames, received_at = _frames(segment), None
    if source is not None and source.received_at is not None:
        found = source.frames - frames
        rewritten.found_at.extend(source.received_at[:found])
        received_at = source.received_at[found:]
    batches.append(
        Batch(
            segment.run,
            lease,
            written.begun_at,
            list(segment.entries),
            segment.account,
            len(segment.entries),
            _audio_bytes(segment),
            frames,
            received_at,
            received_from=None if source is None else source.received_from,
            received_to=None if source is None else source.received_to,
            is_foreign=is_foreign,
        )
    )


def _frames(segment: Segment) -> int:
    return sum(isinstance(entry, AudioFrame) for entry in segment.entries)


def _audio_bytes(segment: Segment) -> int:
    size = 0
    for entry in segment.entries:
        if isinstance(entry, AudioFrame):
            size += len(entry.audio)
        elif isinstance(entry, SignalNoted):
            size += len(entry.details)
    return size
