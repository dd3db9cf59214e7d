"""WebSocket frames of a client: bytes in, messages and control frames out (RFC 6455, 5 and 8.1).

Nothing here knows of sockets, tasks or time.

Most input is complete, unfragmented, masked data frames. They are read directly from the socket's
buffer: a frame costs one copy, which unmasks it. Only the rest at the end of a read is copied.
"""

from typing import NamedTuple

from websockets.frames import apply_mask as _apply_mask  # type: ignore[attr-defined]  # C, or not

from adapters.inbound.websocket.frame_rules import (
    CLOSE,
    CONT,
    FIN,
    INCORRECT_MASKING,
    INVALID_OPCODE,
    MASK_BYTES,
    MASKED,
    MAX_DATA_OPCODE,
    MIN_HEADER_BYTES,
    NOT_UTF8,
    OPCODE,
    PING,
    POLICY,
    PONG,
    PROTOCOL_ERROR,
    RESERVED_BITS,
    RESERVED_OPCODES,
    TEXT,
    TOO_BIG,
    WHOLE_BINARY,
    WHOLE_TEXT,
    Violation,
    is_utf8,
    measure,
    violation_of_control,
)

MAX_FRAGMENTS = 1_024
"""The limit of frames in one message, since empty frames cost their sender nothing."""

Message = tuple[bool, bytes]
"""A message: whether it is text, and its payload."""


class Control(NamedTuple):
    """A valid control frame: its opcode (CLOSE, PING or PONG), and up to 125 bytes."""

    opcode: int
    payload: bytes


_WHOLE_DATA = (WHOLE_TEXT, WHOLE_BINARY)
_PINGS = (FIN | PING, FIN | PONG)
_NOTHING = memoryview(b"")


class FrameReader:
    """Reads the frames of one connection in their order, up to a close frame or a violation.

    Text is checked when it is taken, since it is in the CPU cache then; all waiting text is checked
    before a control frame or a violation. So nothing after invalid UTF-8 is processed.
    """

    __slots__ = (
        "_begun",
        "_checked",
        "_fragments",
        "_is_text",
        "_max_bytes",
        "_needed",
        "_size",
        "controls",
        "drops_messages",
        "drops_pings",
        "is_ended",
        "messages",
        "rest",
        "violation",
    )

    def __init__(self, max_message_bytes: int) -> None:
        self.messages: list[Message] = []
        """Complete messages that `take` has not returned; their text is unchecked."""
        self.controls: list[Control] = []
        """Control frames that the caller has not removed; a CLOSE is always the last."""
        self.violation: Violation | None = None
        self.is_ended = False
        """Whether a close or a violation was read, after which reading stops."""
        self.drops_messages = False
        """Set by a caller that has sent a close: messages are dropped, but not control frames."""
        self.drops_pings = False
        """Set by a caller whose connection is lost: pings and pongs are skipped."""
        self.rest = _NOTHING
        """The bytes for the next `read`, except for an incomplete frame."""
        self._max_bytes = max_message_bytes
        self._begun = bytearray()
        self._needed = 0
        self._fragments: list[bytes] = []
        self._size: int | None = None  # of the fragments; None between messages
        self._is_text = False
        self._checked = 0  # messages whose text is checked; counted from 0 in each read

    def keep(self, data: bytes | memoryview) -> None:
        """Keep a copy of bytes for a later `read`."""
        self.rest = memoryview(bytes(self.rest) + bytes(data))

    def forget(self) -> None:
        """Drop unread bytes, including an incomplete frame."""
        self.rest = _NOTHING
        self._begun = bytearray()

    def read(self, max_frames: int, data: memoryview = _NOTHING) -> int:
        """Read a limited number of frames from waiting bytes and `data`; return how many.

        `data` may change when this returns: what is left of it is copied.
        """
        is_lent = True
        if self.rest:
            if data:
                self.keep(data)
            data, self.rest, is_lent = self.rest, _NOTHING, False
        taken = self._checked = 0
        if self._begun:
            data, taken = self._complete(data)
        if data and not self.is_ended:
            taken += self._read_frames(data, max_frames - taken)
            if self.rest and is_lent:
                self.rest = memoryview(bytes(self.rest))
        return taken

    def take(self) -> Message | None:
        """Return the next message; None if there is none, or if it is text that is not UTF-8."""
        messages = self.messages
        if not messages:
            return None
        message = messages.pop(0)
        is_text, payload = message
        if is_text and not (payload.isascii() or is_utf8(payload)):
            messages.clear()
            if not self.drops_messages:
                self._end(NOT_UTF8)
            return None
        return message

    def _read_frames(self, data: memoryview, max_frames: int) -> int:
        """Read frames of `data`, and keep the rest."""
        offset, end, messages = 0, len(data), self.messages
        is_whole_next = self._size is None and not self.drops_messages
        room = self._max_bytes - (self._size or 0)
        for taken in range(max_frames):
            if end - offset < MIN_HEADER_BYTES:
                if offset < end:
                    self._begin(data[offset:], MIN_HEADER_BYTES)
                return taken
            payload, after = measure(data, offset)
            if data[offset + 1] < MASKED or after - payload > room:
                self._end(self._violation_of_header(data, offset, after - payload))
                return taken
            first = data[offset]
            if after > end:
                if first & OPCODE in RESERVED_OPCODES:
                    self._end(INVALID_OPCODE)
                else:
                    self._begin(data[offset:], after - offset)
                return taken
            if is_whole_next and first in _WHOLE_DATA:
                mask = bytes(data[payload - MASK_BYTES : payload])
                message = _apply_mask(data[payload:after], mask)
                messages.append((first == WHOLE_TEXT, message))
            elif not self._is_dropped(first):
                mask = bytes(data[payload - MASK_BYTES : payload])
                self._take_other(first, _apply_mask(data[payload:after], mask))
                if self.is_ended:
                    return taken + 1
                is_whole_next = self._size is None and not self.drops_messages
                room = self._max_bytes - (self._size or 0)
            offset = after
        self.rest = data[offset:]
        return max_frames

    def _is_dropped(self, first: int) -> bool:
        """Whether a complete frame is skipped without reading its payload."""
        if first in _WHOLE_DATA:
            return self.drops_messages
        return self.drops_pings and first in _PINGS

    def _complete(self, data: memoryview) -> tuple[memoryview, int]:
        """Complete the frame that was begun, if `data` has its end; return the rest, and 1."""
        taken = 0
        while self._begun and data:
            missing = self._needed - len(self._begun)
            self._begun += data[:missing]
            data = data[missing:]
            if len(self._begun) == self._needed:
                begun, self._begun = self._begun, bytearray()
                taken = self._read_frames(memoryview(begun), 1)
        return data, taken

    def _begin(self, data: memoryview, needed: int) -> None:
        """Keep the beginning of a frame until `needed` bytes have arrived."""
        self._begun += data
        self._needed = needed

    def _violation_of_header(self, data: memoryview, offset: int, length: int) -> Violation:
        """Return the violation of a header: its opcode, mask or length."""
        if data[offset] & OPCODE in RESERVED_OPCODES:
            return INVALID_OPCODE
        if data[offset + 1] < MASKED:
            return INCORRECT_MASKING
        before = "" if self._size is None else f"after reading {self._size} bytes "
        explanation = f"frame with {length} bytes {before}exceeds limit of {self._max_bytes} bytes"
        return Violation(TOO_BIG, explanation)

    def _take_other(self, first: int, payload: bytes) -> None:
        """Handle a frame that is no complete message: a fragment, a control frame, a violation."""
        opcode = first & OPCODE
        if opcode in RESERVED_OPCODES:
            self._end(INVALID_OPCODE)
        elif first & RESERVED_BITS:
            self._fail("reserved bits must be 0")
        elif opcode > MAX_DATA_OPCODE:
            self._take_control(first, payload)
        elif opcode == CONT and self._size is None:
            self._fail("unexpected continuation frame")
        elif opcode != CONT and self._size is not None:
            self._fail("expected a continuation frame")
        elif len(self._fragments) >= MAX_FRAGMENTS:
            self._end(Violation(POLICY, "too many fragments"))
        else:
            self._take_fragment(first, payload)

    def _take_fragment(self, first: int, payload: bytes) -> None:
        if self._size is None:
            self._is_text = first == TEXT
        self._fragments.append(payload)
        self._size = (self._size or 0) + len(payload)
        if first & FIN:
            message = b"".join(self._fragments)
            self._fragments, self._size = [], None
            if not self.drops_messages:
                self.messages.append((self._is_text, message))

    def _take_control(self, first: int, payload: bytes) -> None:
        violation = violation_of_control(first, payload)
        is_close = first & OPCODE == CLOSE
        if violation is None and is_close and self._size is not None:
            violation = Violation(PROTOCOL_ERROR, "incomplete fragmented message")
        if violation is not None or is_close or self._has_bad_text():
            self._end(violation)
        if self.violation is None:
            self.controls.append(Control(first & OPCODE, payload))

    def _fail(self, explanation: str) -> None:
        self._end(Violation(PROTOCOL_ERROR, explanation))

    def _end(self, violation: Violation | None) -> None:
        """Stop reading because of `violation`, unless earlier text is not UTF-8."""
        self.is_ended = True
        self.forget()
        self._fragments = []
        if self._has_bad_text():
            del self.messages[self._checked :]
            violation = NOT_UTF8
        self.violation = violation

    def _has_bad_text(self) -> bool:
        """Check waiting texts, each once per read, up to one that is not UTF-8."""
        for is_text, payload in self.messages[self._checked :]:
            if is_text and not is_utf8(payload):
                return True
            self._checked += 1
        return False
