"""The example distribution, as a third party has it: beside the built wheel, in its own venv."""

from pathlib import Path

import pytest
from document_blocks import block, replaced
from example_venv import RUN_SECONDS, ExampleVenv, count_code
from folders import folder_in_memory
from ports import quiet_port

pytestmark = [pytest.mark.long(40), pytest.mark.timeout(RUN_SECONDS + 30)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "file_store"
MAX_LINES = 150
"""Of code: without blank lines, docstrings, comments and imports."""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExampleVenv:
    return ExampleVenv(EXAMPLE, tmp_path_factory.mktemp("example"))


def test_it_is_run_against_the_wheel(example: ExampleVenv) -> None:
    found = example.run("-c", "import application.testing as it, file_store; print(it.__file__)")
    assert Path(found.strip()).is_relative_to(example.python.parents[1])


def test_its_readme(example: ExampleVenv, tmp_path: Path) -> None:
    """Its own tests pass, and `check` takes it."""
    pip, *commands = block("examples/file_store/README.md", "pip install").text.splitlines()
    assert pip == "pip install ./rtaa_ingest-*.whl ./examples/file_store"  # as `example` has done
    script = replaced("\n".join(commands), **{"/var/lib/rtaa": str(tmp_path)})
    with folder_in_memory() as folder:
        report = example.shell(
            script,
            ROOT,
            PORT=str(quiet_port()),
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            PYTEST_ADDOPTS=f"--basetemp={folder / 'tests'}",
        )
    assert "takes writes" in report
    assert " passed" in report


def test_it_is_found_by_its_entry_point(example: ExampleVenv) -> None:
    program = (
        "from importlib.metadata import entry_points;"
        "(point,) = entry_points(group='rtaa_ingest.destinations');"
        "print(point.name, point.load()().name)"
    )
    assert example.run("-c", program) == "file_store file_store\n"


def test_it_shows_how_little_an_adapter_takes() -> None:
    lines = sum(
        count_code(path.read_text(encoding="utf-8")) for path in (EXAMPLE / "src").rglob("*.py")
    )
    assert 0 < lines <= MAX_LINES
