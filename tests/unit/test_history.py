"""The judge of the fault lab finds every defect that is planted, and none where there is none."""

from collections.abc import Callable
from typing import Any

import pytest
from history import (
    BYTES,
    ENDED,
    GAP,
    INDEX,
    LEDGER,
    LOST,
    ORDER,
    POSITION,
    REPLY,
    RUN,
    STRANGER,
    TWICE,
    Entry,
    SentStream,
    report,
)
from history_judge import expected_in_index, judge, judge_index
from running import pcm


def sent(*seqs: int, acked: int, runs: int = 1) -> SentStream:
    """A sender that sent `seqs` in each of its runs, over one connection, and heard the end.

    No frame is like another, but those with the same seq in two runs.
    """
    stream = SentStream("int-1")
    for _ in range(runs):
        run = stream.begin_run()
        run.heard_started(1, len(stream.runs), None)
        for seq in seqs:
            run.sent(1, seq, pcm(seq))
        run.heard_ack(1, acked)
        run.heard_ended(ledger(len(seqs)))
    return stream


def ledger(published: int, **counters: int) -> dict[str, int]:
    counted = {"duplicate": 0, "rejected": 0, "lost": 0, "missing": 0, **counters}
    received = published + counted["duplicate"] + counted["rejected"] + counted["lost"]
    sizes = {"bytes": 320 * published, "audio_ms": 20 * published}
    return {"received": received, "published": published, **counted, **sizes}


def started(entry_id: str, *, resumed: bool = False) -> Entry:
    generation = int(entry_id.split("-", maxsplit=1)[0])
    return entry_id, {"type": "started", "data": {"generation": generation, "resumed": resumed}}


def audio(entry_id: str, seq: int) -> Entry:
    return entry_id, {"type": "audio", "seq": str(seq).encode(), "audio": pcm(seq)}


def gap(entry_id: str, first: int, missing: int) -> Entry:
    return entry_id, {"type": "gap", "data": {"first_missing": first, "missing": missing}}


def ended(entry_id: str, counters: dict[str, int]) -> Entry:
    return entry_id, {"type": "ended", "data": {"reason": "ended", "ledger": counters}}


def whole() -> list[Entry]:
    """Three frames, resumed after the second, ended; and a second run like it."""
    return [
        started("1-0"),
        audio("1-1", 0),
        audio("1-2", 1),
        started("2-3", resumed=True),
        audio("2-4", 2),
        ended("2-5", ledger(3)),
        started("3-6"),
        *(audio(f"3-{7 + seq}", seq) for seq in range(3)),
        ended("3-10", ledger(3)),
    ]


def kinds(stream: SentStream, entries: list[Entry], *, was_lost: bool = False) -> set[str]:
    return {defect.kind for defect in judge(stream, entries, was_lost=was_lost)}


def test_a_clean_history_has_no_defect() -> None:
    assert judge(sent(0, 1, 2, acked=1, runs=2), whole()) == []


def test_a_frame_that_was_not_promised_may_be_missing_while_the_run_is_not_over() -> None:
    stream = sent(0, 1, 2, acked=1)
    stream.runs[0].ledger, stream.runs[0].is_over = None, False
    assert judge(stream, whole()[:3]) == []


def test_a_hole_that_is_declared_is_no_defect() -> None:
    entries = [
        started("1-0"),
        audio("1-1", 0),
        gap("1-2", 1, 4),
        audio("1-3", 5),
        ended("1-4", ledger(2, missing=4)),
    ]
    stream = sent(0, 5, acked=0)
    stream.runs[0].ledger = ledger(2, missing=4)
    assert judge(stream, entries) == []


def test_a_stream_that_was_rebased_whole_from_position_0_has_no_defect() -> None:
    entries = whole()[:6]
    entries[0] = started("1-0", resumed=True)
    assert judge(sent(0, 1, 2, acked=1), entries) == []


def test_a_stream_that_was_lost_may_be_rebased_and_only_declare_what_is_gone() -> None:
    entries = [
        started("2-0", resumed=True),
        gap("2-1", 0, 2),
        audio("2-2", 2),
        ended("2-3", ledger(3, missing=2)),
    ]
    stream = sent(0, 1, 2, acked=1)
    stream.runs[0].ledger = ledger(3, missing=2)
    assert judge(stream, entries, was_lost=True) == []
    assert kinds(stream, entries) == {LOST, LEDGER}
    del entries[1]
    assert LOST in kinds(stream, entries, was_lost=True)


def without(index: int) -> Callable[[list[Entry]], None]:
    return lambda entries: entries.__delitem__(index)


def with_(index: int, entry: Entry) -> Callable[[list[Entry]], None]:
    return lambda entries: entries.__setitem__(index, entry)


def appended(*more: Entry) -> Callable[[list[Entry]], None]:
    return lambda entries: entries.extend(more)


def renumbered(without_index: int) -> Callable[[list[Entry]], None]:
    """Take an entry out and close the hole, as a writer would that never had it."""

    def plant(entries: list[Entry]) -> None:
        del entries[without_index]
        for index, (entry_id, entry) in enumerate(entries):
            entries[index] = (f"{entry_id.split('-')[0]}-{index}", entry)

    return plant


def rebased_at(position: int) -> Callable[[list[Entry]], None]:
    """Let the stream begin like one that was rebased from 0, and not at 0."""

    def plant(entries: list[Entry]) -> None:
        for index, (entry_id, entry) in enumerate(entries):
            entries[index] = (f"{entry_id.split('-')[0]}-{index + position}", entry)
        entries[0] = started(f"1-{position}", resumed=True)

    return plant


def other_ledger(**counters: Any) -> Callable[[list[Entry]], None]:
    return with_(5, ended("2-5", {**ledger(3), **counters}))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (without(2), {POSITION, LOST, GAP, LEDGER}),
        (renumbered(2), {LOST, GAP, LEDGER}),
        (renumbered(4), {LOST, LEDGER}),
        (with_(2, gap("1-2", 1, 1)), {LOST, LEDGER}),
        (with_(4, audio("2-4", 1)), {TWICE, LOST}),
        (with_(8, audio("3-8", 0)), {TWICE, LOST, GAP}),
        (with_(2, audio("1-2", 9)), {GAP, STRANGER, ORDER, LOST}),
        (with_(1, ("1-1", {"type": "audio", "seq": b"0", "audio": pcm(7)})), {BYTES}),
        (with_(4, ("2-5", audio("", 2)[1])), {POSITION}),
        (with_(4, ("1-4", audio("", 2)[1])), {POSITION}),
        (with_(4, ("4-4", audio("", 2)[1])), {POSITION}),
        (with_(6, started("3-6", resumed=True)), {RUN}),
        (rebased_at(3), {RUN, POSITION}),
        (with_(0, ("1-0", started("7-0")[1])), {RUN}),
        (renumbered(5), {ENDED}),
        (renumbered(10), {ENDED}),
        (appended(ended("3-11", ledger(3))), {ENDED}),
        (appended(audio("3-11", 3)), {RUN}),
        (appended(started("4-11"), ended("4-12", ledger(0))), {RUN}),
        (lambda entries: entries.__delitem__(slice(6, None)), {RUN, LOST}),
        (lambda entries: entries.clear(), {RUN, LOST}),
        (other_ledger(received=4), {LEDGER}),
        (other_ledger(received=4, duplicate=1), {LEDGER}),
        (other_ledger(published=2, lost=1), {LEDGER}),
        (other_ledger(bytes=0), {LEDGER}),
        (other_ledger(missing=1), {LEDGER}),
    ],
)
def test_every_defect_is_found(plant: Callable[[list[Entry]], None], found: set[str]) -> None:
    entries = whole()
    plant(entries)
    defects = judge(sent(0, 1, 2, acked=1, runs=2), entries)
    assert {defect.kind for defect in defects} == found, report(defects)


@pytest.mark.parametrize(
    ("first", "missing"),
    [(1, 3), (1, 5), (2, 3), (0, 5), (1, 0)],
)
def test_a_gap_must_declare_exactly_what_is_missing(first: int, missing: int) -> None:
    entries = [started("1-0"), audio("1-1", 0), gap("1-2", first, missing), audio("1-3", 5)]
    stream = sent(0, 5, acked=0)
    stream.runs[0].is_over = False
    assert GAP in kinds(stream, entries)


def test_a_new_generation_at_position_0_is_a_defect_unless_the_stream_was_lost() -> None:
    entries = [*whole()[:6], started("3-0"), *(audio(f"3-{1 + seq}", seq) for seq in range(3))]
    entries.append(ended("3-4", ledger(3)))
    stream = sent(0, 1, 2, acked=1, runs=2)
    assert kinds(stream, entries) == {POSITION}
    assert kinds(stream, entries, was_lost=True) == set()


def test_replies_that_promise_too_much_or_take_back_a_promise_are_defects() -> None:
    planted = [sent(0, 1, 2, acked=1) for _ in range(6)]
    of_nothing, backwards, taken_back, unknown, refused, hung_up_on = planted
    of_nothing.runs[0].heard_ack(1, 3)
    backwards.runs[0].heard_ack(1, 0)
    taken_back.runs[0].heard_started(2, 2, 0)
    unknown.runs[0].heard_started(2, 9, 2)
    refused.runs[0].heard_error(1, "invalid_seq")
    hung_up_on.runs[0].heard_close(1, 1011)
    for stream in planted:
        assert kinds(stream, whole()[:6]) == {REPLY}


def test_an_empty_run_may_be_there_twice_if_its_sender_could_not_tell_that_it_was_ended() -> None:
    again = [*whole()[:6], started("3-6"), ended("3-7", ledger(0)), started("4-8")]
    again.append(ended("4-9", ledger(0)))
    stream = sent(0, 1, 2, acked=1)
    stream.begin_run().heard_ended(ledger(0))
    assert kinds(stream, again) == {RUN}
    stream.runs[-1].found_empty()
    assert judge(stream, again) == []
    assert judge(stream, again[:8]) == []
    del again[7]
    assert kinds(stream, again) == {POSITION, ENDED}


def test_a_run_that_is_missing_spoils_no_other() -> None:
    stream = SentStream("int-1")
    for number in range(3):
        run = stream.begin_run()
        run.sent(1, 0, pcm(number))
        run.heard_ended(ledger(1))
    entries: list[Entry] = []
    for number in (0, 2):
        frame = {"type": "audio", "seq": b"0", "audio": pcm(number)}
        first = len(entries)
        entries += [started(f"{number + 1}-{first}"), (f"{number + 1}-{first + 1}", frame)]
        entries.append(ended(f"{number + 1}-{first + 2}", ledger(1)))
    assert {(d.kind, d.where) for d in judge(stream, entries)} == {
        (RUN, "int-1"),
        (LOST, "int-1 run 1"),
    }


def test_a_close_after_which_a_sender_comes_back_is_no_defect() -> None:
    stream = sent(0, 1, 2, acked=1)
    for code in (1006, 1012, 1013):
        stream.runs[0].heard_close(1, code)
    assert judge(stream, whole()[:6]) == []


def test_a_start_or_end_that_is_not_announced_is_found() -> None:
    stream = sent(0, 1, 2, acked=1, runs=2)
    expected = expected_in_index(stream, whole())
    assert ("ended", "tenant-abc/int-1/2-5") in expected
    assert len(expected) == 5
    assert judge_index(expected, expected | {("started", "tenant-abc/other/1-0")}) == []
    defects = judge_index(expected, expected - {("ended", "tenant-abc/int-1/2-5")})
    assert [defect.kind for defect in defects] == [INDEX]


def test_the_report_counts_by_kind_and_names_the_places() -> None:
    entries = whole()
    del entries[1:3]
    text = report(judge(sent(0, 1, 2, acked=1, runs=2), entries))
    assert "lost acked: 2 in 1 places" in text
    assert "int-1 run 0: seqs 0-1, first sent on connections [1] (2x)" in text
