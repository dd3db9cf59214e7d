"""Finds words that docs/glossary.md replaces.

    python tools/plain_words.py [PATH ...]      without paths: those of `CLEAN`

Exits 1 if there is any. An underscore counts as a blank, so identifiers are checked too. In
Markdown, code spans and code blocks are quotes and are skipped.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CLEAN = (
    "*.md", ".ci", ".github", ".pre-commit-config.yaml", "Makefile", "benchmarks",
    "clients/node/README.md", "clients/node/src", "clients/node/test", "clients/python", "deploy",
    "docs", "examples", "pyproject.toml", "src", "tests", "tools",
)  # fmt: skip
"""Files and folders that are searched: the whole repository."""

QUOTING = (
    "tests/architecture/test_plain_words.py", "tests/fixtures/asyncapi", "tools/plain_words.py",
)  # fmt: skip
"""What is left out: it quotes these words, or another project's text."""

TOOLS = {".venv", "node_modules", "__pycache__"}
"""Folders that tools write, beside those that end with `_cache`."""

WORDS = {
    r"overtaken": "fenced, superseded",
    r"is past": "is fenced",
    r"forgot|forgotten|forgets|may forget|vanish\w*": "rolled back, wiped, evicted, lost",
    r"giv(e|es|en|ing) again|gave again|refill\w*|recount\w*": "replay, rebase",
    r"beg(in|ins|an|un|inning) (again|anew)|(?-i:anew)": "a new run, rebase, once more",
    r"go on|goes on|gone on|went on|going on": "resume, continue",
    r"suspect\w*|unproved|is proved": "in doubt, in sync",
    r"no room": "back-pressure, drop",
    r"said|wish\w*|patience": "start request, pending start, retry budget",
    r"nobody|somebody|whoever": "the process, sender or operator that is meant",
    r"beats?|untended|tended": "heartbeat, expired",
    r"seats?|last words": "slot, snapshot",
    r"prelude|put up with": "early message, tolerate",
    r"(?-i:(MOST|LEAST) [A-Z]+)": "MAX_, MIN_",
    r"stands?(?! (still|for|in|flat|beside)\b)": "is, has; the head, the position, the state",
    r"is behind|behind (\w+ )?(account|append|batch|close|cursor|entry|entries|frames?|gaps?|head"
    r"|position|rebase|runs?|ends?|leases?|starts?)": "after, catching up",
    r"note (un)?read": "note paused, note unpaused",
    r"under way": "in flight, pending",
}
"""A pattern, and what to write instead."""
_PATTERNS = {re.compile(rf"\b({words})\b", re.IGNORECASE): it for words, it in WORDS.items()}
_QUOTES = re.compile(r"```.*?```|``.*?``|`[^`]*`", re.DOTALL)
_TEXT = {
    "", ".cfg", ".conf", ".html", ".js", ".json", ".lua", ".md", ".mjs", ".py", ".service", ".toml",
    ".yaml", ".yml",
}  # fmt: skip


def without_quotes(text: str) -> str:
    """Return Markdown with its code replaced by blanks, line by line."""
    return _QUOTES.sub(lambda quote: re.sub(r"[^\n]", " ", quote[0]), text)


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, word and what to write instead, for every word that is replaced."""
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, instead in _PATTERNS.items():
            for found in pattern.finditer(line.replace("_", " ")):
                yield number, found[0], instead


def files(paths: tuple[str, ...]) -> Iterator[Path]:
    """Yield the text files at and under these paths, which may be patterns, but those `QUOTING`."""
    quoting = {ROOT / it for it in QUOTING}
    for path in (found for it in paths for found in sorted(ROOT.glob(it))):
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        text = (it for it in found if path == it or (it.is_file() and it.suffix in _TEXT))
        yield from (
            it for it in text if quoting.isdisjoint({it, *it.parents}) and not _is_cached(it)
        )


def _is_cached(path: Path) -> bool:
    """Return whether a tool has written the file."""
    folders = path.relative_to(ROOT).parts[:-1]
    return any(it.endswith("_cache") or it in TOOLS for it in folders)


def main(paths: tuple[str, ...]) -> int:
    """Print `path:line: "found": write ...` and return the exit status."""
    lines = []
    for path in files(paths):
        text = path.read_text(encoding="utf-8")
        text = without_quotes(text) if path.suffix == ".md" else text
        for number, word, instead in findings(text):
            lines.append(f'{path.relative_to(ROOT)}:{number}: "{word}": write {instead}')
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or CLEAN))
