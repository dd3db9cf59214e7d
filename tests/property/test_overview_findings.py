"""What the views say of a call's audio, against a meter fed with what each look has seen."""

from hypothesis import given, settings
from hypothesis import strategies as st
from overview_bench import CLIPPED, MEDIA, OTHER_SPEECH, SECOND, SILENCE, SPEECH, OverviewBench

from application.overview.answers import answer
from application.overview.call import BEGINNING_SECONDS
from application.overview.call_overview import CallOverview
from application.overview.words import Tone
from domain.audio_health import AudioMeter, Finding, MeasuredFrame
from domain.identifiers import StreamId, StreamKey, TenantId
from examples import examples

SOUNDS = {"silence": SILENCE, "clipped": CLIPPED, "speech": SPEECH, "other": OTHER_SPEECH}


@settings(max_examples=examples(30))
@given(
    st.lists(st.tuples(st.sampled_from(sorted(SOUNDS)), st.integers(1, 40), st.integers(1, 4))),
    st.sampled_from([1.0, 2.0]),
)
def test_each_look_measures_the_last_frame_once(
    parts: list[tuple[str, int, int]], pace: float
) -> None:
    bench = OverviewBench()
    bench.start()
    oracle, seen = AudioMeter(MEDIA), 0
    for sound, seconds, every in parts:
        for second in range(seconds):
            bench.hear(SOUNDS[sound], pace=pace)
            if second % every == 0:
                bench.look()
                bench.look()
                sample = MeasuredFrame(
                    SOUNDS[sound], bench.instant.epoch_ms / 1_000, bench.seq * SECOND
                )
                oracle.measure(sample)
                seen += 1
                assert list(bench.call.findings) == list(oracle.findings)
    told = answer(bench.overview, bench.instant).wrong
    is_alarming = any(it is not Finding.LONG_SILENCE for it in bench.call.findings)
    assert (told[0].tone is Tone.BAD) == is_alarming
    bench.end()
    bench.look()
    if seen:
        oracle.end()
    assert list(bench.call.findings) == list(oracle.findings)
    told = answer(bench.overview, bench.instant).wrong
    odd = [it.text for it in told if "not as it should be" in it.text]
    alarming = [it for it in oracle.findings if it is not Finding.LONG_SILENCE]
    assert len(odd) == bool(alarming)
    assert all(f"{it.value} 1" in odd[0] for it in alarming)
    assert not any("long_silence" in it for it in odd)
    for finding in oracle.findings:
        assert bench.overview.select(finding.value, 9).matching == 1
    assert [it.tone for it in told] == [Tone.GOOD, Tone.PAST][: 1 + bool(alarming)]


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.sampled_from(sorted(SOUNDS)), st.integers(1, 40))))
def test_the_time_line_measures_a_frame_of_each_second(parts: list[tuple[str, int]]) -> None:
    bench = OverviewBench()
    bench.start()
    oracle = AudioMeter(MEDIA)
    for sound, seconds in parts:
        for _ in range(seconds):
            bench.hear(SOUNDS[sound])
            sample = MeasuredFrame(
                SOUNDS[sound], bench.instant.epoch_ms / 1_000, bench.seq * SECOND
            )
            oracle.measure(sample)
    bench.end()
    oracle.end()
    assert bench.moments == [it.value for it in oracle.findings]


def test_a_call_with_a_finding_comes_before_those_without_and_after_those_with_holes() -> None:
    overview = CallOverview()
    benches = {
        name: OverviewBench(StreamKey(TenantId("t"), StreamId(name)), overview)
        for name in ("well", "clipped", "holed")
    }
    for name, bench in benches.items():
        bench.start()
        for second in range(20):
            bench.seq += name == "holed"
            bench.hear(CLIPPED if name == "clipped" else (SPEECH, OTHER_SPEECH)[second % 2])
            bench.look()
    shown = [it.stream.stream_id for it in overview.select("", 9).shown]
    assert shown == ["holed", "clipped", "well"]
    assert [list(it.call.findings) for it in benches.values()] == [[], [Finding.CLIPPED], []]


def test_a_run_that_is_looked_at_late_is_not_judged_as_a_whole() -> None:
    for late in (False, True):
        bench = OverviewBench()
        bench.start()
        bench.hear(SPEECH, round(BEGINNING_SECONDS))
        if not late:
            bench.look()
        for _ in range(7):
            bench.hear(SILENCE)
            bench.look()
        bench.end()
        bench.look()
        assert list(bench.call.findings) == []
    silent = OverviewBench()
    silent.start()
    for _ in range(7):
        silent.hear(SILENCE)
        silent.look()
    silent.end()
    silent.look()
    assert list(silent.call.findings) == [Finding.SILENT]
    assert silent.moments == ["silent"]


def test_what_was_found_of_a_run_is_not_told_of_the_next() -> None:
    bench = OverviewBench()
    bench.start()
    for _ in range(20):
        bench.hear(CLIPPED)
        bench.look()
    assert list(bench.call.findings) == [Finding.CLIPPED]
    bench.end()
    bench.look()
    assert list(bench.call.findings) == [Finding.CLIPPED]
    bench.start()
    assert list(bench.call.findings) == []
    for second in range(20):
        bench.hear((SPEECH, OTHER_SPEECH)[second % 2])
        bench.look()
    assert list(bench.call.findings) == []
    assert bench.moments == ["clipped"]


def test_twice_the_rate_that_was_declared_is_found_by_looks() -> None:
    bench = OverviewBench()
    bench.start()
    for second in range(30):
        bench.hear((SPEECH, OTHER_SPEECH)[second % 2], pace=2.0)
        bench.look()
    assert list(bench.call.findings) == [Finding.WRONG_RATE]


def test_a_time_line_takes_one_frame_of_a_second_however_many_there_are() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(CLIPPED[:320], 50 * 15, pace=50.0)
    assert bench.moments == []
    bench.hear(CLIPPED[:320], 50 * 10, pace=50.0)
    assert bench.moments == ["clipped"]
