"""Writes events as a WAV file."""

import wave
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from rtaa_reader.events import Audio, Event, Gap

MAX_SILENCE_BYTES = 50_000_000
"""The maximum silence for a gap, since a sender's seq may jump by any amount."""


def to_wav(path: str | Path, events: Iterable[Event]) -> int:
    """Write the frames of one run as 16-bit PCM, and return how many there were.

    A gap between frames becomes silence, as if each missing frame were as long as the one before
    the gap. Without any frame no file is written.
    """
    frames, missing, silence = 0, 0, b""
    with ExitStack() as stack:
        for event in events:
            missing += event.missing if isinstance(event, Gap) else 0
            if isinstance(event, Audio):
                if not frames:
                    file = stack.enter_context(wave.open(str(path), "wb"))
                    file.setparams((event.call.channels, 2, event.call.sample_rate, 0, "NONE", ""))
                size = min(missing * len(silence), MAX_SILENCE_BYTES)
                file.writeframesraw(bytes(size) + event.pcm16)
                frames, missing, silence = frames + 1, 0, event.pcm16
    return frames
