"""The reader of frames against the library `websockets`, over streams of which much is wrong."""

import itertools
import logging
from collections.abc import Sequence

from frames_read import Message, Told, read
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, close, fragments, frame, header
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from adapters.inbound.websocket.frame_reader import MAX_FRAGMENTS, FrameReader
from adapters.inbound.websocket.frame_rules import Violation
from examples import examples

MAX_BYTES = 300
"""So little that streams often have more, and both ways to say a length are around it."""

_quiet = logging.getLogger("test.quiet")
_quiet.setLevel(logging.CRITICAL)


class Oracle:
    """The library, which reads frames; what makes messages of them is added here."""

    def __init__(self) -> None:
        self.told = Told()
        self._library = ServerProtocol(state=State.OPEN, max_size=MAX_BYTES, logger=_quiet)
        self._parts: list[bytes] = []
        self._is_text = False
        self._is_over = False

    def read(self, segments: Sequence[bytes]) -> Told:
        for segment in segments:
            if not self._is_over:
                self._library.receive_data(segment)
                self._note()
        return self.told

    def _note(self) -> None:
        for it in self._library.events_received():
            assert isinstance(it, Frame)
            self._note_frame(it.opcode, bytes(it.data), it.fin)
            if self._is_over:
                return
        if self._library.parser_exc is not None:
            sent = self._library.close_sent
            assert sent is not None
            self._end(sent.code, sent.reason)

    def _note_frame(self, opcode: Opcode, payload: bytes, fin: bool) -> None:
        if opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            self.told.controls.append((int(opcode), payload))
            self._is_over = opcode is Opcode.CLOSE
            return
        if opcode is not Opcode.CONT:
            self._is_text = opcode is Opcode.TEXT
        if len(self._parts) >= MAX_FRAGMENTS:
            self._end(1008, "too many fragments")
            return
        self._parts.append(payload)
        if fin:
            self._note_message(b"".join(self._parts))
            self._parts = []

    def _note_message(self, payload: bytes) -> None:
        try:
            message: Message = payload.decode() if self._is_text else payload
        except UnicodeDecodeError:
            self._end(1007, "text that is not UTF-8")
        else:
            self.told.messages.append(message)

    def _end(self, code: int, explanation: str) -> None:
        self.told.violation = Violation(int(code), explanation)
        self._is_over = True


MASKS = st.one_of(st.just(bytes(4)), st.binary(min_size=4, max_size=4))
TEXTS = st.text(max_size=12).map(str.encode)
BYTES = st.binary(max_size=12)
SIZED = st.sampled_from([0, 1, 124, 125, 126, 127, 150, 299, 300, 301, 400, 65_535, 65_536]).map(
    lambda size: b"%x" % 7 * size
)
PAYLOADS = st.one_of(TEXTS, TEXTS, BYTES, SIZED)
WIDTHS = st.sampled_from([0, 0, 0, 2, 8])
CODES = st.one_of(
    st.sampled_from([1000, 1001, 1004, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000]),
    st.integers(0, 0xFFFF),
)

controls = st.builds(
    frame, st.sampled_from([PING, PONG]), st.binary(max_size=125), mask=MASKS, wide=WIDTHS
)
whole = st.builds(frame, st.sampled_from([TEXT, BINARY]), PAYLOADS, mask=MASKS, wide=WIDTHS)


@st.composite
def messages(draw: st.DrawFn, payloads: st.SearchStrategy[bytes] = PAYLOADS) -> bytes:
    """A message, cut anywhere, with control frames between its fragments."""
    opcode, payload = draw(st.sampled_from([TEXT, BINARY])), draw(payloads)
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
    parts = [payload[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(payload)])]
    frames = [draw(st.just(b"") | controls) + part for part in fragments(opcode, parts)]
    return b"".join(frames)


any_frame = st.builds(
    frame,
    st.integers(0, 15),
    PAYLOADS,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
    mask=MASKS,
    wide=WIDTHS,
)
not_masked = any_frame.map(lambda data: data[:1] + bytes([data[1] & 0x7F]) + data[2:])
too_long = st.builds(
    header,
    st.integers(0, 15),
    st.one_of(st.integers(0, 2 * MAX_BYTES), st.integers(0, 2**64 - 1)),
    wide=WIDTHS,
)
closes = st.one_of(
    st.builds(close, CODES, st.one_of(TEXTS, BYTES)),
    st.builds(frame, st.just(CLOSE), st.binary(max_size=4)),
)
many_fragments = st.integers(MAX_FRAGMENTS - 1, MAX_FRAGMENTS + 2).map(
    lambda number: b"".join(fragments(TEXT, [b""] * number))
)
good = st.one_of(whole, messages(), messages(TEXTS), controls)
bad = st.one_of(any_frame, any_frame, not_masked, too_long, closes, many_fragments, BYTES)
streams = st.tuples(st.lists(good, max_size=8), st.lists(st.one_of(good, bad), max_size=6)).map(
    lambda both: b"".join([*both[0], *both[1]])
)


@st.composite
def segments(draw: st.DrawFn, data: st.SearchStrategy[bytes] = streams) -> list[bytes]:
    """A stream, cut into reads anywhere, and perhaps without its last bytes."""
    stream = draw(data)
    ends = draw(st.just(len(stream)) | st.integers(0, len(stream)))
    size = draw(st.just(0) | st.integers(1, 9))
    cuts = draw(st.lists(st.integers(0, ends), max_size=6))
    if size and ends < 2_000:  # or all a few bytes at a time
        cuts = list(range(size, ends, size))
    bounds = [0, *sorted(cuts), ends]
    return [stream[begin:end] for begin, end in itertools.pairwise(bounds)]


@settings(max_examples=examples(400))
@given(segments(), st.integers(1, 64), st.booleans())
@example([frame(TEXT, b"\xff"), frame(PING)], 64, True)
@example([frame(TEXT, b"\xff") + frame(0x3)], 64, True)
@example([frame(TEXT, bytes(290), fin=False) + frame(PING, bytes(20))], 64, False)
@example([frame(TEXT, b"ok") * 3 + frame(PING), frame(TEXT, b"\xff") + frame(PING)], 64, False)
@example([frame(CLOSE, b"\x03")], 64, False)
@example([header(BINARY, 400)], 64, False)
@example([b"\x83\x85"], 64, False)
def test_what_is_read_is_what_the_library_reads(
    sent: list[bytes], max_frames: int, is_late: bool
) -> None:
    expected = Oracle().read(sent)
    event(f"code {expected.code}")
    found = read(sent, max_bytes=MAX_BYTES, max_frames=max_frames, is_late=is_late)
    assert found == expected


valid = st.lists(st.one_of(whole, messages(), controls), max_size=8).map(b"".join)


@settings(max_examples=examples(100))
@given(segments(valid), st.integers(0, 8), st.binary(max_size=10))
def test_after_a_close_of_ours_control_frames_alone_are_told(
    sent: list[bytes], before: int, reason: bytes
) -> None:
    """What has come before it is told whole, and the peer's close is found wherever it is."""
    whole_stream = [*sent, b"", close(4000)]
    expected = Oracle().read(whole_stream)
    reader = FrameReader(MAX_BYTES)
    first = read(whole_stream[:before], reader=reader)
    reader.drops_messages = True
    rest = read(whole_stream[before:], reader=reader)
    assert rest.messages == []
    assert first.messages == expected.messages[: len(first.messages)]
    if expected.violation is None:
        assert first.controls + rest.controls == expected.controls
