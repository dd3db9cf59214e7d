"""What the documents name is there."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from entrypoints.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| .+ \| (.*`.+`.*) \|$", GLOSSARY, re.MULTILINE)
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(("term", "home"), ROWS)
def test_the_code_has_what_the_glossary_names(term: str, home: str) -> None:
    groups = re.findall(r"((?:`\w+`(?:, )?)+) in `([\w/.]+)`", home)
    assert groups, term
    for names, path in groups:
        text = (ROOT / "src" / path).read_text(encoding="utf-8")
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b{name}\b", text), f"{name} in {path}"


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", it.lower()).replace(" ", "-") for it in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: str(it.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


def test_no_document_is_without_a_link_to_it() -> None:
    texts = {it: it.read_text(encoding="utf-8") for it in DOCUMENTS}
    linked = {
        (document.parent / target.partition("#")[0]).resolve()
        for document, text in texts.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
    }
    alone = [it for it in DOCUMENTS if it.resolve() not in linked]
    assert alone == []


def test_the_page_of_commands_has_each_command_and_options_that_exist() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `rtaa-ingest (\w+).*?` \| (.+) \|$", page, re.MULTILINE))
    assert rows.keys() == set(COMMANDS)
    for name, row in rows.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        options = {it for parameter in command.params for it in parameter.opts}
        assert set(re.findall(r"`(--[\w-]+)", row)) <= options, name


def test_what_make_offers_is_what_the_makefile_has() -> None:
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    offered = set(re.findall(r"make (\w+)", shown.stdout))
    named = {
        it for document in DOCUMENTS for it in re.findall(r"`make (\w+)", document.read_text())
    }
    assert named <= offered


def test_the_log_lines_that_documents_quote_are_in_the_code() -> None:
    code = "\n".join(it.read_text(encoding="utf-8") for it in (ROOT / "src").rglob("*.py"))
    for document in DOCUMENTS:
        for quoted in re.findall(
            r"\blog(?: line)? `([^`…]+)", document.read_text(encoding="utf-8")
        ):
            words = re.sub(r"\d+", r"(?:\\d+|{\\w+})", re.escape(quoted.strip()))
            assert re.search(words, code), f"{document.name}: {quoted}"
