"""The fenced blocks of the documents, one by one; of a block for a shell, its commands."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PLACES = ("*.md", "docs/**/*.md", "deploy/**/*.md", "clients/*/*.md", "examples/*/*.md",
          "src/**/*.md")  # fmt: skip
FENCE = re.compile(r"^ *```(?P<language>\S*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(^|\s+)#.*$")
MARK = re.compile(r"<!-- ([\w-]+) -->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is the name in the comment before it, if there is one."""

    document: str
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def commands(self) -> list[str]:
        """The commands of a block for a shell, each in one line and without its comment."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = (re.sub(r"\s+", " ", COMMENT.sub("", line)).strip() for line in lines)
        return [it for it in found if it]

    @property
    def pieces(self) -> list[str]:
        """What is accounted for: each command, or of any other block its first line."""
        return self.commands if self.language == "sh" else self.text.strip().splitlines()[:1]


def documents() -> dict[str, str]:
    """Return the text of each document, by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for place in PLACES
        for path in sorted(ROOT.glob(place))
        if "node_modules" not in path.parts
    }


def blocks_of(document: str, text: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        mark = MARK.search(before)
        yield Block(
            document,
            before.count("\n") + 1,
            found["language"],
            textwrap.dedent(found["text"]),
            mark[1] if mark else "",
        )


def block(document: str, begins: str) -> Block:
    """Return the one block of a document that has such a mark, or begins so."""
    text = (ROOT / document).read_text(encoding="utf-8")
    every = blocks_of(document, text)
    (found,) = [it for it in every if it.mark == begins or it.text.startswith(begins)]
    return found


def replaced(text: str, **values: str) -> str:
    """Return a text with values for names; fails where one of them is not in it."""
    for name, value in values.items():
        assert name in text, f"{name} is not in {text}"
        text = text.replace(name, value)
    return text
