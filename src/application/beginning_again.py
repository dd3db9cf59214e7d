"""How a writer goes on with a stream that its destination has forgotten, wholly or partly.

The destination stands somewhere before what is held: at an older position, in a younger past of
the run, or nowhere. What lies between and is held by nobody is lost and declared by one gap; what
is held follows at new positions, with accounts that say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.buffer import HeldBatch
from domain.account import Account, Grant, Loss
from domain.events import AudioAccepted, Event, GapDetected, InteractionEnded
from domain.media import MediaFormat


@dataclass(frozen=True, slots=True)
class BegunAgain:
    """What follows the start: batches to be published, and where the run stands before them."""

    base: Account
    batches: list[HeldBatch]
    loss: Loss


def begin_again(
    base: Account, held: Sequence[HeldBatch], grant: Grant, media: MediaFormat
) -> BegunAgain:
    """Renumber what is held behind the start that was granted.

    `base` is the account before the first batch held. `grant.account` is what the destination
    knows of the run, with the position of the start.
    """
    known = grant.account
    base, batches = _skip_known(base, held, known.last_seq, media)
    loss = Loss(
        max(0, base.ledger.published - known.ledger.published),
        max(0, base.ledger.bytes - known.ledger.bytes),
    )
    position = known.next_position + 1
    base = replace(base.less(loss, media), next_position=position)
    gap = _gap(known, base, position)
    after_gap = replace(base, next_position=position + 1)
    if gap is not None:
        base = replace(base, last_seq=known.last_seq)
        position += 1
    for batch in batches:
        batch.first_position = position
        position += len(batch.events)
        batch.account = replace(batch.account.less(loss, media), next_position=position)
        batch.events = [
            _moved(event, batch.first_position + i, batch.account)
            for i, event in enumerate(batch.events)
        ]
    if gap is not None:
        batches.insert(0, HeldBatch(gap.position, [gap], after_gap))
    return BegunAgain(base, batches, loss)


def _skip_known(
    base: Account, held: Sequence[HeldBatch], last_seq: int | None, media: MediaFormat
) -> tuple[Account, list[HeldBatch]]:
    """Leave out what the destination has: everything up to the frame of `last_seq`."""
    batches = [batch.unconfirmed() for batch in held]
    if last_seq is None:
        return base, batches
    events = [event for batch in batches for event in batch.events]
    frames = [i for i, event in enumerate(events) if _is_known(event, last_seq)]
    skipped = frames[-1] + 1 if frames else 0
    for batch in batches:
        known, batch.events = batch.events[:skipped], batch.events[skipped:]
        skipped -= len(known)
        for event in known:
            base = base.after(event, media)
    return base, batches


def _is_known(event: Event, last_seq: int) -> bool:
    if isinstance(event, GapDetected):
        return event.first_missing + event.missing - 1 <= last_seq
    return isinstance(event, AudioAccepted) and event.frame.seq <= last_seq


def _gap(known: Account, base: Account, position: int) -> GapDetected | None:
    """Declare the seqs behind the last known one that nobody holds."""
    first = base.first_seq if known.last_seq is None else known.last_seq + 1
    if first is None or base.last_seq is None or first > base.last_seq:
        return None
    return GapDetected(position, first, base.last_seq - first + 1)


def _moved(event: Event, position: int, account: Account) -> Event:
    if isinstance(event, InteractionEnded):
        return replace(event, position=position, ledger=account.ledger)
    return replace(event, position=position)
