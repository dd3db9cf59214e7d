"""What a `FrameReader` tells of a byte stream, without a socket."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from adapters.inbound.websocket.frame_reader import FrameReader
from adapters.inbound.websocket.frame_rules import Violation

MAX_BYTES = 256 * 1024
MAX_FRAMES = 64

Message = str | bytes


@dataclass
class Told:
    """What was read: messages, control frames by opcode and payload, and what was wrong."""

    messages: list[Message] = field(default_factory=list)
    controls: list[tuple[int, bytes]] = field(default_factory=list)
    violation: Violation | None = None

    @property
    def code(self) -> int | None:
        """The code to close with."""
        return None if self.violation is None else self.violation.code


def read(
    segments: Iterable[bytes],
    *,
    max_bytes: int = MAX_BYTES,
    max_frames: int = MAX_FRAMES,
    is_late: bool = False,
    reader: FrameReader | None = None,
) -> Told:
    """Read segments, each out of a buffer that is overwritten afterwards.

    Messages are taken after each read or, if it `is_late`, when all is read.
    """
    reader = reader or FrameReader(max_bytes)
    told = Told()
    for segment in segments:
        buffer = bytearray(segment)
        assert reader.read(max_frames, memoryview(buffer)) <= max_frames
        buffer[:] = b"\xaa" * len(buffer)  # it is read into again
        _note(reader, told, takes=not is_late)
        while reader.rest:
            assert reader.read(max_frames) <= max_frames
            _note(reader, told, takes=not is_late)
    _note(reader, told, takes=True)
    assert reader.is_ended or told.violation is None
    return told


def _note(reader: FrameReader, told: Told, *, takes: bool) -> None:
    told.controls += reader.controls
    reader.controls = []
    while takes and (message := reader.take()) is not None:
        is_text, payload = message
        assert type(payload) is bytes
        told.messages.append(payload.decode() if is_text else payload)
    if reader.violation is not None:
        assert told.violation is None, "told twice"
        told.violation, reader.violation = reader.violation, None
