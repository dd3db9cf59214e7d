"""A Python with pip and nothing else, as a system has it."""

import importlib.util
import sysconfig
import venv
from pathlib import Path


def python_with_pip(folder: Path) -> None:
    """Make it in `folder`; pip is the one of the tests, which saves unpacking another."""
    venv.create(folder, with_pip=False)
    found = importlib.util.find_spec("pip")
    assert found is not None
    assert found.origin is not None
    packages = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    (Path(packages) / "pip").symlink_to(Path(found.origin).parent)
