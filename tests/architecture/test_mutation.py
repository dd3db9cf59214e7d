"""What `make mutate` breaks, what it tries the mutants with, and how it judges."""

import json
import tomllib
from pathlib import Path

from tools.mutate import ROOT, RULES, read_outcomes, score, table

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]


def test_the_files_that_are_named_are_there() -> None:
    tests = SETTINGS["pytest_add_cli_args_test_selection"]
    assert [it for it in [*tests, *SETTINGS["do_not_mutate"]] if not (ROOT / it).exists()] == []
    assert SETTINGS["only_mutate"] == [f"{folder}/*" for folder in RULES]


def test_a_mutant_is_noticed_if_a_test_fails_or_does_not_end(tmp_path: Path) -> None:
    results = tmp_path / "src" / "domain" / "rules.py.meta"
    results.parent.mkdir(parents=True)
    exits = {"failed": 1, "endless": -24, "passed": 0, "no test": 33, "crashed": -11, "later": None}
    results.write_text(json.dumps({"exit_code_by_key": exits}), encoding="utf-8")
    outcomes = read_outcomes(tmp_path)
    assert outcomes == {
        "src/domain/rules.py": {
            "failed": "killed",
            "endless": "too long",
            "passed": "survived",
            "no test": "untested",
            "crashed": "other",
        }
    }
    assert score(outcomes["src/domain/rules.py"].values()) == 40
    assert "| `src/domain/rules.py` | 5 | 3 | 40.0 % |" in table(outcomes)
