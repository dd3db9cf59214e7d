"""A stream that its destination has forgotten in part: what is written to it, and what is counted.

The oracle is the list of all frames and one interaction that hears them without a failure.
"""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from application.beginning_again import BegunAgain, begin_again
from application.buffer import HeldBatch
from domain.account import Account, Grant
from domain.events import AudioAccepted, Event, GapDetected, Opening
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.interaction import Interaction
from domain.ledger import Ledger
from domain.media import AudioFrame, MediaFormat

MEDIA = MediaFormat(8_000)
OPENING = Opening(StreamKey(TenantId("t"), StreamId("s")), InteractionId("i"), "d", MEDIA, 0)

seqs = st.lists(st.integers(1, 3), min_size=1, max_size=12).map(
    lambda steps: [sum(steps[: i + 1]) for i in range(len(steps))]
)


def begun(generation: int = 1, account: Account | None = None) -> Interaction:
    interaction = Interaction(OPENING)
    known = Account() if account is None else account
    interaction.start(Grant(generation, account is not None, known))
    return interaction


def hear(interaction: Interaction, seq: int) -> list[Event]:
    return list(interaction.hear(AudioFrame(MEDIA, seq, 0, bytes(2 * seq + 2))))


def batches_of(parts: Sequence[tuple[list[Event], Account]]) -> list[HeldBatch]:
    return [
        HeldBatch(
            account.next_position - len(events),
            events,
            account,
            sum(len(e.frame.audio) for e in events if isinstance(e, AudioAccepted)),
        )
        for events, account in parts
    ]


def read(known: list[Event], start: int, again: BegunAgain) -> tuple[list[int], list[int]]:
    """Return which seqs are published and which are declared missing, in the order of the stream.

    Checks that positions are dense, and that every account is that of its place.
    """
    published = [e.frame.seq for e in known if isinstance(e, AudioAccepted)]
    declared: list[int] = []
    position = start + 1
    for batch in again.batches:
        assert batch.first_position == position
        for event in batch.events:
            assert event.position == position
            position += 1
            if isinstance(event, GapDetected):
                declared += range(event.first_missing, event.first_missing + event.missing)
            if isinstance(event, AudioAccepted):
                published.append(event.frame.seq)
        assert batch.account.next_position == position
        assert batch.account.ledger.published == len(published)
        assert batch.account.ledger.bytes == sum(2 * seq + 2 for seq in published)
    for event in known:
        if isinstance(event, GapDetected):
            declared += range(event.first_missing, event.first_missing + event.missing)
    return published, declared


@given(seqs, st.integers(0, 12), st.integers(0, 12))
def test_what_is_held_follows_and_what_nobody_holds_is_declared(
    said: list[int], known_frames: int, base_frames: int
) -> None:
    interaction = begun()
    parts = [(hear(interaction, seq), interaction.account) for seq in said]
    accounts = [begun().account, *(account for _, account in parts)]
    known_frames, base_frames = min(known_frames, len(said)), min(base_frames, len(said))
    known = [event for events, _ in parts[:known_frames] for event in events]
    grant = Grant(2, True, accounts[known_frames])
    again = begin_again(accounts[base_frames], batches_of(parts[base_frames:]), grant, MEDIA)
    lost = said[known_frames:base_frames]
    published, declared = read(known, accounts[known_frames].next_position, again)
    assert published == [seq for seq in said if seq not in lost]
    assert len(set(declared)) == len(declared)
    assert sorted([*published, *declared]) == list(range(said[0], said[-1] + 1))
    assert again.recount.forgotten == len(lost)
    assert again.recount.found == 0
    end = again.batches[-1].account if again.batches else again.base
    interaction.begin_again(2, end.next_position, again.recount)
    assert interaction.ledger == Ledger(
        received=len(said),
        published=len(published),
        lost=len(lost),
        missing=said[-1] - said[0] + 1 - len(published),
        bytes=sum(2 * seq + 2 for seq in published),
        audio_ms=MEDIA.duration_ms(sum(2 * seq + 2 for seq in published)),
    )
    if again.batches:
        assert end == replace(interaction.account, next_position=end.next_position)


@given(seqs, st.integers(0, 12), st.integers(0, 12))
def test_what_another_writer_has_published_meanwhile_is_found(
    said: list[int], taken_over_after: int, found_after: int
) -> None:
    """Its destination forgot frames, was taken over, forgot that as well, and was refilled."""
    taken_over_after = min(taken_over_after, len(said))
    found_after = min(max(found_after, taken_over_after), len(said))
    older = begun()
    parts = [(hear(older, seq), older.account) for seq in said[:found_after]]
    accounts = [begun().account, *(account for _, account in parts)]
    newer = begun(2, accounts[taken_over_after])
    base = newer.account
    held = [(hear(newer, seq), newer.account) for seq in said[found_after:]]
    grant = Grant(2, True, accounts[found_after])
    again = begin_again(base, batches_of(held), grant, MEDIA)
    known = [event for events, _ in parts for event in events]
    published, declared = read(known, accounts[found_after].next_position, again)
    assert published == said
    assert sorted([*published, *declared]) == list(range(said[0], said[-1] + 1))
    assert again.recount.found == found_after - taken_over_after
    unbroken = begun()
    for seq in said:
        hear(unbroken, seq)
    end = again.batches[-1].account if again.batches else again.base
    newer.begin_again(3, end.next_position, again.recount)
    assert newer.ledger == unbroken.ledger
    assert newer.last_seq == unbroken.last_seq
    assert end == replace(unbroken.account, next_position=end.next_position)
