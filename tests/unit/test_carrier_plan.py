"""How often, and in which frames, a simulated carrier plays its recording."""

from hypothesis import given
from hypothesis import strategies as st

from entrypoints.carrier.call import Plan
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
