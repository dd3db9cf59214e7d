"""Events that wait for long, in little more memory than their audio takes.

A frame as objects takes some 500 bytes beside its audio, which is more than the 320 bytes of 20 ms
at 8 kHz. A packed batch is one run of audio and three arrays of numbers.
"""

from array import array
from collections.abc import Sequence

from domain.events import AudioAccepted, Event
from domain.media import AudioFrame, MediaFormat


class PackedEvents:
    """Consecutive events of one stream; `first_position` is not kept, for it may change."""

    __slots__ = ("_audio", "_lengths", "_media", "_others", "_received_at_ms", "_seqs")

    def __init__(self, events: Sequence[Event], media: MediaFormat) -> None:
        frames = [event.frame for event in events if isinstance(event, AudioAccepted)]
        self._media = media
        self._audio = b"".join([frame.audio for frame in frames])
        self._lengths = array("L", [len(frame.audio) for frame in frames])
        self._seqs = array("Q", [frame.seq for frame in frames])
        self._received_at_ms = array("Q", [frame.received_at_ms for frame in frames])
        self._others = [
            (index, event)
            for index, event in enumerate(events)
            if not isinstance(event, AudioAccepted)
        ]

    def unpack(self, first_position: int) -> list[Event]:
        """Return the events; frames take positions from `first_position` on."""
        events: list[Event] = []
        others = iter(self._others)
        at, other = next(others, (-1, None))
        start = 0
        for seq, received_at_ms, length in zip(
            self._seqs, self._received_at_ms, self._lengths, strict=True
        ):
            while other is not None and at == len(events):
                events.append(other)
                at, other = next(others, (-1, None))
            audio = self._audio[start : start + length]
            start += length
            frame = AudioFrame(self._media, seq, received_at_ms, audio)
            events.append(AudioAccepted(first_position + len(events), frame))
        if other is not None:
            events += [other, *(event for _, event in others)]
        return events
