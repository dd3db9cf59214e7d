"""Commands as the broker's protocol has them (RESP2), written for one copy of the audio.

hiredis writes any command, and copies its arguments to do so. The one command that carries audio
is written in parts here: what stands between the frames, and the frames as they are; the parts of
many commands are joined when they are sent, and never before.
"""

from collections.abc import Callable

import hiredis

Command = tuple[bytes | str | int, ...]

Parts = list[bytes]
"""A command that is written already; joined they are what is sent."""

pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub


class PartsWriter:
    """Writes one command argument by argument; `parts` is complete when all have been given."""

    __slots__ = ("parts",)

    def __init__(self, head: Command, count: int) -> None:
        """Begin a command of `count` arguments with those of `head`."""
        packed = pack(head)
        after_count = packed.index(b"\n") + 1
        self.parts: Parts = [b"*%d\r\n" % count, packed[after_count:]]

    def add_audio(self, seq: int, received_at_ms: int, audio: bytes) -> None:
        """Give the four arguments of a frame."""
        said, at = b"%d" % seq, b"%d" % received_at_ms
        self.parts += (
            b"$5\r\naudio\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n"
            % (len(said), said, len(at), at, len(audio)),
            audio,
            b"\r\n",
        )

    def add(self, arguments: Command) -> None:
        """Give any arguments."""
        packed = pack(arguments)
        self.parts.append(packed[packed.index(b"\n") + 1 :])
