"""The words of the views: one call is not several, and one fact reads the same in each view."""

import re
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overview_bench import CLIPPED, SPEECH, OverviewBench
from rich.console import Console

from adapters.inbound.http.live_data import plain_call
from application.overview.answers import answer
from application.overview.condition import Condition
from application.overview.words import age, ago, calls, length, number_of, size
from domain.events import EndReason
from domain.identifiers import StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from entrypoints.cli.top_view import TopView

NOUNS = "call|frame|moment|handshake|tenant|dialect"
FAULTS = (
    rf"(?<![\d,.])1 (live |open )?({NOUNS})s",
    rf"(?<![\d,.])(0|[2-9]|\d[\d,]*\d) (live |open )?({NOUNS})\b",
    r"(?<![\d,.])1 (calls? )?that are",
    r"(?<![\d,.])([2-9]|\d+\d) (calls )?that is\b",
)
"""Frames a second is a unit, and has one form."""


def overview_of(live: int, over: int, missing: int, lost: int, cut: int) -> OverviewBench:
    """Make calls of which the first of each kind have frames missing, and some are cut."""
    bench = OverviewBench()
    shared = bench.overview
    for number in range(live + over):
        one = OverviewBench(StreamKey(TenantId("t"), StreamId(f"call-{number}")), shared)
        one.now = bench.now
        one.start()
        one.hear(CLIPPED if number == 0 else SPEECH)
        one.look()
        if number >= live:
            one.end()
            one.look()
            if number % 2:
                one.call.end_reason = EndReason.DISCONNECTED
        elif number < cut:
            one.call.condition = Condition.CUT
        if missing:
            one.call.ledger = Ledger(1 + lost, 1, lost=lost, missing=missing)
        bench.now = max(bench.now, one.now)
    return bench


@given(
    st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)
)
def test_one_is_not_several(live: int, over: int, missing: int, lost: int, cut: int) -> None:
    bench = overview_of(live, over, missing, min(lost, missing), min(cut, live))
    now = bench.instant
    told = answer(bench.overview, now)
    texts = [it.text for it in (told.arriving, told.complete, told.calling, *told.wrong)]
    bench.overview.failed("refused", now)
    texts += [it.text for it in answer(bench.overview, now).wrong]
    console = Console(width=150, height=40, record=True, file=StringIO())
    console.print(TopView().render(bench.overview, None, now, 150, 40))
    for text in (*texts, console.export_text()):
        plain = text.replace("frames/s", "")
        assert [it.group() for fault in FAULTS for it in re.finditer(fault, plain)] == []


def test_what_is_complete_names_calls_that_are_live_and_calls_that_are_over() -> None:
    def complete(live: int, over: int) -> str:
        bench = overview_of(live, over, 0, 0, 0)
        return answer(bench.overview, bench.instant).complete.text

    assert complete(8, 1) == "nothing missing in 8 live calls, and 1 that is over"
    assert complete(1, 2) == "nothing missing in 1 live call, and 2 that are over"
    assert complete(1, 0) == "nothing missing in 1 live call"
    assert complete(0, 1) == "nothing missing in 1 call that is over"


@pytest.mark.parametrize("seconds", [0.04, 9.94, 9.96, 59.0, 130.0, 9_000.0])
def test_a_row_says_the_same_on_the_page_and_in_the_terminal(seconds: float) -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(SPEECH, 65)
    bench.look()
    bench.now += seconds
    bench.overview.heard(bench.instant)
    bench.look()
    bench.call.latency_ms, bench.call.condition = 150, Condition.FLOWING
    console = Console(width=150, height=30, record=True, file=StringIO())
    console.print(TopView().render(bench.overview, None, bench.instant, 150, 30))
    (row,) = [it for it in console.export_text().split("\n") if it.startswith("flowing")]
    told = plain_call(bench.call, bench.instant)
    for name in ("age", "length", "behind"):
        assert f"  {told[name]}  " in f"{row}  "
    assert told["age"] == age(seconds)


def test_ages_lengths_and_sizes() -> None:
    assert [age(it) for it in (0, 9.94, 9.96, 119, 120, 7_200)] == [
        "0.0 s", "9.9 s", "10 s", "119 s", "2 min", "2 h",
    ]  # fmt: skip
    assert [length(it) for it in (0, 59.9, 61, 3_725)] == ["0:00", "0:59", "1:01", "1:02:05"]
    assert [size(it) for it in (0, 1_536, 3 << 20)] == ["0.0 kB", "1.5 kB", "3.0 MB"]
    assert ago(90.0, 100.0) == "10 s ago"
    assert [calls(it) for it in (0, 1, 2_000)] == ["0 calls", "1 call", "2,000 calls"]
    assert number_of(1, "moment") == "1 moment"
