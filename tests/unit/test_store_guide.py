"""docs/extending/store.md: its snippets, held against the store of this repository."""

import asyncio
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributions import install
from document_blocks import ROOT, block
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.outbound.in_memory import InMemoryStore, Memory
from application.ports.destination import DestinationOptions
from application.ports.reader import Announcement, PublishedEntry
from application.ports.store import APPENDED, Append, Conflict, Outcome
from application.store_kit import storing
from application.testing.appends import begin, following, frame, stream
from domain.head import Head
from domain.identifiers import StreamKey
from examples import examples

GROUP = "rtaa_ingest.destinations"
GUIDE = "docs/extending/store.md"
STEPS = st.lists(st.sampled_from(["start", "speak", "again", "late", "end"]), max_size=12)


class Tables:
    """What the guide leaves to the reader's technology: tables, and a transaction around them."""

    append_all: Any

    def __init__(self) -> None:
        self.heads: dict[StreamKey, Head] = {}
        self.entries: dict[StreamKey, list[PublishedEntry]] = {}
        self.announced: list[Announcement] = []

    def load_head(self, key: StreamKey) -> Head | None:
        return self.heads.get(key)

    def save_head(self, key: StreamKey, head: Head) -> None:
        self.heads[key] = head

    def insert(self, key: StreamKey, published: PublishedEntry) -> None:
        self.entries.setdefault(key, []).append(published)

    def announce(self, announcement: Announcement) -> None:
        self.announced.append(announcement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield


def snippet_class() -> type[Tables]:
    names: dict[str, Any] = {
        "APPENDED": APPENDED, "Append": Append, "Conflict": Conflict, "Outcome": Outcome,
        "Sequence": Sequence, "storing": storing,
    }  # fmt: skip
    for first in ("def append_one", "def append_all"):
        exec(block(GUIDE, first).text, names)  # noqa: S102  # it is our own
    return type("Store", (Tables,), {it: names[it] for it in ("append_one", "append_all")})


@settings(max_examples=examples(40))
@given(STEPS)
def test_an_append_is_stored_once_or_told_as_a_conflict(steps: list[str]) -> None:
    store, oracle = snippet_class()(), InMemoryStore(Memory(), DestinationOptions())
    key, seq = stream("call"), 0
    sent: list[Append] = []
    for step in steps:
        head = store.load_head(key)
        is_open = head is not None and head.is_open
        if step == "start":
            append = begin(key, head)
        elif step in {"again", "late"} and sent:
            append = sent[-1] if step == "again" else sent[0]
        elif head is not None and is_open:
            append = following(head, frame(key, seq), end=step == "end")
            seq += 1
        else:
            continue
        sent.append(append)
        told = asyncio.run(oracle.store.append([append]))
        assert store.append_all([append]) == list(told)

    async def kept() -> tuple[list[PublishedEntry], Sequence[Announcement]]:
        entries = [it async for it in oracle.reader.read(key)]
        return entries, await oracle.reader.announcements()

    entries, announced = asyncio.run(kept())
    assert store.entries.get(key, []) == entries
    assert [it.event_id for it in store.announced] == [it.event_id for it in announced]


BEFORE_KIT = """
from collections.abc import Mapping
from pathlib import Path

import pytest
from file_store import FileStoreAdapter


class SqliteAdapter(FileStoreAdapter):
    variables = ("SQLITE_PATH",)

    def connect(self, options, environment):
        Path(environment["SQLITE_PATH"]).mkdir(exist_ok=True)
        return super().connect(options, {"FILE_STORE_PATH": environment["SQLITE_PATH"]})


"""


def test_the_kit_is_run_as_the_guide_says(tmp_path: Path) -> None:
    (tmp_path / "test_kit.py").write_text(
        BEFORE_KIT + block(GUIDE, "from application.testing").text
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_kit.py"]
    done = subprocess.run(
        [*command, "-k", "idempotent or dense_entries or late_append"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "examples/file_store/src"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_entry_point_is_found(tmp_path: Path) -> None:
    table = tomllib.loads(block(GUIDE, "[project.entry-points").text)
    ((group, points),) = table["project"]["entry-points"].items()
    assert group == GROUP
    ((name, value),) = points.items()
    variables = install(tmp_path / "theirs", "SqliteAdapter = None", name, value, "theirs", group)
    program = f"from importlib.metadata import entry_points as all; print(all(group={GROUP!r}))"
    found = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **variables}, capture_output=True,
        text=True, timeout=30, check=True,
    )  # fmt: skip
    assert value in found.stdout
