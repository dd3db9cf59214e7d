"""Compares the head in the store with a writer's log: older, newer, or on another branch.

the head                                      is           the writer
──────────────────────────────────────────────────────────────────────────────────────────
of a lease of the writer's, inside its log    At(p)        replays from position p
of a lease that was granted later             Newer        is fenced
none, below the log, of an older lease, of
entries that are lost                         Elsewhere    rebases after it
"""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.head import Head, Lease, start_of


@dataclass(frozen=True, slots=True)
class Reach:
    """The entries of a writer's log, by position.

    `owners` are the tokens of the leases under which its positions are numbered. It holds the
    entries from `first_position` up to, but not including, `next_position`. `lease` is its newest.
    `generations` lists the first position of each generation, ascending.
    """

    owners: frozenset[str]
    first_position: int
    next_position: int
    lease: Lease
    generations: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class At:
    """The store has the writer's entries below `position`, and no other entries after them."""

    position: int


@dataclass(frozen=True, slots=True)
class Newer:
    """A lease that was granted later holds the stream."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The store lacks entries of the writer, and no newer writer holds the stream."""


Placement = At | Newer | Elsewhere


def place(head: Head | None, reach: Reach) -> Placement:
    """Compare the head of the store with a writer's log."""
    if head is None:
        return Elsewhere()
    is_held = reach.first_position <= head.next_position <= reach.next_position
    if head.account_lost:
        written = _generation_below(head.next_position, reach)
        is_ours = is_held and written == head.lease.generation
        return At(head.next_position) if is_ours else Elsewhere()
    if head.lease.owner in reach.owners:
        return At(head.next_position) if is_held and not head.entries_lost else Elsewhere()
    is_of_same_start = start_of(head.lease.owner) == start_of(reach.lease.owner)
    is_newer = head.lease.order > reach.lease.order and not is_of_same_start
    return Newer() if is_newer else Elsewhere()


def _generation_below(position: int, reach: Reach) -> int:
    """Return the generation of the entry below a position; the log may no longer hold it."""
    written = [generation for first, generation in reach.generations if first < position]
    if written:
        return written[-1]
    return reach.generations[0][1] if reach.generations else reach.lease.generation
