"""The check for words that the glossary replaces finds them, and nothing else."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "plain_words.py"))


@pytest.mark.parametrize(
    "line",
    [
        "The broker forgot it.",
        "def goes_on(run: Run) -> bool:",
        "Somebody has to mend it.",
        "MOST_BYTES = 3",
        "self._beats = 0",
        "The run begins anew.",
        "# Where the store stands",
        "async def test_a_gap_behind_a_head() -> None:",
        "self.is_behind = True",
        "session.note_unread()",
        "a start that is under way",
    ],
)
def test_a_replaced_word_is_found(line: str) -> None:
    assert [number for number, _, _ in TOOL["findings"](f"clean\n{line}\n")] == [2]


@pytest.mark.parametrize(
    "line",
    ["a call that stands still", "standing", "behind a proxy", "class Anew:", "unread"],
)
def test_ordinary_words_pass(line: str) -> None:
    assert list(TOOL["findings"](line)) == []


def test_code_in_markdown_is_a_quote() -> None:
    text = TOOL["without_quotes"]("a `forgotten` label\n```\nanew\n```\nanew\n")
    assert [number for number, _, _ in TOOL["findings"](text)] == [5]


def test_every_path_exists() -> None:
    paths = [*TOOL["CLEAN"], *TOOL["QUOTING"]]
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_all_is_searched_but_what_quotes_the_words() -> None:
    found = {str(path.relative_to(ROOT)) for path in TOOL["files"](TOOL["CLEAN"])}
    assert {"Makefile", ".github/workflows/ci.yml", "tests/conftest.py"} <= found
    assert {Path(it).suffix for it in found} >= {".html", ".lua", ".mjs", ".toml"}
    assert "tests/architecture/test_boundaries.py" in found
    assert [it for it in found for quoting in TOOL["QUOTING"] if it.startswith(quoting)] == []
