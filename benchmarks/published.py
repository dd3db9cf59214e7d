"""Where programs publish, and how an entry is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.frames import TENANT, Speech, call_name


@dataclass(frozen=True, slots=True)
class Layout:
    """How a program publishes: the key of a call's stream; whether it marks start and end."""

    key: Callable[[Speech, int], str]
    is_framed: bool


def _our_key(speech: Speech, call: int) -> str:
    return f"rtaa:audio:{{{TENANT}/{speech.stream(call)}}}"


def _obvious_key(_speech: Speech, call: int) -> str:
    return f"audio:{call_name(call)}"


OUR_LAYOUT = Layout(_our_key, is_framed=True)
OBVIOUS_LAYOUT = Layout(_obvious_key, is_framed=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a stream: `kind` is `audio` for a frame, which alone has seq and audio."""

    kind: bytes
    seq: int
    audio: bytes


def entry(fields: Sequence[bytes]) -> Entry:
    """Read an entry from its names and values in turn."""
    by_name = dict(zip(fields[::2], fields[1::2], strict=True))
    audio = by_name.get(b"audio")
    if audio is None:
        return Entry(by_name.get(b"type", b"?"), -1, b"")
    return Entry(b"audio", int(by_name[b"seq"]), audio)
