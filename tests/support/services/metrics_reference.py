"""docs/metrics.md, read as a table."""

import re
from pathlib import Path
from typing import NamedTuple

REFERENCE = Path(__file__).parents[3] / "docs" / "metrics.md"


class Row(NamedTuple):
    kind: str
    labels: dict[str, frozenset[str] | None]
    """Values of each label; None where they are not a closed set."""


def documented() -> dict[str, Row]:
    rows = {}
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("| `"):
            name, kind, labels, meaning, _when = (c.strip() for c in line.strip("|").split("|"))
            assert meaning, f"{name} has no meaning"
            rows[name.strip("`")] = Row(
                kind, dict(map(_read_label, filter(None, labels.split(";"))))
            )
    return rows


def documented_series() -> dict[str, Row]:
    """The rows by what a query may name: of a histogram its buckets, sum and count."""
    series: dict[str, Row] = {}
    for name, row in documented().items():
        if row.kind == "histogram":
            without = Row(row.kind, {k: v for k, v in row.labels.items() if k != "le"})
            series |= {f"{name}_bucket": row, f"{name}_sum": without, f"{name}_count": without}
        else:
            series[name] = row
    return series


def _read_label(text: str) -> tuple[str, frozenset[str] | None]:
    name, _, values = text.strip().partition(":")
    closed = set(re.findall("`([^`]+)`", values)) | ({""} if "empty" in values else set())
    is_open = not closed or "and so on" in values
    return name.strip("`"), None if is_open else frozenset(closed)
