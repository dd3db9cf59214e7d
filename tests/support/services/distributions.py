"""Distributions that are not ours: real ones, installed beside the service."""

import textwrap
from pathlib import Path

OPEN = {"SUPPORT_EXOTEL": "true"}


def install(
    folder: Path,
    source: str | None,
    name: str,
    value: str,
    distribution: str,
    group: str = "rtaa_ingest.destinations",
) -> dict[str, str]:
    """Install a distribution with one module and one entry point; return the variables to use it.

    Its import leaves a mark.
    """
    folder.mkdir(exist_ok=True)
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    if source is not None:
        mark = f"open({str(folder / 'imported')!r}, 'w').close()\n"
        (folder / f"{value.partition(':')[0]}.py").write_text(mark + textwrap.dedent(source))
    return {**OPEN, "PYTHONPATH": str(folder)}


def is_imported(folder: Path) -> bool:
    return (folder / "imported").exists()
