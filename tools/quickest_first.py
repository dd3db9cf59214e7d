"""A plugin of pytest for `make mutate`: the tests of a mutant in the order of what they cost.

mutmut measures each test once, and stops at the first that fails: mostly a quick one, one that has
noticed another mutant of the same function, or one whose file has the name of the mutated file. A
mutant that does not end is stopped at the first test that takes far longer than it was measured.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

MEASURED = Path("mutmut-stats.json")
NOTICED = Path("noticed.txt")
"""A line for each mutant that a test noticed: the function, and the test."""

OVERHEAD = 0.01
"""About what pytest needs for any test, in seconds."""
GRACE, FACTOR = 15, 15
"""A test is stopped after so many seconds, and so many times as long as it was measured."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the time that a test took, over how likely it is to notice the mutant."""
    function = _mutated_function()
    if function is None or not MEASURED.exists():
        return
    seconds: dict[str, float] = json.loads(MEASURED.read_text(encoding="utf-8"))["duration_by_test"]
    module = _module(function)
    of_function, of_module = Counter[str](), Counter[str]()
    for line in NOTICED.read_text(encoding="utf-8").splitlines() if NOTICED.exists() else ():
        noticed, test = line.split(" ", 1)
        of_function[test] += noticed == function
        of_module[test] += _module(noticed) == module

    def cost(item: pytest.Item) -> float:
        has_its_name = module.rpartition(".")[2] in item.path.stem
        likely = 1 + 10 * of_function[item.nodeid] + of_module[item.nodeid] + 2 * has_its_name
        return (OVERHEAD + seconds.get(item.nodeid, 0)) / likely

    items.sort(key=cost)
    for item in items:
        item.add_marker(pytest.mark.timeout(GRACE + FACTOR * seconds.get(item.nodeid, 0)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which test noticed the mutant."""
    function = _mutated_function()
    if report.failed and function is not None:
        with NOTICED.open("a", encoding="utf-8") as file:
            file.write(f"{function} {report.nodeid}\n")


def _mutated_function() -> str | None:
    """Return the function of the mutant that is tried, or None if none is."""
    function, mark, _ = os.environ.get("MUTANT_UNDER_TEST", "").rpartition("__mutmut_")
    return function if mark else None


def _module(function: str) -> str:
    return function.rpartition(".")[0]
