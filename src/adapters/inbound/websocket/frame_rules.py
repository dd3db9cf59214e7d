"""The rules for one frame of a client (RFC 6455, 5.2, 5.5 and 7.4): its header and its payload.

No extension is supported, so a reserved bit is an error.
"""

from typing import NamedTuple

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""The opcodes that are not reserved."""

PROTOCOL_ERROR, INVALID_DATA, POLICY, TOO_BIG = 1002, 1007, 1008, 1009
"""The codes that a violation is closed with."""

MAX_CONTROL_BYTES = 125

FIN = 0x80
RESERVED_BITS = 0x70
OPCODE = 0x0F
RESERVED_OPCODES = frozenset({0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF})
MAX_DATA_OPCODE = 0x07
"""Opcodes above are of control frames."""

WHOLE_TEXT, WHOLE_BINARY = FIN | TEXT, FIN | BINARY
"""The first byte of a frame that is a whole message."""

MASKED = 0x80
MASK_BYTES = 4
MIN_HEADER_BYTES = 2


class Violation(NamedTuple):
    """What a client must not send: the code to close with, and a reason for the close frame."""

    code: int
    explanation: str


NOT_UTF8 = Violation(INVALID_DATA, "text that is not UTF-8")
INVALID_OPCODE = Violation(PROTOCOL_ERROR, "invalid opcode")
INCORRECT_MASKING = Violation(PROTOCOL_ERROR, "incorrect masking")


def measure(data: memoryview, offset: int) -> tuple[int, int]:
    """Return where the payload of the frame at `offset` begins, and where the frame ends.

    At least two bytes of it are present. If the bytes of its length are incomplete, the returned
    end is that of these bytes, before the payload.
    """
    length = data[offset + 1] & ~MASKED
    start = offset + MIN_HEADER_BYTES
    if length < 126:  # noqa: PLR2004  # RFC 6455, 5.2
        payload = start + MASK_BYTES
        return payload, payload + length
    start += 2 if length == 126 else 8  # noqa: PLR2004
    payload = start + MASK_BYTES
    if start > len(data):
        return payload, start
    if length == 126:  # noqa: PLR2004
        return payload, payload + (data[start - 2] << 8 | data[start - 1])
    return payload, payload + int.from_bytes(data[start - 8 : start], "big")


def violation_of_control(first: int, payload: bytes) -> Violation | None:
    """Judge a control frame by its first byte and its payload."""
    if len(payload) > MAX_CONTROL_BYTES:
        return Violation(PROTOCOL_ERROR, "control frame too long")
    if not first & FIN:
        return Violation(PROTOCOL_ERROR, "fragmented control frame")
    return violation_of_close(payload) if first & OPCODE == CLOSE else None


_NOT_SENT = (1004, 1005, 1006)
"""Codes below 1015 that are reserved, or represent a missing code."""


def violation_of_close(payload: bytes) -> Violation | None:
    """Check the payload of a close frame: empty, or a code of two bytes and a reason."""
    if not payload:
        return None
    if len(payload) == 1:
        return Violation(PROTOCOL_ERROR, "close frame too short")
    try:
        payload[2:].decode()
    except UnicodeDecodeError as error:
        return Violation(INVALID_DATA, f"{error.reason} at position {error.start}")
    code = int.from_bytes(payload[:2], "big")
    is_standard = 1000 <= code < 1015 and code not in _NOT_SENT  # noqa: PLR2004
    if not is_standard and not 3000 <= code < 5000:  # noqa: PLR2004
        return Violation(PROTOCOL_ERROR, "invalid status code")
    return None


def is_utf8(text: bytes) -> bool:
    """Tell whether bytes are UTF-8, as Python reads it: no surrogates, nothing overlong."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
