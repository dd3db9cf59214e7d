"""The sender's numbering of its frames: what a seq may be.

`Interaction.hear` judges a seq against the highest that was accepted: the next one is in order, one
at or below it is a duplicate, and one above leaves a gap. It needs one integer: time and memory are
constant for any jump. The first seq of a run is its baseline. Only messages that are dropped before
a start is granted are counted elsewhere, in `application.call.early_messages`.
"""

from domain.errors import InvalidSequenceNumber

MAX_SEQ = 2**53 - 1
"""Largest integer that survives JSON and Lua, which know only doubles (IEEE 754 binary64)."""


def check_seq(seq: int) -> None:
    """Accept a sequence number a sender may use.

    Raises:
        InvalidSequenceNumber: `seq` is outside 0 … `MAX_SEQ`.

    """
    if not 0 <= seq <= MAX_SEQ:
        raise InvalidSequenceNumber(f"seq must be an integer from 0 to {MAX_SEQ}")
