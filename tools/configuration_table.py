"""Writes the table of variables in docs/configuration.md from their declarations.

    python tools/configuration_table.py

The service's own are declared in `entrypoints.setting_groups`, those of a broker by its adapter.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from application.ports.destination import StoreAdapter
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import ADAPTER, ADAPTER_HELP, GROUPS
from entrypoints.variables import declared

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

BEGIN = "<!-- variables: written by `make docs`, from src/entrypoints/setting_groups.py -->\n"
END = "<!-- end of variables -->\n"


def table(adapters: Mapping[str, StoreAdapter]) -> str:
    """Return the table, in Markdown: all variables of the service and of these adapters."""
    return "".join(f"| {' | '.join(row)} |\n" for row in _rows(adapters))


def renewed(document: str, adapters: Mapping[str, StoreAdapter]) -> str:
    """Return a document with the table between its two marks.

    Raises:
        ValueError: it lacks one of them.

    """
    before, begin, rest = document.partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not (begin and end):
        raise ValueError("the document has no place for the table")
    return f"{before}{BEGIN}\n{table(adapters)}\n{END}{behind}"


def _rows(adapters: Mapping[str, StoreAdapter]) -> Iterator[tuple[str, ...]]:
    yield "variable", "default", "accepted", "meaning"
    yield "---", "---", "---", "---"
    yield _title("Where the audio goes")
    yield f"`{ADAPTER}`", "required", "an adapter's name", ADAPTER_HELP
    for adapter in adapters.values():
        for name, told in adapter.variable_help.items():
            default = "required" if told.is_required else _code(told.default)
            yield _row(name, default, told.accepted, told.meaning)
    for group in GROUPS:
        yield _title((group.__doc__ or group.__name__).splitlines()[0].rstrip("."))
        for name, _, variable in declared(group):
            yield _row(name, _code(variable.default), variable.accepted, variable.help)


def _title(text: str) -> tuple[str, ...]:
    return f"**{text}**", "", "", ""


def _row(name: str, *cells: str) -> tuple[str, ...]:
    return f"`{name}`", *(cell.replace("|", "\\|") for cell in cells)


def _code(text: str | None) -> str:
    return "\N{EN DASH}" if text is None else f"`{text}`"


def main() -> int:
    """Rewrite the document where it differs; return the exit status."""
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(renewed(document, destination_adapters()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
