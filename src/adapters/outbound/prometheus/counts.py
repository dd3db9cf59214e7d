"""Counts by label."""

from typing import Any


def add_to(mine: dict[Any, int], theirs: dict[Any, int]) -> None:
    """Add counts to those of the same labels."""
    for label, count in theirs.items():
        mine[label] = mine.get(label, 0) + count
