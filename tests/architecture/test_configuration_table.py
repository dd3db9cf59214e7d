"""docs/configuration.md lists the variables as they are declared."""

from entrypoints.configuration import known_names
from entrypoints.registry import destination_adapters
from tools.configuration_table import DOCUMENT, renewed, table

ADAPTERS = destination_adapters()


def test_the_document_has_the_table_that_the_declarations_make() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert renewed(document, ADAPTERS) == document, "make docs"


def test_every_variable_has_one_row() -> None:
    names = {name for adapter in ADAPTERS.values() for name in known_names(adapter)}
    rows = [line.split(" | ") for line in table(ADAPTERS).splitlines()]
    listed = [row[0].strip("| `") for row in rows if row[0].startswith("| `")]
    assert sorted(listed) == sorted(names)
    assert all(len(row) == 4 and all(row) for row in rows if row[0].startswith("| `"))
