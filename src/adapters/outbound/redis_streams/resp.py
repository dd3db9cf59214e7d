"""Commands as the broker's protocol has them (RESP2), written for one copy of the audio.

hiredis writes any command, and copies its arguments to do so. The one command that carries audio
is written in parts here: what stands between the frames, and the frames as they are; the parts of
many commands are joined when they are sent, and never before.
"""

import re
from collections.abc import Callable

import hiredis

Command = tuple[bytes | str | int, ...]

Parts = list[bytes]
"""A command that is written already; joined they are what is sent."""


_OF_A_SCRIPT = re.compile(r"^(ERR Error running script \([^)]*\): )?(@user_script: ?\d+: )+-?")


class ErrorReply(Exception):
    """The broker answers with an error, and this is its text.

    Brokers before Redis 7 write where in a script a command was refused before what it was refused
    for; that is left out. It is not that of redis-py, which takes a third of the start to import.
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
