"""docs/extending/dialect.md, followed to the letter."""

import re
from pathlib import Path

import pytest
from document_blocks import block
from example_venv import ExampleVenv
from ports import quiet_port

GUIDE = Path(__file__).parents[2] / "docs" / "extending" / "dialect.md"
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> ExampleVenv:
    folder = tmp_path_factory.mktemp("guide")
    files = dict(FILE.findall(GUIDE.read_text(encoding="utf-8")))
    assert set(files) == {"pyproject.toml", "src/acme_wire/__init__.py", "tests/test_acme.py"}
    for name, text in files.items():
        path = folder / "acme" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return ExampleVenv(folder / "acme", folder)


def test_the_contract_holds_for_the_dialect_of_the_guide(guide: ExampleVenv) -> None:
    pip, tests, _ = block("docs/extending/dialect.md", "pip install").commands
    assert pip.endswith("whl[testing]' .")  # as `guide` has done
    assert tests == "pytest tests"
    report = guide.shell(tests, guide.folder, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert " passed" in report


def test_the_service_names_it(guide: ExampleVenv) -> None:
    environment = {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
    told = block("docs/extending/dialect.md", "pip install").text.splitlines()[-1]
    command, _, names = told.partition("#")
    assert command.strip() == "rtaa-ingest check"
    shown = guide.shell(command, guide.folder, PORT=str(quiet_port()), **environment)
    assert f"{names.strip()}\n" in shown
