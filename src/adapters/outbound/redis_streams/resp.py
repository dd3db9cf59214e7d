"""Commands as the broker's protocol has them (RESP2), written for one copy of the audio.

hiredis packs any command, but copies its arguments. The one command that carries audio is written
here in parts: the bytes between the frames, and the frames themselves. The parts of many commands
are joined only when they are sent.
"""

import re
from collections.abc import Callable

import hiredis

Command = tuple[bytes | str | int, ...]

Parts = list[bytes]
"""A packed command, in parts."""


_OF_A_SCRIPT = re.compile(r"^(ERR Error running script \([^)]*\): )?(@user_script: ?\d+: )+-?")


class ErrorReply(Exception):
    """An error reply of the broker, with its text.

    Brokers before Redis 7 put the position in the script before the cause; it is left out. The
    class is not redis-py's, whose import takes a third of the start.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_OF_A_SCRIPT.sub("", text))


pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub


def pack_arguments(arguments: Command) -> bytes:
    """Write arguments of a command, without saying how many it has."""
    packed = pack(arguments)
    return packed[packed.index(b"\n") + 1 :]


def begin_parts(count: int, head: bytes) -> Parts:
    """Begin a command of `count` arguments with `head`, the first of them, written."""
    return [b"*%d\r\n" % count, head]


def add_audio(parts: Parts, seq: int, received_at_ms: int, audio: bytes) -> None:
    """Give the four arguments of a frame."""
    number, at = b"%d" % seq, b"%d" % received_at_ms
    parts += (
        b"$5\r\naudio\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n"
        % (len(number), number, len(at), at, len(audio)),
        audio,
        b"\r\n",
    )
