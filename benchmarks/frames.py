"""What simulated calls send, as bytes for the socket, made so cheaply that the sender costs little.

Audio is one of `TEMPLATES` random pieces, chosen by call and frame, which are encoded and masked
once; for a frame only the few bytes around the audio are written and masked.
"""

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from entrypoints.carrier.wire import BINARY_WIRES, DEFAULT_SAMPLE_RATE_HZ, WIRES, Call, Wire

TEMPLATES = 64
"""Pieces of audio: neighbours in a call, and the same frame of neighbouring calls, differ."""

TENANT = "bench"

TEXT, BINARY, CLOSE = 0x1, 0x2, 0x8
"""Opcodes of the WebSocket."""

MASK = bytes.fromhex("5a17c3e9")
"""What all frames are masked with; a server cannot know that it is always the same."""

_FINAL, _MASKED = 0x80, 0x80
_SHORT, _LENGTH_16, _LENGTH_64 = 125, 126, 127
_MAX_16 = 0xFFFF
_PHASES = len(MASK)
_SEED = 20_260_101
_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Dialect:
    """How calls of one dialect are written.

    `around` takes the stream's name, the frame's index from 0 and the ms of audio up to its end,
    and returns what is before and after the audio.
    """

    name: str
    wire: type[Wire]
    opcode: int
    encode: Callable[[bytes], bytes]
    first_seq: int
    around: Callable[[str, int, int], tuple[bytes, bytes]]


def _around_exostreamkit(_stream: str, index: int, _ms: int) -> tuple[bytes, bytes]:
    return b'{"event":"audio","data":"', b'","seq":%d}' % index


def _around_agentstream(stream: str, index: int, ms: int) -> tuple[bytes, bytes]:
    head = (
        f'{{"event":"media","sequence_number":"{index + 2}","stream_sid":"{stream}","media":'
        f'{{"chunk":"{index + 1}","timestamp":"{ms}","payload":"'
    )
    return head.encode(), b'"}}'


def _around_binary(_stream: str, _index: int, _ms: int) -> tuple[bytes, bytes]:
    return b"", b""


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("json", WIRES["exostreamkit"], TEXT, base64.b64encode, 0, _around_exostreamkit),
        Dialect("exotel", WIRES["agentstream"], TEXT, base64.b64encode, 1, _around_agentstream),
        Dialect("binary", BINARY_WIRES["exostreamkit"], BINARY, bytes, 0, _around_binary),
    )
}
"""By the names that scenarios use: exostreamkit as JSON, agentstream, exostreamkit as binary."""


def call_name(call: int) -> str:
    """Return the interaction's name of the call with this number."""
    return f"call-{call:06}"


def masked(payload: bytes, phase: int = 0) -> bytes:
    """Mask bytes that are `phase` bytes after a multiple of the mask's length."""
    size = len(payload)
    rotated = MASK[phase:] + MASK[:phase]
    pattern = (rotated * (size // _PHASES + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(pattern)).to_bytes(size)


def frame_header(opcode: int, size: int) -> bytes:
    """Return what is before the masked payload of `size` bytes, the mask included."""
    first = _FINAL | opcode
    if size <= _SHORT:
        return bytes((first, _MASKED | size)) + MASK
    if size <= _MAX_16:
        return bytes((first, _MASKED | _LENGTH_16)) + size.to_bytes(2) + MASK
    return bytes((first, _MASKED | _LENGTH_64)) + size.to_bytes(8) + MASK


def whole_frame(opcode: int, payload: bytes) -> bytes:
    """Return one masked WebSocket frame."""
    return frame_header(opcode, len(payload)) + masked(payload)


class Speech:
    """All that calls of one dialect say, in frames of `size` bytes of audio, which is even."""

    def __init__(
        self, dialect: str, size: int, sample_rate_hz: int = DEFAULT_SAMPLE_RATE_HZ
    ) -> None:
        self.dialect = DIALECTS[dialect]
        self.size = size
        self._sample_rate_hz = sample_rate_hz
        self._bytes_per_ms = _SAMPLE_BYTES * sample_rate_hz // 1_000
        chance = random.Random(_SEED)  # noqa: S311  # it may be guessed
        self._audio = [chance.randbytes(size) for _ in range(TEMPLATES)]
        encoded = [self.dialect.encode(audio) for audio in self._audio]
        self._bodies = [[masked(body, phase) for body in encoded] for phase in range(_PHASES)]

    def audio(self, call: int, index: int) -> bytes:
        """Return the audio of a call's frame; `index` counts from 0."""
        return self._audio[(call + index) % TEMPLATES]

    def stream(self, call: int) -> str:
        """Return the name of the stream that consumers find, beside the tenant's."""
        return self._wire(call).stream

    def opening(self, call: int) -> bytes:
        """Return the frames before the first of audio."""
        return self._whole(self._wire(call).opening())

    def closing(self, call: int, frames: int) -> bytes:
        """Return what is sent after the last of `frames`."""
        return self._whole(self._wire(call).closing(frames))

    def frame(self, stream: str, call: int, index: int) -> bytes:
        """Return the WebSocket frame of one piece of audio; `stream` is the call's."""
        head, tail = self.dialect.around(
            stream, index, (index + 1) * self.size // self._bytes_per_ms
        )
        size = len(head)
        body = self._bodies[size % _PHASES][(call + index) % TEMPLATES]
        size += len(body)
        header = frame_header(self.dialect.opcode, size + len(tail))
        return b"".join((header, masked(head), body, masked(tail, size % _PHASES)))

    def _wire(self, call: int) -> Wire:
        return self.dialect.wire(Call(TENANT, call_name(call), self._sample_rate_hz))

    @staticmethod
    def _whole(messages: list[str | bytes]) -> bytes:
        whole = b""
        for message in messages:
            if isinstance(message, bytes):
                whole += whole_frame(BINARY, message)
            else:
                compact = json.dumps(json.loads(message), separators=(",", ":"))
                whole += whole_frame(TEXT, compact.encode())
        return whole
