"""Where a frame stands in the sender's numbering: in order, after a gap, or a duplicate.

One integer is enough, the highest seq accepted so far: verdicts take constant time and memory
whatever the sender jumps to. The first seq of a run is its baseline; any value is in order.
"""

from dataclasses import dataclass

from domain.errors import InvalidSequenceNumber

MAX_SEQ = 2**53 - 1
"""Largest integer that survives JSON and Lua, which know only doubles (IEEE 754 binary64)."""


@dataclass(frozen=True, slots=True)
class InOrder:
    """The next seq, or the first of the run."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` seqs from `first_missing` on have not come before this one."""

    first_missing: int
    missing: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Repeated or late: at or below the highest seq accepted."""


Verdict = InOrder | Gap | Duplicate

IN_ORDER = InOrder()
DUPLICATE = Duplicate()


def check_seq(seq: int) -> None:
    """Accept a sequence number a sender may use.

    Raises:
        InvalidSequenceNumber: `seq` is outside 0 … `MAX_SEQ`.

    """
    if not 0 <= seq <= MAX_SEQ:
        raise InvalidSequenceNumber(f"seq must be an integer from 0 to {MAX_SEQ}")


def judge(seq: int, highest: int | None) -> Verdict:
    """Judge `seq` against the highest seq accepted so far, None when there is none."""
    if highest is None or seq == highest + 1:
        return IN_ORDER
    if seq <= highest:
        return DUPLICATE
    return Gap(first_missing=highest + 1, missing=seq - highest - 1)
