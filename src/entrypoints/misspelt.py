"""Finds misspelt variables, which an environment hides.

A misspelt variable has no effect, and its default is in force. It causes a warning, not an error:
another program may use a variable of that name.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache
from itertools import pairwise

from entrypoints.environment import FILE_SUFFIX

MAX_SHORT = 5
"""A name of up to so many letters is a word, with other words all around it (HOST: COST, HOSTS)."""

MIN_FOR_TWO = 8
"""A shorter name may differ in one letter only."""

MAX_EDITS = 2

NAMES_OF_OTHERS = frozenset({"REDIS_URI", "NATS_URI"})
"""Names of other programs' variables that resemble ours."""


def find_misspelt(
    names: Iterable[str], known: AbstractSet[str], missing: AbstractSet[str] = frozenset()
) -> dict[str, str]:
    """Return the names that are nearly one of `known`, each with the one it is nearest to.

    `NAMES_OF_OTHERS` count only when they are near to a name that is `missing`.
    """
    ours = known | {f"{name}{FILE_SUFFIX}" for name in known}
    found = {}
    for name in sorted(set(names) - ours):
        meant = _nearest(name, ours) if name.isprintable() else None
        if meant is None:
            continue
        stem, meant_stem = name.removesuffix(FILE_SUFFIX), meant.removesuffix(FILE_SUFFIX)
        if stem not in NAMES_OF_OTHERS or meant_stem in missing:
            found[name] = meant
    return found


def _nearest(name: str, ours: AbstractSet[str]) -> str | None:
    candidates = [(edits, other) for other in ours if (edits := _edits(name, other)) is not None]
    return min(candidates)[1] if candidates else None


def _edits(name: str, meant: str) -> int | None:
    """Return in how many letters a name differs from `meant`; None if too many."""
    if name.endswith(FILE_SUFFIX) and meant.endswith(FILE_SUFFIX):
        return _edits(name.removesuffix(FILE_SUFFIX), meant.removesuffix(FILE_SUFFIX))
    if len(meant.removesuffix(FILE_SUFFIX)) <= MAX_SHORT:
        return 1 if _is_slip(name, meant) else None
    upper = name.upper()
    if abs(len(upper) - len(meant)) > MAX_EDITS or not _may_be_near(upper, meant):
        return None
    edits = distance(upper, meant)
    begins_alike = upper[:1] == meant[:1] and len(meant) >= MIN_FOR_TWO
    return edits if edits <= (MAX_EDITS if begins_alike else 1) else None


def _is_slip(name: str, meant: str) -> bool:
    """Whether two neighbours have changed places, or a letter is missing or doubled."""
    swapped = {
        meant[:at] + second + first + meant[at + 2 :]
        for at, (first, second) in enumerate(pairwise(meant))
    }
    missing = {meant[:at] + meant[at + 1 :] for at in range(len(meant))}
    doubled = {meant[:at] + letter + meant[at:] for at, letter in enumerate(meant)}
    return name in swapped | missing | doubled


def _may_be_near(one: str, other: str) -> bool:
    """Whether the distance may be small: each edit adds, drops or replaces one letter at most."""
    letters, others = _letters(one), _letters(other)
    return max(len(letters - others), len(others - letters)) <= MAX_EDITS


@lru_cache(maxsize=256)
def _letters(name: str) -> frozenset[str]:
    return frozenset(name)


def distance(one: str, other: str) -> int:
    """Count the letters to insert, drop, replace or swap with a neighbour (string alignment)."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        next_row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            next_row.append(cost)
        before, row = row, next_row
    return row[-1]
