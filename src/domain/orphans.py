"""Ends the open run of a dead writer; any process may do it."""

from dataclasses import dataclass

from domain.events import EndReason
from domain.fold import Fold, Segment
from domain.head import Head, Lease


@dataclass(frozen=True, slots=True)
class OrphanEnd:
    """Append `segment` under `lease`."""

    lease: Lease
    segment: Segment


def end_orphan(head: Head | None, owner: str) -> OrphanEnd | None:
    """Return the append that ends the open run of a head; None if it has none.

    The end belongs to the run's own generation. Its lease is newer than the writer's, so a writer
    that was only frozen is fenced. A run whose entries are lost is not ended: its next start
    declares them.
    """
    if head is None or not head.is_open or head.run is None or head.entries_lost:
        return None
    fold = Fold(head.run, head.account)
    fold.end(EndReason.DISCONNECTED, recovered=True)
    return OrphanEnd(head.lease.of_orphan_end(owner), fold.segment(head.lease.generation))
