"""The example distribution, as a third party has it: beside the built wheel, in its own venv."""

import ast
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "file_store"
MAX_LINES = 170
"""Of code: without blank lines, docstrings, comments and imports."""


def run(*command: str | Path, **environment: str) -> str:
    found = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel and the example, and for the rest with what is installed here."""
    folder = tmp_path_factory.mktemp("example")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # of uv-build
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(
        *pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
        ROOT, EXAMPLE, PATH=path,
    )  # fmt: skip
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    wheels = sorted(folder.glob("*.whl"))
    assert len(wheels) == 2
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", *wheels)
    own, here = (
        Path(run(it, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        for it in (python, Path(sys.executable))
    )
    assert own != here == Path(sysconfig.get_path("purelib"))
    # A path in a .pth file comes last, and .pth files in it, as of an editable src, are not read.
    (own / "libraries.pth").write_text(f"{here}\n", encoding="utf-8")
    return python


def test_it_is_run_against_the_wheel(python: Path) -> None:
    found = run(python, "-c", "import application.testing as it, file_store; print(it.__file__)")
    assert Path(found.strip()).is_relative_to(python.parents[1])


def test_its_own_tests_pass(python: Path) -> None:
    report = run(python, "-m", "pytest", "-q", "tests", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert " passed" in report


def test_it_is_found_by_its_entry_point(python: Path) -> None:
    program = (
        "from importlib.metadata import entry_points;"
        "(point,) = entry_points(group='rtaa_ingest.destinations');"
        "print(point.name, point.load()().name)"
    )
    assert run(python, "-c", program) == "file_store file_store\n"


def test_it_shows_how_little_an_adapter_takes() -> None:
    lines = sum(
        count_code(path.read_text(encoding="utf-8")) for path in (EXAMPLE / "src").rglob("*.py")
    )
    assert 0 < lines < MAX_LINES


_IMPORTS = (ast.Import, ast.ImportFrom)


def count_code(source: str) -> int:
    aside = set[int]()
    for node in ast.walk(ast.parse(source)):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_docstring or isinstance(node, _IMPORTS)):
            aside |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        bool(line.split("#")[0].strip()) and number not in aside
        for number, line in enumerate(source.splitlines(), 1)
    )
