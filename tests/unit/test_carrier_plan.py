"""How often, and in which frames, a simulated carrier plays its recording."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.carrier.call import Plan, complaint_of_url, with_query
from entrypoints.carrier.recording import Recording
from entrypoints.carrier.wire import WIRES


@given(st.binary(min_size=1, max_size=700), st.integers(1, 5), st.integers(1, 40))
def test_a_recording_is_played_as_often_as_planned_and_its_frames_are_counted(
    samples: bytes, repeat: int, frame_ms: int
) -> None:
    recording = Recording("a.wav", 8_000, samples * 2)
    plan = Plan("", "", "", recording, WIRES["exostreamkit"], {}, 1.0, frame_ms, repeat=repeat)
    frames = list(plan.frames())
    assert b"".join(frames) == samples * 2 * repeat
    assert len(frames) == plan.frame_count


@pytest.mark.parametrize(
    ("url", "query", "expected"),
    [
        ("ws://h/v1", "", "ws://h/v1"),
        ("ws://h/v1", "a=1", "ws://h/v1?a=1"),
        ("ws://h/v1?b=2", "a=1", "ws://h/v1?b=2&a=1"),
        ("ws://h/v1?b=2", "", "ws://h/v1?b=2"),
    ],
)
def test_a_query_comes_behind_that_of_the_url(url: str, query: str, expected: str) -> None:
    assert with_query(url, query) == expected
    assert complaint_of_url(expected) is None


@pytest.mark.parametrize("url", ["ws://h:0/v1", "wss://u:p@h:00"])
def test_no_call_can_be_made_to_port_0(url: str) -> None:
    assert complaint_of_url(url) == "port 0 is none"
