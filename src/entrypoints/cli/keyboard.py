"""Reads single keys of a terminal, without echo."""

import asyncio
import os
import re
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

READ_BYTES = 1_024

_NAMES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down",
    "[5~": "page up", "[6~": "page down", "[H": "home", "[F": "end",
}  # fmt: skip
_PLAIN = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x1b": "escape"}
_KEY = re.compile(r"\x1b(\[[0-9;]*[A-Za-z~]|O[A-Z])|(.)", re.DOTALL)


def keys_in(text: str) -> Iterator[str]:
    """Yield the keys in a terminal's input: a name, or the character itself."""
    for found in _KEY.finditer(text):
        sequence, character = found.groups()
        if sequence is None:
            yield _PLAIN.get(character, character)
        elif sequence in _NAMES:
            yield _NAMES[sequence]


@contextmanager
def keyboard(descriptor: int, on_key: Callable[[str], None]) -> Iterator[None]:
    """Call `on_key` for each key, in the running loop; finally restore the terminal."""
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            data = os.read(descriptor, READ_BYTES)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            loop.remove_reader(descriptor)
            on_key("q")
        for key in keys_in(data.decode(errors="replace")):
            on_key(key)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
