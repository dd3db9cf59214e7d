"""What the benchmark's loader sends is what the dialects' own wires write, masked and framed."""

import base64
import json
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from benchmarks.frames import (
    BINARY,
    DIALECTS,
    TEMPLATES,
    TENANT,
    Speech,
    call_name,
    whole_frame,
)
from entrypoints.carrier.wire import AgentstreamWire, Call, ExostreamkitWire

SIZES = (2, 80, 320, 9_600, 60_000)
INDICES = (0, 1, 9, 10, 63, 64, 98, 99, 12_345)


def heard(data: bytes) -> list[Frame]:
    """What a server takes the bytes for."""
    server = ServerProtocol(state=State.OPEN, max_size=None)
    server.receive_data(data)
    frames = server.events_received()
    assert server.parser_exc is None
    assert all(isinstance(frame, Frame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, Frame)]


def one_json(data: bytes) -> Any:
    (frame,) = heard(data)
    assert frame.opcode is Opcode.TEXT
    return json.loads(bytes(frame.data))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("index", INDICES)
def test_a_frame_of_exostreamkit_says_what_the_wire_says(size: int, index: int) -> None:
    speech = Speech("json", size)
    wire = ExostreamkitWire(Call(TENANT, call_name(7), 8_000))
    sent = one_json(speech.frame(speech.stream(7), 7, index))
    assert sent == json.loads(wire.frame(index, speech.audio(7, index)))


@pytest.mark.parametrize("size", SIZES)
def test_a_call_of_agentstream_says_what_the_wire_says(size: int) -> None:
    speech = Speech("exotel", size)
    wire = AgentstreamWire(Call(TENANT, call_name(3), 8_000))
    sent = b"".join(speech.frame(speech.stream(3), 3, index) for index in range(120))
    written = [wire.frame(index, speech.audio(3, index)) for index in range(120)]
    assert [bytes(frame.data).decode() for frame in heard(sent)] == written


@pytest.mark.parametrize("size", SIZES)
def test_a_binary_frame_is_its_audio(size: int) -> None:
    speech = Speech("binary", size)
    (frame,) = heard(speech.frame(speech.stream(0), 0, 70))
    assert frame.opcode is Opcode.BINARY
    assert frame.data == speech.audio(0, 70)


def test_a_call_opens_and_closes_as_its_dialect_does() -> None:
    exostreamkit, agentstream = Speech("json", 320), Speech("exotel", 320)
    assert one_json(exostreamkit.opening(5)) == {
        "event": "start",
        "interaction_id": "call-000005",
        "tenant_id": TENANT,
        "sample_rate": 8_000,
        "encoding": "pcm16",
    }
    assert one_json(exostreamkit.closing(5, 10)) == {"event": "end"}
    connected, start = (json.loads(bytes(frame.data)) for frame in heard(agentstream.opening(5)))
    assert connected == {"event": "connected"}
    assert start["start"]["stream_sid"] == agentstream.stream(5)
    assert one_json(agentstream.closing(5, 10))["sequence_number"] == "12"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_neighbouring_frames_have_other_audio(dialect: str) -> None:
    speech = Speech(dialect, 320)
    around = [(0, 0), *((call, index) for call in (0, 1) for index in range(1, TEMPLATES // 2))]
    assert len({speech.audio(0, index) for index in range(TEMPLATES)}) == TEMPLATES
    assert all(speech.audio(call, 0) != speech.audio(call + 1, 0) for call, _ in around)


def test_audio_goes_through_base64_whole() -> None:
    speech = Speech("json", 3_200)
    sent = one_json(speech.frame(speech.stream(2), 2, 5))
    assert base64.b64decode(sent["data"], validate=True) == speech.audio(2, 5)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_every_length_is_framed(size: int) -> None:
    (frame,) = heard(whole_frame(BINARY, b"\x01" * size))
    assert frame.data == b"\x01" * size
