"""`deploy/Dockerfile` without a container engine: its steps, in a folder instead of a root."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bare_python import python_with_pip
from locked_wheels import pip_variables

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ENVIRONMENT = "/opt/rtaa-ingest"
BUILD = "/build"
STEP_SECONDS = 280


class ImageSteps:
    """The stage `build`, carried out with the Python of the tests below `folder`.

    `/build` and `/opt/rtaa-ingest` are folders there, and pip finds what is locked in a folder;
    everything else is as the file has it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = folder / "opt" / "rtaa-ingest"
        self._build = folder / "build"
        self._build.mkdir()
        self.environment.parent.mkdir()
        text = DOCKERFILE.read_text(encoding="utf-8")
        text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
        _, build, self._final = text.split("\nFROM ")
        self._arguments: dict[str, str] = {}
        self._pip = pip_variables("runtime", "build", "sbom")
        python_with_pip(folder / "python")
        for line in build.splitlines()[1:]:
            self._carry_out(*line.split(maxsplit=1))

    def _carry_out(self, instruction: str, rest: str) -> None:
        match instruction:
            case "RUN":
                self._run(rest)
            case "COPY":
                for source in rest.split()[:-1]:
                    self._copy(source.rstrip("/"))
            case "ARG":
                name, default = rest.split("=")
                self._arguments[name] = default
            case "WORKDIR":
                assert rest == BUILD
            case _:
                raise AssertionError(instruction)

    def _copy(self, source: str) -> None:
        if (ROOT / source).is_dir():
            cached = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, self._build / source, ignore=cached)
        else:
            shutil.copy(ROOT / source, self._build)

    def _run(self, command: str) -> None:
        here = command.replace(ENVIRONMENT, str(self.environment)).replace(
            f"{BUILD}/", f"{self._build}/"
        )
        done = subprocess.run(
            ["/bin/sh", "-ec", here.replace("--no-cache-dir", "")],
            cwd=self._build,
            env={
                **os.environ,
                **self._arguments,
                **self._pip,
                "PATH": f"{self._folder}/python/bin{os.pathsep}{os.defpath}",
                "PIP_COMPILE": "0",  # a quarter of the time; pip takes PIP_NO_COMPILE for the same
            },
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{here}\n{done.stdout}{done.stderr}"

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def command(self) -> Path:
        """What ENTRYPOINT names."""
        (entrypoint,) = re.findall(r"^ENTRYPOINT (.+)$", self._final, re.MULTILINE)
        (name,) = json.loads(entrypoint)
        return self.environment / "bin" / str(name)

    def is_healthy(self, port: int) -> bool:
        """Tell what HEALTHCHECK tells."""
        (check,) = re.findall(r"^HEALTHCHECK .*?CMD (.+)$", self._final, re.MULTILINE)
        program, *arguments = json.loads(check)
        assert program == "python"
        asked = subprocess.run(
            [self.python, *arguments],
            env={"PORT": str(port)},
            capture_output=True,
            timeout=30,
            check=False,
        )
        return asked.returncode == 0

    def bill(self) -> set[tuple[str, str]]:
        """Return name and version of what the bill of materials lists."""
        listed = json.loads((self.environment / "sbom.cdx.json").read_text(encoding="utf-8"))
        assert listed["bomFormat"] == "CycloneDX"
        parts = [listed["metadata"]["component"], *listed["components"]]
        return {(_canonical(it["name"]), it["version"]) for it in parts}

    def installed(self) -> set[tuple[str, str]]:
        """Return name and version of what is in the environment."""
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, "list", "--format", "json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        return {(_canonical(it["name"]), it["version"]) for it in json.loads(listed)}


def locked() -> set[tuple[str, str]]:
    """Return name and version of what `requirements/runtime.txt` allows on any machine."""
    text = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    return set(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
