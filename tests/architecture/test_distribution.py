"""What the distribution says of itself: one version, one license."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from entrypoints.version import VERSION

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_command_shows_the_version_of_pyproject() -> None:
    shown = subprocess.run(
        [Path(sys.executable).with_name("rtaa-ingest"), "--version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert shown.stdout.split()[-1] == PROJECT["version"] == VERSION


def test_the_source_does_not_repeat_the_version() -> None:
    repeats = [
        path
        for path in (ROOT / "src").rglob("*.py")
        if PROJECT["version"] in path.read_text(encoding="utf-8")
    ]
    assert repeats == []


def test_the_newest_version_of_the_changelog_is_this_one() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+)", changes, re.MULTILINE)
    assert headings[0] == PROJECT["version"]


def test_the_wheel_carries_the_license() -> None:
    told = importlib.metadata.metadata("rtaa-ingest")
    assert told["License-Expression"] == PROJECT["license"] == "Apache-2.0"
    assert told.get_all("License-File") == ["LICENSE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
