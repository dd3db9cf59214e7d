"""An example distribution as a third party has it: beside the built wheel, in its own venv."""

import ast
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]

RUN_SECONDS = 240


class ExampleVenv:
    """A Python with the wheel and the example, and for the rest with what is installed here."""

    def __init__(self, example: Path, folder: Path) -> None:
        self.folder = example
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ["PATH"]]
        )  # of uv-build
        for source in (ROOT, example):
            backend = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
            name = backend["build-system"]["build-backend"]
            build = f"import {name}; {name}.build_wheel({str(folder)!r})"  # as pip has it built
            self._run(sys.executable, "-c", build, folder=source, variables={"PATH": path})
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        wheels = sorted(folder.glob("*.whl"))
        assert len(wheels) == 2
        self._run(
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet",
            "--python", self.python, "install", "--no-deps", "--no-index", "--no-compile", *wheels,
        )  # fmt: skip
        own, here = (
            Path(
                self._run(
                    it, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
                ).strip()
            )
            for it in (self.python, Path(sys.executable))
        )
        assert own != here == Path(sysconfig.get_path("purelib"))
        # A path in a .pth file comes last; .pth files in it, as of an editable src, are not read.
        (own / "libraries.pth").write_text(f"{here}\n", encoding="utf-8")

    def run(self, *arguments: str | Path, **environment: str) -> str:
        """Run its Python in the folder of the example, and return what it prints."""
        return self._run(self.python, *arguments, variables=environment)

    def shell(self, script: str, folder: Path, **environment: str) -> str:
        """Run a script in which its Python, pytest and command come before all others."""
        tests = f'pytest() {{ "{self.python}" -m pytest -q "$@"; }}\n'
        path = os.pathsep.join([str(self.python.parent), os.environ["PATH"]])
        command = ("/bin/sh", "-ec", tests + script)
        return self._run(*command, folder=folder, variables={**environment, "PATH": path})

    def _run(
        self,
        *command: str | Path,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        found = subprocess.run(
            command,
            env={**os.environ, **(variables or {})},
            cwd=folder or self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout


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
