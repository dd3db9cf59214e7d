"""Counts confirmed frames of a fenced log that the newer writer's store did not have."""

from application.delivery.holdings import Holdings
from domain.head import Head


class FencedLosses:
    """Counts the lost frames of one log, each once, over all heads of newer leases."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._counted_of = ""
        self._counted = 0
        self._is_run_continued = False

    def to(self, head: Head) -> int:
        """Return how many frames the store lacks by the head of a newer lease, not counted yet.

        the newer lease       frames of ours that are lost
        ─────────────────────────────────────────────────────────────────────────────────
        only ended our run    the difference between the two counts of published frames
        continues our run     those from its `Started` on, less those that it declares lost
        began another run     those from the end that it wrote for our run on; if our own
                              end of the run is there, those from its `Started` on
        """
        holdings, ledger = self._holdings, head.account.ledger
        last, retained = holdings.last, holdings.retained
        is_of_run = self._is_run_continued = holdings.is_of_run(head)
        if is_of_run and head.lease == last.lease.of_orphan_end(head.lease.owner):
            return self._count(retained.account.ledger.published - ledger.published)
        first = head.begun_at
        if not is_of_run and not retained.has_end_at(first - 1):
            first -= 1
        declared = max(0, ledger.lost - retained.account.ledger.lost) if is_of_run else 0
        return self._count(retained.frames_from(first) - declared)

    def with_stream(self) -> int:
        """Return how many more frames are lost with the stream: none if its run continues."""
        return 0 if self._is_run_continued else self._count(self._holdings.retained.frames_from(0))

    def _count(self, frames: int) -> int:
        """Return the frames not counted yet since this lease was taken."""
        owner = self._holdings.last.lease.owner
        if owner != self._counted_of:
            self._counted_of, self._counted = owner, 0
        newly = max(0, frames - self._counted)
        self._counted += newly
        return newly
