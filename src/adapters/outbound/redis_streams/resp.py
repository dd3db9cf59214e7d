"""Commands and replies as the broker's protocol has them (RESP2)."""

import re
from collections.abc import Callable
from typing import Any

import hiredis

Command = tuple[bytes | str | int, ...]

Parts = list[bytes]
"""A packed command, in parts that are joined when it is sent."""

Reply = Any
"""What hiredis makes of a RESP2 reply: bytes, int, None, a list of them, or an `ErrorReply`."""


_OF_A_SCRIPT = re.compile(r"^(ERR Error running script \([^)]*\): )?(@user_script: ?\d+: )+-?")


class ErrorReply(Exception):
    """An error reply of the broker, with its text.

    Brokers before Redis 7 put the position in the script before the cause; it is left out. The
    class is not redis-py's, whose import takes a third of the start.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_OF_A_SCRIPT.sub("", text))


pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub
