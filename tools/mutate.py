"""Breaks the rules in small ways, one way at a time, and counts the tests that do not notice.

    make mutate                                   all of src/domain and src/application/delivery
    make mutate MUTATE=src/domain/rebase.py       one file, or a folder, or several
    make mutate MUTATE="--jobs 1 src/domain"
    make mutate MUTATE=--resume                   what a run that was stopped has not tried

mutmut does the work; pyproject.toml configures it. This starts it, and prints the mutants that
survive and the score of each file. Exits 1 below 90 %. docs/design/mutation.md has the figures.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = ("src/domain", "src/application/delivery")
MUTMUT = ROOT / ".venv" / "mutate" / "bin" / "mutmut"
RESULTS = ROOT / "mutants"
WANTED = 90

KILLED, SURVIVED, TOO_LONG, UNTESTED, OTHER = "killed", "survived", "too long", "untested", "other"
_OUTCOMES = {
    0: SURVIVED, 1: KILLED, 3: KILLED, 5: UNTESTED, 33: UNTESTED,
    -24: TOO_LONG, 24: TOO_LONG, 36: TOO_LONG, 152: TOO_LONG, 255: TOO_LONG,
}  # fmt: skip
"""What mutmut notes as the exit of pytest; a mutant that does not end is noticed as well."""


def main() -> int:
    """Run mutmut on what is named, and judge."""
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("paths", nargs="*", default=RULES, help="files or folders below src/")
    parser.add_argument("--jobs", default=str(os.cpu_count() or 1), help="mutants at a time")
    parser.add_argument(
        "--resume", action="store_true", help="keep results, and try the rest of all"
    )
    arguments = parser.parse_args()
    patterns = [_pattern(path) for path in arguments.paths]

    if arguments.resume:
        patterns = []  # mutmut tries what is named again, and else only what it has not tried
    else:
        shutil.rmtree(RESULTS, ignore_errors=True)
    search = [str(MUTMUT.parents[1]), str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "HYPOTHESIS_PROFILE": "mutate",
        "PYTHONPATH": os.pathsep.join(it for it in search if it),
    }
    command = [str(MUTMUT), "run", "--max-children", arguments.jobs, *patterns]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        return 1

    outcomes = read_outcomes(RESULTS)
    for name in (it for of_file in outcomes.values() for it in of_file if of_file[it] != KILLED):
        shown = subprocess.run(
            [str(MUTMUT), "show", name],
            cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        print(shown.stdout)
    print(table(outcomes))
    reached = score(outcome for of_file in outcomes.values() for outcome in of_file.values())
    return int(reached < WANTED)


def read_outcomes(results: Path) -> dict[str, dict[str, str]]:
    """Return the outcome of each mutant that was tried, by file and name."""
    outcomes = {}
    for path in sorted(results.rglob("*.py.meta")):
        exits: Mapping[str, int | None] = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
        tried = {it: _OUTCOMES.get(code, OTHER) for it, code in exits.items() if code is not None}
        if tried:
            outcomes[str(path.relative_to(results).with_suffix(""))] = tried
    return outcomes


def score(outcomes: Iterable[str]) -> float:
    """Return how many of a hundred mutants the tests notice."""
    counts = Counter(outcomes)
    return 100 * (counts[KILLED] + counts[TOO_LONG]) / max(1, counts.total())


def table(outcomes: Mapping[str, Mapping[str, str]]) -> str:
    """Return the score of each file and of all, in Markdown."""
    everything = [outcome for of_file in outcomes.values() for outcome in of_file.values()]
    rows = [
        *((it, list(of_file.values())) for it, of_file in outcomes.items()),
        ("all", everything),
    ]
    lines = ["| file | mutants | not noticed | score |", "|---|---|---|---|"]
    for name, of_file in rows:
        missed = sum(it not in (KILLED, TOO_LONG) for it in of_file)
        lines.append(f"| `{name}` | {len(of_file)} | {missed} | {score(of_file):.1f} % |")
    return "\n".join(lines)


def _pattern(path: str) -> str:
    """Return the mutants of a file or a folder, as mutmut names them."""
    return ".".join([*Path(path).with_suffix("").parts[1:], "*"])


if __name__ == "__main__":
    sys.exit(main())
