"""The wheels that `requirements/` locks, downloaded once for the environment of the tests.

Several tests install them as an operator does. pip takes seven seconds of a core to look through
the pages of a registry, and one to install what is in a folder; it checks the hashes either way.
"""

import fcntl
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[3] / "requirements"
WHEELS = Path(sys.prefix) / "wheels"
DOWNLOAD_SECONDS = 280


def pip_variables(*names: str) -> dict[str, str]:
    """Return the variables with which pip finds what files of `requirements/` lock, and no more."""
    folders = [_downloaded(name).as_uri() for name in names]
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": " ".join(folders)}


def _downloaded(name: str) -> Path:
    locked = REQUIREMENTS / f"{name}.txt"
    folder = WHEELS / f"{name}-{zlib.crc32(locked.read_bytes()):08x}"
    WHEELS.mkdir(exist_ok=True)
    with (WHEELS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other tests need them too
        if not folder.exists():
            for older in WHEELS.glob(f"{name}-*"):
                shutil.rmtree(older)
            _download(locked, WHEELS / f"{name}-new").rename(folder)
    return folder


def _download(locked: Path, folder: Path) -> Path:
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
            "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", locked, "-d", folder,
        ],
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
