"""Output for people: tables on standard output, progress on standard error."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 200
"""Columns where there is no terminal: rows stay whole for grep."""

BAR_STEP_SECONDS = 0.1
LINE_STEP_SECONDS = 2.0


def console(*, stderr: bool = False) -> Console:
    """Return a console of the terminal's width, or a wide one where there is no terminal."""
    found = Console(stderr=stderr, highlight=False)
    return (
        found if found.is_terminal else Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Build a table; numbers are aligned right, and cells have no markup."""
    built = Table(title=title, title_justify="left", title_style="bold")
    cells = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        is_number = bool(cells) and all(row[index].lstrip("-").isdigit() for row in cells)
        built.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        built.add_row(*(Text(cell) for cell in row))
    return built


class Tally:
    """A growing number."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        self.count += 1


@contextmanager
def watched(title: str, unit: str, total: int) -> Iterator[Tally]:
    """Show a tally grow to `total`: a bar on a terminal, elsewhere a plain line now and then."""
    tally, done = Tally(), Event()
    show = _show_bar if Console(stderr=True).is_terminal else _show_lines
    watcher = Thread(target=show, args=(title, unit, total, tally, done), daemon=True)
    watcher.start()
    try:
        yield tally
    finally:
        done.set()
        watcher.join(timeout=5)


def _show_bar(title: str, unit: str, total: int, tally: Tally, done: Event) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn(unit), TimeElapsedColumn(), console=console(stderr=True)
    ) as progress:
        shown = progress.add_task(title, total=total)
        while not done.wait(BAR_STEP_SECONDS):
            progress.update(shown, completed=tally.count)
        progress.update(shown, completed=tally.count)


def _show_lines(title: str, unit: str, total: int, tally: Tally, done: Event) -> None:
    started_at = time.monotonic()
    plain = console(stderr=True)
    is_over = False
    while not is_over:
        is_over = done.wait(LINE_STEP_SECONDS)
        elapsed = time.monotonic() - started_at
        plain.print(f"{title}: {tally.count}/{total} {unit}, {elapsed:.1f} s", markup=False)
