"""The entries that a log holds of its stream, and their lease: batches, positions, revision.

It has no states and no time limits: `StreamLog` decides what to do with it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.delivery.batch import Batch
from application.delivery.byte_budget import ByteBudget
from application.delivery.retained import Retained
from application.delivery.rewriting import Rewritten, rewrite
from application.delivery.send_window import SendWindow
from application.delivery.trimming import Trimming
from application.ports.store import Append, Mark
from application.ports.telemetry import Telemetry
from domain.account import Account
from domain.head import Head, Lease, Revision, Run
from domain.identifiers import StreamKey
from domain.placement import At, Placement, Reach, place
from domain.starting import Begin


@dataclass(frozen=True, slots=True)
class WriterLease:
    """The newest lease of the log, and its run: later entries are appended under it.

    `begun_at` is the position of the lease's `Started`, `first_kept` the first position that
    retention has kept. `owners` are the tokens under which the positions from `numbered_from` on
    were assigned.
    """

    run: Run
    lease: Lease
    begun_at: int
    owners: frozenset[str]
    numbered_from: int
    first_kept: int


class Holdings:
    """The batches of one stream: unconfirmed ones in `window`, confirmed ones in `retained`."""

    def __init__(
        self,
        stream: StreamKey,
        budget: ByteBudget,
        telemetry: Telemetry,
        *,
        retention_seconds: float,
    ) -> None:
        self._stream = stream
        self.window = SendWindow(0, budget)
        self.retained = Retained(budget, telemetry)
        self.writer: WriterLease | None = None
        self.revision: Revision | None = None
        self._revisions = 0
        self._trimming = Trimming(retention_seconds)

    def close_open(self, account: Account) -> Batch:
        """Queue the open batch; `account` is that of the run after its last entry."""
        writer = self.last
        return self.window.close(writer.run, writer.lease, writer.begun_at, account)

    def append(self, now: float) -> Append:
        """Return the append of the next queued batches, and move them into flight."""
        batches = self.window.take()
        last, writer = batches[-1], self.last
        keep_from = self._trimming.first_to_keep(now)
        if keep_from.position > writer.first_kept:
            self.writer = writer = replace(writer, first_kept=keep_from.position)
        self._revisions += 1
        revision = f"{last.lease.owner}:{self._revisions}"
        segments = [batch.rest() for batch in batches if batch.count > batch.stored]
        head = last.head(revision, writer.first_kept)
        return Append(self._stream, self.revision, segments, head, keep_from)

    def note_stored(self, last: Batch, now: float) -> None:
        """Note that the store has everything up to the end of a batch."""
        self._trimming.note_stored(Mark(last.lease.generation, last.end), now)

    # What the store has

    def place(self, head: Head | None) -> Placement:
        """Compare a head with the held entries."""
        writer, window = self.last, self.window
        numbered = [*self.retained.numbered, *window.queued]
        first = numbered[0].first_position if numbered else window.next_position
        reach = Reach(
            writer.owners,
            max(first, writer.numbered_from),
            window.next_position,
            writer.lease,
            [(batch.first_position, batch.lease.generation) for batch in numbered],
        )
        return place(head, reach)

    def is_at_end(self, head: Head | None) -> bool:
        """Whether the store has exactly the held entries."""
        return self.writer is not None and self.place(head) == At(self.window.next_position)

    def stored_before(self, head: Head) -> list[Batch]:
        """Remove and return the queued batches up to the begin of the run's next lease.

        None, unless a batch ends exactly there: then they were probably stored, and the answer was
        lost.
        """
        is_there = any(self._is_continued(batch, head) for batch in self.window.queued)
        return self.window.confirm_below(head.begun_at) if is_there and self.is_of_run(head) else []

    @staticmethod
    def _is_continued(batch: Batch, head: Head) -> bool:
        """Return whether the head's lease is the next one and begins directly after a batch."""
        is_next = head.lease.generation == batch.lease.generation + 1
        is_kept = head.first_kept < batch.first_position  # else entries were declared lost
        return batch.count > 0 and batch.end == head.begun_at and is_next and is_kept

    def is_of_run(self, head: Head) -> bool:
        """Return whether a head belongs to the last held run."""
        return head.run is not None and head.run.name == self.last.run.name

    def align(self, head: Head, position: int) -> list[Batch]:
        """Queue the batches that the store lacks; return queued ones that it has, as confirmed."""
        self.revision = head.revision
        confirmed = self.window.confirm_below(position)
        replays = self.retained.take_from(position)
        if replays:  # they are young again, whatever was trimmed in what is lost
            self._trimming.reset_to(position)
            self.writer = replace(self.last, first_kept=head.first_kept)
        self.window.replay(replays, position)
        return confirmed

    def rewrite(self, head: Head | None, now: float) -> Rewritten | None:
        """Rebase all held entries after another head; None if nothing is held."""
        writer = self.last
        run, base = self.retained.run or writer.run, self.retained.base
        batches = [*self.retained.take_all(), *self.window.drop()]
        if not batches:
            return None
        lease = writer.lease.rebased(secrets.token_hex(8))
        rewritten = rewrite(head, run, base, batches, lease)
        if rewritten.batches and not rewritten.standing:
            run, base = rewritten.batches[0].run, rewritten.rebased.base
        self.retained.reset(run, base)
        for batch in rewritten.standing:
            self.retained.add(batch, now)
        self.revision = None if head is None else head.revision
        if rewritten.batches:
            self._adopt(rewritten.batches, rewritten.rebased.first_kept)
        else:
            # Nothing is numbered any more: the store has the end of the last run that is held.
            self.writer = replace(
                writer, owners=frozenset(), numbered_from=self.window.next_position
            )
        return rewritten

    def _adopt(self, batches: Sequence[Batch], first_kept: int) -> None:
        first, last = batches[0], batches[-1]
        for batch in batches:
            self.window.queue(batch)
        owners = frozenset({last.lease.owner})
        self.writer = WriterLease(
            last.run, last.lease, last.begun_at, owners, first.first_position, first_kept
        )
        self._trimming.reset_to(first.first_position)

    # Starts

    def begin(self, head: Head | None, begin: Begin, *, continues: bool) -> None:
        """Queue a start. With `continues` the numbering of positions continues."""
        writer = self.writer if continues else None
        self.revision = None if head is None else head.revision
        self.window.next_position = 0 if head is None else head.next_position
        if not continues:
            self._trimming.reset_to(self.window.next_position)
        owners, numbered_from = frozenset[str](), self.window.next_position
        if writer is not None:
            owners, numbered_from = writer.owners, writer.numbered_from
        own_runs = {begin.run.name} if writer is None else {begin.run.name, writer.run.name}
        self.writer = WriterLease(
            begin.run,
            begin.lease,
            begin.begun_at,
            owners | {begin.lease.owner},
            numbered_from,
            begin.first_kept,
        )
        for segment in begin.segments:
            lease = begin.lease
            if segment.generation != lease.generation:
                lease = replace(lease, generation=segment.generation)
            batch = Batch(
                segment.run,
                lease,
                begin.begun_at,
                list(segment.entries),
                segment.account,
                len(segment.entries),
                received_at=[],
                is_foreign=segment.run.name not in own_runs,
            )
            self.window.queue(batch)

    def withdraw(self, writer: WriterLease | None, next_position: int) -> None:
        """Remove a start from the queue, which has nothing else."""
        self.window.drop()
        self.window.next_position = next_position
        self.writer = writer

    def adopt_head(self, head: Head, run: Run) -> None:
        """Continue after a head of our own whose entries are not held."""
        self.retained.reset(run, head.account)
        self.window.next_position = head.next_position
        self.revision = head.revision
        owners = frozenset({head.lease.owner})
        self.writer = WriterLease(
            run, head.lease, head.begun_at, owners, head.next_position, head.first_kept
        )

    @property
    def last(self) -> WriterLease:
        """The newest lease; there must have been a start."""
        if self.writer is None:
            raise AssertionError("nothing is held before the first start")
        return self.writer
