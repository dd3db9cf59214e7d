"""Frames that are cut into reads anywhere: TCP keeps no bounds of frames."""

import itertools
from dataclasses import dataclass

from frames_read import MAX_BYTES, Message, read
from raw_websocket import BINARY, CLOSE, CONT, PING, TEXT, close, fragments, frame
from wrong_text import pattern

from adapters.inbound.websocket.frame_reader import FrameReader


@dataclass(frozen=True)
class Stream:
    """Bytes with what has to become of them."""

    data: bytes
    messages: list[Message]
    controls: list[tuple[int, bytes]]


MIXED = Stream(
    b"".join([
        frame(TEXT, "héllo".encode()),
        frame(PING, b"p1"),
        frame(TEXT, "fr€".encode()[:4], fin=False),
        frame(PING),
        frame(CONT, fin=False),
        frame(CONT, "fr€".encode()[4:] + b"end", mask=bytes(4)),
        frame(BINARY, pattern(125)),
        frame(BINARY, pattern(126)),
        frame(BINARY),
        frame(TEXT),
        *fragments(BINARY, [b"\x81\x80", b"\x88\x80"]),
        frame(TEXT, b"wide", wide=2),
        frame(BINARY, b"wider", wide=8),
        frame(TEXT, b"bye"),
        close(4000, b"done"),
    ]),
    ["héllo", "fr€end", pattern(125), pattern(126), b"", "", b"\x81\x80\x88\x80", "wide", b"wider",
     "bye"],
    [(PING, b"p1"), (PING, b""), (CLOSE, b"\x0f\xa0done")],
)  # fmt: skip

LONG = Stream(
    b"".join([
        frame(TEXT, b"first"), frame(BINARY, pattern(70_000)), frame(PING, b"p"),
        frame(TEXT, b"last"), close(4000),
    ]),
    ["first", pattern(70_000), "last"],
    [(PING, b"p"), (CLOSE, b"\x0f\xa0")],
)  # fmt: skip


def plays(stream: Stream, *cuts: int, max_frames: int = 64) -> None:
    bounds = [0, *cuts, len(stream.data)]
    segments = [stream.data[begin:end] for begin, end in itertools.pairwise(bounds)]
    told = read(segments, max_frames=max_frames)
    assert told.messages == stream.messages, cuts
    assert (told.controls, told.violation) == (stream.controls, None), cuts


def test_a_stream_may_be_cut_anywhere() -> None:
    for cut in range(1, len(MIXED.data)):
        plays(MIXED, cut)
        plays(MIXED, cut, max_frames=1)
    for size in (1, 2, 3, 5, 7, 13):
        plays(MIXED, *range(size, len(MIXED.data), size))


def test_a_long_frame_may_be_cut_in_its_header_and_at_the_ends() -> None:
    after = len(frame(TEXT, b"first")) + len(frame(BINARY, pattern(70_000)))
    for cut in [*range(1, 30), 65_535, 65_536, 65_537, *range(after - 3, len(LONG.data))]:
        plays(LONG, cut)
    for first in (1, 11, 12, 13, 14, 21, 25, 26):
        for second in (first + 1, 30, 65_536, len(LONG.data) - 20):
            plays(LONG, first, second)


def test_nothing_is_held_of_the_buffer_that_was_read() -> None:
    """All connections of a loop are read into one: here it is overwritten."""
    reader = FrameReader(MAX_BYTES)
    buffer = bytearray(frame(BINARY, b"abcd") * 5 + frame(BINARY, b"efgh")[:7])
    assert reader.read(2, memoryview(buffer)) == 2
    buffer[:] = bytes(len(buffer))
    assert reader.rest.obj is not buffer
    assert reader.read(2) == 2
    assert reader.read(64) == 1
    assert not reader.rest
    assert reader.read(64, memoryview(frame(BINARY, b"efgh")[7:])) == 1
    assert [payload for _, payload in reader.messages] == [b"abcd"] * 5 + [b"efgh"]


def test_what_is_read_while_some_is_left_comes_after_it() -> None:
    reader = FrameReader(MAX_BYTES)
    for number in range(3):
        reader.read(1, memoryview(frame(BINARY, b"%d" % number) * 2))
    assert reader.read(64) == 3
    assert [payload for _, payload in reader.messages] == [b"0", b"0", b"1", b"1", b"2", b"2"]
