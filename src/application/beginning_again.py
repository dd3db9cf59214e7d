"""How a writer goes on with a stream that its destination has forgotten, wholly or partly.

The destination stands somewhere before what is held: at an older position, in a younger past of
the run, or nowhere. What lies between and is held by nobody is lost and declared by one gap; what
is held follows at new positions, with accounts that say so. The destination may also have more than
was thought: it had forgotten that the stream was taken over, and was refilled by who wrote before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from application.buffer import HeldBatch
from domain.account import Account, Grant, Recount
from domain.events import AudioAccepted, Event, GapDetected, InteractionEnded
from domain.media import MediaFormat


@dataclass(frozen=True, slots=True)
class BegunAgain:
    """What follows the start: batches to be published, and where the run stands before them."""

    base: Account
    batches: list[HeldBatch]
    recount: Recount


def begin_again(
    base: Account, held: Sequence[HeldBatch], grant: Grant, media: MediaFormat
) -> BegunAgain:
    """Renumber what is held behind the start that was granted.

    `base` is the account before the first batch held. `grant.account` is what the destination
    knows of the run, with the position of the start.
    """
    known = grant.account
    base, batches = _skip_known(base, held, known.last_seq, media)
    declared = base.last_seq if base.last_seq is not None else _last_before(batches)
    more = known.ledger.published - base.ledger.published
    recount = Recount(
        forgotten=max(0, -more),
        found=max(0, more),
        audio_bytes=known.ledger.bytes - base.ledger.bytes,
        first_seq=known.first_seq,
        last_seq=known.last_seq if known.last_seq is None else max(known.last_seq, declared or 0),
    )
    position = known.next_position + 1
    gap = _gap(known.last_seq, base.first_seq, declared, position)
    base = replace(base.recounted(recount, media), next_position=position)
    after_gap = replace(base, next_position=position + 1)
    if gap is not None:
        base = replace(base, last_seq=known.last_seq)
        position += 1
    for batch in batches:
        batch.first_position = position
        position += len(batch.events)
        batch.account = replace(batch.account.recounted(recount, media), next_position=position)
        batch.events = [
            _moved(event, batch.first_position + i, batch.account)
            for i, event in enumerate(batch.events)
        ]
    if gap is not None:
        batches.insert(0, HeldBatch(gap.position, [gap], after_gap))
    return BegunAgain(base, batches, recount)


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
    while batches and skipped >= len(batches[0].events):
        skipped -= len(batches[0].events)
        base = batches.pop(0).account
    if batches:
        for event in batches[0].events[:skipped]:
            base = base.after(event, media)
        batches[0].events = batches[0].events[skipped:]
    for batch in batches:
        batch.events = [_unknown_part(event, last_seq) for event in batch.events]
    return base, batches


def _unknown_part(event: Event, last_seq: int) -> Event:
    """Shorten a gap in which the destination has frames."""
    known = last_seq + 1 - event.first_missing if isinstance(event, GapDetected) else 0
    if known <= 0 or not isinstance(event, GapDetected):
        return event
    return GapDetected(event.position, last_seq + 1, event.missing - known)


def _is_known(event: Event, last_seq: int) -> bool:
    if isinstance(event, GapDetected):
        return event.first_missing + event.missing - 1 <= last_seq
    return isinstance(event, AudioAccepted) and event.frame.seq <= last_seq


def _last_before(batches: Sequence[HeldBatch]) -> int | None:
    """Return the seq before the first that is held; None if none is."""
    for batch in batches:
        for event in batch.events:
            if isinstance(event, AudioAccepted):
                return event.frame.seq - 1
            if isinstance(event, GapDetected):
                return event.first_missing - 1
    return None


def _gap(
    known_last: int | None, first_seq: int | None, declared: int | None, position: int
) -> GapDetected | None:
    """Say which seqs up to `declared`, behind what the destination has, nobody holds."""
    first = first_seq if known_last is None else known_last + 1
    if first is None or declared is None or first > declared:
        return None
    return GapDetected(position, first, declared - first + 1)


def _moved(event: Event, position: int, account: Account) -> Event:
    if isinstance(event, InteractionEnded):
        return replace(event, position=position, ledger=account.ledger)
    return replace(event, position=position)
