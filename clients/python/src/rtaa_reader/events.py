"""The events of a reader. Stream, run and seq identify a frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rtaa_reader.position import Position


@dataclass(frozen=True, slots=True)
class Call:
    """Names and audio format of a call: `pcm16` is 16-bit little-endian, `mulaw` has 8 bits.

    `traceparent` (W3C Trace Context) is the parent for your own spans; None without a trace.
    """

    tenant_id: str = ""
    interaction_id: str = ""
    stream_id: str = ""
    track: str = "inbound"
    sample_rate: int = 8000
    encoding: str = "pcm16"
    channels: int = 1
    traceparent: str | None = None

    @classmethod
    def read(cls, started: Mapping[str, Any]) -> Self:
        """Read the `data` of a `started`; absent fields have their defaults."""
        return cls(**{name: started[name] for name in cls.__slots__ if name in started})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of a stream.

    `type` is its name, for instance `audio`. `stream` is `TENANT/STREAM`. `seq` is that of the
    frame, of the last missing frame of a gap, or of the frame before any other event (-1: none).
    `entry` is its id in the stream, `data` its JSON unless it is audio. `commit` needs `position`
    and `lease`.
    """

    type: str
    stream: str
    run: str
    seq: int
    entry: str
    call: Call
    data: Mapping[str, Any] = field(default_factory=dict)
    position: Position = field(repr=False, compare=False)
    lease: str = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A run begins; or, if it is `resumed`, continues in another generation."""

    resumed: bool


class Dtmf(Event):
    """A key was pressed; `data` is the inner object of the carrier's event."""


class Mark(Event):
    """A playback mark; `data` is the inner object of the carrier's event."""


class Ended(Event):
    """The run is over; `data` has `reason`, `ledger`, and `recovered` if its process died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio(Event):
    """A frame; `received_at_ms` is wall clock, milliseconds since 1970."""

    audio: bytes
    received_at_ms: int

    @property
    def duration_ms(self) -> float:
        """The duration."""
        width = self.call.channels * (1 if self.call.encoding == "mulaw" else 2)
        return len(self.audio) / width / self.call.sample_rate * 1000

    @property
    def pcm16(self) -> bytes:
        """The audio as 16-bit little-endian samples, whatever the encoding."""
        return b"".join(map(_linear, self.audio)) if self.call.encoding == "mulaw" else self.audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Event):
    """Frames that are absent. If not `declared`, retention removed them from a partly read run."""

    first_missing: int
    missing: int
    declared: bool = True


def _decode(code: int) -> bytes:
    """Decode a byte of G.711 mu-law."""
    level = ((((~code & 0x0F) << 3) + 0x84) << ((~code & 0x70) >> 4)) - 0x84
    return (level if code & 0x80 else -level).to_bytes(2, "little", signed=True)


_linear = tuple(map(_decode, range(256))).__getitem__
