"""The order of test files: the longest first, and those that compute between those that wait.

Files run side by side. Tests of processes, servers and brokers mostly wait, rules and properties
only compute: mixed, neither the cores are idle nor a file that waits is kept from them for long.
A file that takes long and came last would be waited for alone: those with the mark `long` come
first, the longest before the others.
"""

from collections.abc import Sequence
from itertools import groupby

import pytest

COMPUTES = ("property", "unit")
"""Folders of tests that compute."""

File = Sequence[pytest.Item]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; each keeps the order of its tests."""
    files: list[File] = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
    waiting = sorted((file for file in files if not _computes(file)), key=_seconds, reverse=True)
    computing = [file for file in files if _computes(file)]
    items[:] = [item for file in _mixed(waiting, computing) for item in file]


def _mixed(*kinds: Sequence[File]) -> Sequence[File]:
    """Mix kinds of files evenly; each kind keeps its order."""
    placed = [(index / len(kind), file) for kind in kinds for index, file in enumerate(kind)]
    return [file for _, file in sorted(placed, key=lambda it: it[0])]


def _seconds(file: File) -> float:
    """Return how long a file takes, which is told where that is long."""
    mark = file[0].get_closest_marker("long")
    return 0.0 if mark is None else float(mark.args[0])


def _computes(file: File) -> bool:
    return file[0].path.parent.name in COMPUTES
