"""The commands of docs/benchmarks.md choose the loads that they name; a run takes too long here."""

import shlex
import sys
from pathlib import Path

import pytest
from document_blocks import block

from benchmarks.__main__ import _chosen, _options

COMMANDS = block("docs/benchmarks.md", "make bench").commands


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_chooses_what_it_says(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make, bench, *setting = shlex.split(command)
    assert (make, bench) == ("make", "bench")
    assert len(setting) < 2
    words = shlex.split(setting[0].removeprefix("BENCH=")) if setting else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    options = _options()
    chosen = _chosen(options)
    assert chosen
    assert options.quick == ("--quick" in words)
    if "--only" in words:
        assert all("json 9600" in it.name for it in chosen)
        assert (options.rounds, options.json) == (5, Path("FILE"))
